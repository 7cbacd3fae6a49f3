package device

// State is what a device says of an outlet. The zero value is StateUnknown: a
// value that nobody understands is never taken for off.
type State uint8

// The states of an outlet, numbered as in the contract's OutletState.
const (
	StateUnknown State = iota
	StateOn
	StateOff
	StatePendingOn  // off now, accepted to switch on
	StatePendingOff // on now, accepted to switch off
	StateAbsent     // listed by the device, not fitted
)

// String returns the state in words, as people and logs read it.
func (s State) String() string {
	switch s {
	case StateOn:
		return "on"
	case StateOff:
		return "off"
	case StatePendingOn:
		return "pending on"
	case StatePendingOff:
		return "pending off"
	case StateAbsent:
		return "absent"
	}
	return "unknown"
}

// Settled is the state that a finished change to on leaves behind.
func Settled(on bool) State {
	if on {
		return StateOn
	}
	return StateOff
}

// Moving is the state of an outlet that has accepted a change to on and not
// made it yet.
func Moving(on bool) State {
	if on {
		return StatePendingOn
	}
	return StatePendingOff
}

// Outcome is what became of a change.
type Outcome uint8

// The outcomes, numbered as in the contract's Outcome.
const (
	OutcomeUnknown Outcome = iota // may or may not have happened: read again
	OutcomeApplied                // read back as asked; in a dry run: it would change
	OutcomeAlready                // it was so before, nothing was sent
	OutcomePending                // accepted, not there yet: poll
)

// String returns the outcome in a word.
func (o Outcome) String() string {
	switch o {
	case OutcomeApplied:
		return "applied"
	case OutcomeAlready:
		return "already"
	case OutcomePending:
		return "pending"
	}
	return "unknown"
}
