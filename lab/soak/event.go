package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// event is one thing that happens to the pod. What it needs at random is in it,
// so that a list of events can be played without its seed.
type event struct {
	// After is how long after the event before it.
	After time.Duration
	What  string
	// Machine is a number from 1, or 0 for the pod.
	Machine int
	// For is how long, Count how many, by What.
	For   time.Duration
	Count int
}

func (e event) String() string {
	s := fmt.Sprintf("+%v %s", e.After, e.What)
	if e.Machine > 0 {
		s += fmt.Sprintf(" m%d", e.Machine)
	}
	if e.For > 0 {
		s += fmt.Sprintf(" for %v", e.For)
	}
	if e.Count > 0 {
		s += fmt.Sprintf(" %d times", e.Count)
	}
	return s
}

// chances are the events and how often they come. The first are requests, the
// others faults. Those that break something that stays broken are mended by an
// event that is made together with them.
var chances = []struct {
	what  string
	share int
	pod   bool   // no machine of its own
	mend  string // what ends it
}{
	{"use", 60, false, ""}, // what suits the machine as it stands; the others are mostly refused
	{"deploy", 10, false, ""}, {"release", 8, false, ""}, {"restart", 5, false, ""}, {"stop", 3, false, ""},
	{"start", 3, false, ""}, {"rescue", 4, false, ""}, {"unrescue", 4, false, ""}, {"inspect", 3, false, ""},
	{"maintain", 2, false, ""}, {"restore", 3, false, ""}, {"cancel", 8, false, ""},

	{"crash", 6, false, ""}, {"glitch", 6, false, ""}, {"silent", 5, false, ""}, {"lose", 6, false, ""},
	{"double", 6, false, ""}, {"forge", 3, false, ""}, {"kill-appliance", 4, true, ""},
	{"outlet-dead", 2, false, "outlet-healthy"}, {"outlet-unreadable", 2, false, "outlet-healthy"},
	{"outlet-error-but-done", 2, false, "outlet-healthy"}, {"outlet-refusing", 2, false, "outlet-healthy"},
	{"outlet-stuck", 2, false, "outlet-healthy"},
	{"pdu-silent", 1, true, "pdu-healthy"}, {"pdu-slow", 1, true, "pdu-healthy"}, {"pdu-lose-replies", 2, true, ""},
	{"pdu-lose-set-replies", 2, true, ""}, {"image-altered", 2, true, "image-whole"},
}

// generate makes a seed's events.
func generate(seed uint64, machines, n int) (list []event) {
	rnd := rand.New(rand.NewPCG(seed, 0x6a09e667f3bcc908))
	total := 0
	for _, c := range chances {
		total += c.share
	}
	upTo := func(d time.Duration) time.Duration {
		return time.Duration(rnd.Int64N(int64(d))).Round(time.Millisecond)
	}
	var mends []event // After is counted in events here
	for len(list) < n {
		for i := range mends {
			if mends[i].Count--; mends[i].Count == 0 {
				list = append(list, event{After: upTo(200 * time.Millisecond), What: mends[i].What, Machine: mends[i].Machine})
			}
		}
		pick := rnd.IntN(total)
		for _, c := range chances {
			if pick -= c.share; pick >= 0 {
				continue
			}
			e := event{After: upTo(300 * time.Millisecond), What: c.what, For: upTo(5 * time.Second), Count: 1 + rnd.IntN(5)}
			if !c.pod {
				e.Machine = 1 + rnd.IntN(machines)
			}
			list = append(list, e.needed())
			if c.mend != "" {
				mends = append(mends, event{What: c.mend, Machine: e.Machine, Count: 5 + rnd.IntN(20)})
			}
			break
		}
	}
	return list
}

// needed leaves out what the event does not use.
func (e event) needed() event {
	switch e.What {
	case "silent", "kill-appliance", "pdu-slow":
		e.Count = 0
	case "use", "lose", "double", "pdu-lose-replies", "pdu-lose-set-replies":
		e.For = 0
	default:
		e.For, e.Count = 0, 0
	}
	return e
}
