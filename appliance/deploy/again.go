package deploy

import (
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
)

// AskAgain admits the machine of a failed request that can go on at the step
// that failed; false where a new request is needed, as what was done is undone.
func (a *Actuator) AskAgain(r change.Request) (admit change.Admit, ok bool) {
	switch r.Kind {
	case change.Inspect:
		_, admit = a.AskInspect(r.Machine)
	case change.Release:
		_, admit = a.AskRelease(r.Machine)
	case change.Restart, change.Start, change.Stop:
		_, admit = a.AskPower(r.Kind, r.Machine)
	case change.Unrescue: // its first step leaves the state
		admit = a.require(machine.Rescue, machine.Active)
	}
	return admit, admit != nil
}
