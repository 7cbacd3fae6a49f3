package lab

import (
	"os"
	"time"

	"github.com/gantry-pod/gantry/lab/machine"
)

// Status is a lab at one moment.
type Status struct {
	Name     string        `json:"name"`
	StateDir string        `json:"state_dir"`
	PID      int           `json:"pid"`
	Began    time.Time     `json:"began"`
	Accel    machine.Accel `json:"accel"`
	// WireNetns and ApplianceNetns are network namespaces, for `ip netns exec`.
	WireNetns      string           `json:"wire_netns"`
	ApplianceNetns string           `json:"appliance_netns"`
	Machines       []MachineStatus  `json:"machines"`
	Outlets        []OutletStatus   `json:"outlets"`
	Appliance      *ApplianceStatus `json:"appliance,omitempty"`
	Forwards       []Forward        `json:"forwards"`
	Faults         []Fault          `json:"faults"`
}

// MachineStatus is one machine of a Status.
type MachineStatus struct {
	machine.Status
	Name     string           `json:"name"`
	Firmware machine.Firmware `json:"firmware"`
	MACs     []string         `json:"macs"`
	Outlets  []int            `json:"outlets"`
	// Address is what it was last heard to use on the provisioning network.
	Address    string `json:"address,omitempty"`
	Console    string `json:"console"`
	ConsoleLog string `json:"console_log"`
	QMP        string `json:"qmp"`
}

// OutletStatus is one outlet of a Status.
type OutletStatus struct {
	Number int  `json:"number"`
	On     bool `json:"on"`
	// Machine is what it feeds; empty if nothing is plugged in.
	Machine string `json:"machine,omitempty"`
}

// Status returns what the lab is doing now.
func (l *Lab) Status() Status {
	l2, app := l.Netns()
	s := Status{
		Name: l.cfg.Name, StateDir: l.cfg.StateDir, PID: os.Getpid(), Began: l.began, Accel: l.cfg.Accel,
		WireNetns: l2, ApplianceNetns: app, Forwards: l.cfg.Forwards, Faults: l.Faults(),
	}
	feeds := map[int]string{}
	for _, m := range l.machines {
		s.Machines = append(s.Machines, l.machineStatus(m))
		for _, n := range m.Spec().Outlets {
			feeds[n] = m.Spec().Name
		}
	}
	for n := 1; n <= l.cfg.Outlets; n++ {
		s.Outlets = append(s.Outlets, OutletStatus{Number: n, On: l.Outlet(n).On(), Machine: feeds[n]})
	}
	if l.appliance != nil {
		status := l.appliance.status()
		s.Appliance = &status
	}
	return s
}

func (l *Lab) machineStatus(m *machine.Machine) MachineStatus {
	spec := m.Spec()
	s := MachineStatus{
		Status: m.Status(), Name: spec.Name, Firmware: spec.Firmware, Outlets: spec.Outlets,
		Console: m.ConsoleSocket(), ConsoleLog: l.path("machines", spec.Name, "console.log"), QMP: m.QMPSocket(),
	}
	for _, nic := range spec.NICs {
		s.MACs = append(s.MACs, nic.MAC)
	}
	if addr, ok := l.Addr(spec.Name); ok {
		s.Address = addr.String()
	}
	return s
}
