//go:build qemu

package e2e

import (
	"fmt"
	"strings"
	"sync"

	labpdu "github.com/gantry-pod/gantry/lab/pdu"
)

// trace is what was heard on the wire by the PDU.
type trace struct {
	mu     sync.Mutex // guards events
	events []labpdu.Event
}

func (t *trace) add(e labpdu.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

func (t *trace) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.events)
}

// The columns of PowerNet-MIB's rPDU2OutletSwitched tables: Status.State is
// rPDU2OutletSwitchedStatusState, Control.Command is
// rPDU2OutletSwitchedControlCommand (1 immediateOn, 2 immediateOff).
const (
	outletStatus  = "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5."
	outletControl = "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5."
)

// of spells what was asked of an outlet from event from on, in order: "get" for
// each reading of its state, "on" and "off" for each command, "set N" for any
// other.
func (t *trace) of(outlet, from int) (said []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	status, control := fmt.Sprint(outletStatus, outlet), fmt.Sprint(outletControl, outlet)
	for _, e := range t.events[from:] {
		for _, v := range e.Vars {
			switch {
			case v.OID == status && e.Op == "get":
				said = append(said, "get")
			case e.Op != "set":
			case v.OID == control && fmt.Sprint(v.Value) == "1":
				said = append(said, "on")
			case v.OID == control && fmt.Sprint(v.Value) == "2":
				said = append(said, "off")
			case strings.HasSuffix(v.OID, fmt.Sprintf(".%d", outlet)):
				said = append(said, fmt.Sprintf("set %s=%v", v.OID, v.Value))
			}
		}
	}
	return said
}
