package pdu

import (
	"crypto/subtle"
	"net"
	"time"

	"github.com/gosnmp/gosnmp"
)

const (
	// maxMessage is the largest answer, what fits an Ethernet frame: a device
	// like this cannot send fragments.
	maxMessage = 1472
	// maxVars bounds what is asked for at once.
	maxVars = 512
)

// request is a message that was admitted, and by which right.
type request struct {
	*gosnmp.SnmpPacket
	write bool
}

// answer returns the answer to one datagram, nil if it deserves none, and
// whether it was an admitted SET.
func (a *Agent) answer(from net.Addr, datagram []byte) (reply []byte, isSet bool) {
	defer func() {
		if p := recover(); p != nil { // the decoder met bytes that it was not made for
			a.log.Debug("lab PDU dropped a malformed message", "from", from.String(), "panic", p)
			reply = nil
		}
	}()
	decoder := &gosnmp.GoSNMP{}
	packet, err := decoder.SnmpDecodePacket(append([]byte(nil), datagram...))
	if packet.Version == gosnmp.Version3 {
		return a.answerV3(from, datagram, packet)
	}
	if err != nil {
		return nil, false
	}
	write := matches(a.cfg.WriteCommunity, packet.Community)
	admitted := write || matches(a.cfg.ReadCommunity, packet.Community)
	a.trace(from, packet, admitted)
	if !admitted {
		return nil, false // as RFC 1157 section 4.1 has it: no answer at all
	}
	response := a.respond(request{packet, write})
	if response == nil {
		return nil, false
	}
	response.Community = packet.Community
	return a.fit(packet, response), packet.PDUType == gosnmp.SetRequest
}

// matches compares a community in constant time; an empty one admits nobody.
func matches(want, got string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1
}

func (a *Agent) trace(from net.Addr, p *gosnmp.SnmpPacket, admitted bool) {
	op, asks := operations(p.PDUType)
	if a.cfg.Trace == nil || !asks {
		return
	}
	e := Event{Time: time.Now(), From: from, Version: p.Version.String(), Op: op, Admitted: admitted}
	for _, v := range p.Variables {
		e.Vars = append(e.Vars, Var{OID: trimDot(v.Name), Value: v.Value})
	}
	a.cfg.Trace(e)
}

func operations(t gosnmp.PDUType) (name string, asks bool) {
	switch t {
	case gosnmp.GetRequest:
		return "get", true
	case gosnmp.GetNextRequest:
		return "get-next", true
	case gosnmp.GetBulkRequest:
		return "get-bulk", true
	case gosnmp.SetRequest:
		return "set", true
	}
	return "", false
}

func trimDot(oid string) string {
	if oid != "" && oid[0] == '.' {
		return oid[1:]
	}
	return oid
}

// respond carries a request out; nil if it is none.
func (a *Agent) respond(r request) *gosnmp.SnmpPacket {
	response := &gosnmp.SnmpPacket{Version: r.Version, PDUType: gosnmp.GetResponse, RequestID: r.RequestID}
	if len(r.Variables) > maxVars {
		response.Error = gosnmp.TooBig
		return response
	}
	oids := make([][]uint32, len(r.Variables))
	for i, v := range r.Variables {
		oid, err := parseOID(v.Name)
		if err != nil {
			return nil
		}
		oids[i] = oid
	}
	switch r.PDUType {
	case gosnmp.GetRequest:
		a.get(r, oids, response)
	case gosnmp.GetNextRequest:
		a.getNext(r, oids, response)
	case gosnmp.GetBulkRequest:
		if r.Version == gosnmp.Version1 {
			return nil
		}
		a.getBulk(r, oids, response)
	case gosnmp.SetRequest:
		a.set(r, oids, response)
	default:
		return nil
	}
	return response
}

// fail ends a request with an error at one variable; the variables are echoed.
func fail(r request, response *gosnmp.SnmpPacket, i int, v1, v2 gosnmp.SNMPError) {
	response.Error, response.ErrorIndex, response.Variables = v2, uint8(i+1), r.Variables
	if r.Version == gosnmp.Version1 {
		response.Error = v1
	}
}

// get is RFC 1157 section 4.1.2 and RFC 3416 section 4.2.1.
func (a *Agent) get(r request, oids [][]uint32, response *gosnmp.SnmpPacket) {
	for i, oid := range oids {
		n, ok := a.tree.at(oid)
		switch {
		case ok:
			response.Variables = append(response.Variables, n.variable())
		case r.Version == gosnmp.Version1:
			fail(r, response, i, gosnmp.NoSuchName, gosnmp.NoError)
			return
		case a.tree.column(oid):
			response.Variables = append(response.Variables, gosnmp.SnmpPDU{Name: r.Variables[i].Name, Type: gosnmp.NoSuchInstance})
		default:
			response.Variables = append(response.Variables, gosnmp.SnmpPDU{Name: r.Variables[i].Name, Type: gosnmp.NoSuchObject})
		}
	}
}

// getNext is RFC 1157 section 4.1.3 and RFC 3416 section 4.2.2.
func (a *Agent) getNext(r request, oids [][]uint32, response *gosnmp.SnmpPacket) {
	for i, oid := range oids {
		n, ok := a.tree.next(oid)
		if !ok && r.Version == gosnmp.Version1 {
			fail(r, response, i, gosnmp.NoSuchName, gosnmp.NoError)
			return
		}
		response.Variables = append(response.Variables, nextVariable(n, ok, r.Variables[i].Name))
	}
}

func nextVariable(n node, ok bool, asked string) gosnmp.SnmpPDU {
	if !ok {
		return gosnmp.SnmpPDU{Name: asked, Type: gosnmp.EndOfMibView}
	}
	return n.variable()
}

// getBulk is RFC 3416 section 4.2.3.
func (a *Agent) getBulk(r request, oids [][]uint32, response *gosnmp.SnmpPacket) {
	single := min(int(r.NonRepeaters), len(oids))
	for i, oid := range oids[:single] {
		n, ok := a.tree.next(oid)
		response.Variables = append(response.Variables, nextVariable(n, ok, r.Variables[i].Name))
	}
	repeat := oids[single:]
	for range min(r.MaxRepetitions, maxVars) {
		ended := 0
		for i := range repeat {
			n, ok := a.tree.next(repeat[i])
			response.Variables = append(response.Variables, nextVariable(n, ok, formatOID(repeat[i])))
			if ok {
				repeat[i] = n.oid
			} else {
				ended++
			}
		}
		if ended == len(repeat) || len(response.Variables) >= maxVars {
			return
		}
	}
}

// set is RFC 1157 section 4.1.5 and RFC 3416 section 4.2.5: all is checked
// before anything is set.
func (a *Agent) set(r request, oids [][]uint32, response *gosnmp.SnmpPacket) {
	nodes := make([]node, len(oids))
	for i, oid := range oids {
		n, ok := a.tree.at(oid)
		number, isInt := r.Variables[i].Value.(int)
		switch {
		case !r.write:
			fail(r, response, i, gosnmp.NoSuchName, gosnmp.NoAccess)
		case !ok:
			fail(r, response, i, gosnmp.NoSuchName, gosnmp.NoCreation)
		case n.set == nil:
			fail(r, response, i, gosnmp.NoSuchName, gosnmp.NotWritable)
		case !isInt || r.Variables[i].Type != gosnmp.Integer:
			fail(r, response, i, gosnmp.BadValue, gosnmp.WrongType)
		case !n.check(number):
			fail(r, response, i, gosnmp.BadValue, gosnmp.WrongValue)
		}
		if response.Error != gosnmp.NoError {
			return
		}
		nodes[i] = n
	}
	response.Variables = r.Variables
	for i, n := range nodes {
		if status := n.set(r.Variables[i].Value.(int)); status != gosnmp.NoError {
			fail(r, response, i, status, status)
		}
	}
}

// fit encodes an answer within maxMessage: a bulk's is cut, any other becomes
// tooBig (RFC 3416 section 4.2).
func (a *Agent) fit(asked, response *gosnmp.SnmpPacket) []byte {
	for {
		out, err := response.MarshalMsg()
		if err != nil {
			a.log.Error("lab PDU cannot encode an answer", "error", err)
			return nil
		}
		if len(out) <= maxMessage {
			return out
		}
		if len(response.Variables) == 0 {
			return nil
		}
		if asked.PDUType == gosnmp.GetBulkRequest {
			response.Variables = response.Variables[:len(response.Variables)*3/4]
			continue
		}
		response.Error, response.ErrorIndex, response.Variables = gosnmp.TooBig, 0, nil
	}
}
