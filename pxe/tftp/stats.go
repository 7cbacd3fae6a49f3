package tftp

import "sync/atomic"

// Stats are counts since the server was made.
type Stats struct {
	Requests  uint64 // packets to the listening port
	Refused   uint64 // answered with an ERROR
	Ignored   uint64 // neither read nor write request: not answered
	Completed uint64 // transfers that the client acknowledged to the end
	Failed    uint64 // transfers that began and did not complete
	Bytes     uint64 // of file data acknowledged
	Resent    uint64 // blocks sent more than once
	Active    int    // transfers now, those being opened included
}

type counters struct {
	requests, refused, ignored, completed, failed, bytes, resent atomic.Uint64
}

func (c *counters) add(t Transfer) {
	if t.Err == nil {
		c.completed.Add(1)
	} else {
		c.failed.Add(1)
	}
	c.bytes.Add(uint64(t.Bytes))
	c.resent.Add(uint64(t.Resent))
}

// Stats returns the counts; safe to call at any time.
func (s *Server) Stats() Stats {
	c := &s.counters
	return Stats{
		Requests: c.requests.Load(), Refused: c.refused.Load(), Ignored: c.ignored.Load(),
		Completed: c.completed.Load(), Failed: c.failed.Load(),
		Bytes: c.bytes.Load(), Resent: c.resent.Load(), Active: s.admission.inUse(),
	}
}
