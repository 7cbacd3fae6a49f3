package tftp

import (
	"net/netip"
	"sync"
)

// admission counts transfers, and knows the requests that have had no answer
// from their client yet, so that a repeated request is not served twice.
type admission struct {
	total, perClient int // bounds

	mu         sync.Mutex // guards the rest
	active     int
	clients    map[netip.Addr]int
	unanswered map[netip.AddrPort]string // request bytes by peer
}

// outcome of asking for admission.
type outcome int

const (
	admitted outcome = iota
	repeated         // the same request is being served: our timer answers it
	fullServer
	fullClient
)

func newAdmission(total, perClient int) *admission {
	return &admission{total: total, perClient: perClient,
		clients: map[netip.Addr]int{}, unanswered: map[netip.AddrPort]string{}}
}

// enter admits a request; an admitted one is given back by leave.
func (a *admission) enter(peer netip.AddrPort, packet []byte) outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	if seen, ok := a.unanswered[peer]; ok && seen == string(packet) {
		return repeated
	}
	switch {
	case a.active >= a.total:
		return fullServer
	case a.clients[peer.Addr()] >= a.perClient:
		return fullClient
	}
	a.active++
	a.clients[peer.Addr()]++
	a.unanswered[peer] = string(packet)
	return admitted
}

// answered notes that the client has acknowledged something.
func (a *admission) answered(peer netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.unanswered, peer)
}

func (a *admission) leave(peer netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active--
	delete(a.unanswered, peer)
	if a.clients[peer.Addr()]--; a.clients[peer.Addr()] == 0 {
		delete(a.clients, peer.Addr())
	}
}

func (a *admission) inUse() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.active
}
