// Package conformance is the kit that every driver passes, ours and a
// vendor's: checks of what the contract promises, run through the host against
// a device or an agent that stands for one. It runs in a test (RunPDU) and
// outside of one (VerifyPDU), where it makes a report to publish.
package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/gantry-pod/gantry/plugins/device"
)

// PDU is what is checked; a host's PDU is one.
type PDU interface {
	// Probe asks the device who it is.
	Probe(ctx context.Context) (device.Identity, error)
	// List returns all outlets.
	List(ctx context.Context) ([]device.Outlet, error)
	// Get returns one outlet's state.
	Get(ctx context.Context, outlet string) (device.State, error)
	// GetMany answers each outlet in order.
	GetMany(ctx context.Context, outlets []string) ([]device.Reading, error)
	// Set makes an outlet be on or off.
	Set(ctx context.Context, change device.Change) (device.Result, error)
}

// Faults makes an emulated device fail in the ways that real ones do. Each
// stays until Heal.
type Faults interface {
	// ErrorButDone: commands to the outlet are answered by an error and
	// carried out.
	ErrorButDone(outlet string)
	// Refusing: commands to the outlet are answered by an error and ignored.
	Refusing(outlet string)
	// Dead: commands to the outlet are accepted and never carried out.
	Dead(outlet string)
	// Unreadable: the outlet reads neither on nor off.
	Unreadable(outlet string)
	// LoseReplies: that many answers to changes get lost.
	LoseReplies(n int)
	// Silent: the device answers nothing.
	Silent()
	// Heal ends all faults.
	Heal()
}

// Options say what may be done to the device.
type Options struct {
	// Outlet may be switched at will; empty for a device that may only be read.
	Outlet string
	// Unknown are outlets that the device does not have; there is a default.
	Unknown []string
	// Volatile: states change by themselves, as in a recording that replays.
	Volatile bool
	// Faults, if the device has them.
	Faults Faults
	// Settle is how long an outlet may take to be as asked: 30 s if zero.
	Settle time.Duration
	// Calls is how many go at once: 200 if zero.
	Calls int
	// Each, if set, is called with each verdict as soon as it is there.
	Each func(Verdict)
	// Generation is what the checks' fencing begins at: above every earlier
	// one. Zero takes the time in nanoseconds.
	Generation uint64
}

func (o Options) withDefaults() Options {
	if o.Unknown == nil {
		o.Unknown = []string{"99999", "0", "-1", "no such outlet", "1.2.3.4.5.6", ""}
	}
	if o.Settle == 0 {
		o.Settle = 30 * time.Second
	}
	if o.Calls == 0 {
		o.Calls = 200
	}
	if o.Generation == 0 {
		o.Generation = uint64(time.Now().UnixNano())
	}
	return o
}

// Check is one promise of the contract.
type Check struct {
	Name    string
	Promise string // what holds, in a sentence
	needs   need
	run     func(context.Context, *bench) error
}

type need int

const (
	reading need = iota
	switching
	failing
)

// Verdict is what came of one check.
type Verdict struct {
	Check
	// Applies is false for a check that the options leave out: a device that
	// may only be read, or cannot be made to fail.
	Applies bool
	Err     error // nil if the promise was kept, or was not checked
	Took    time.Duration
}

// VerifyPDU runs all checks that apply, one after the other.
func VerifyPDU(ctx context.Context, client PDU, opts Options) []Verdict {
	var verdicts []Verdict
	b := &bench{PDU: client, opts: opts.withDefaults()}
	for _, c := range PDUChecks() {
		v := Verdict{Check: c, Applies: b.can(c.needs)}
		if v.Applies {
			begun := time.Now()
			v.Err = b.perform(ctx, c)
			v.Took = time.Since(begun)
		}
		if b.opts.Each != nil {
			b.opts.Each(v)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// testingT is what a test's T has, so that the kit need not import testing.
type testingT[T any] interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Run(name string, run func(T)) bool
}

// RunPDU runs all checks that apply as subtests of t, a *testing.T.
func RunPDU[T testingT[T]](t T, client PDU, opts Options) {
	t.Helper()
	b := &bench{PDU: client, opts: opts.withDefaults()}
	for _, c := range PDUChecks() {
		if !b.can(c.needs) {
			continue
		}
		t.Run(c.Name, func(t T) {
			if err := b.perform(t.Context(), c); err != nil {
				t.Errorf("%s\nbroken: %v", c.Promise, err)
			}
		})
	}
}

// bench is a device on the bench.
type bench struct {
	PDU
	opts Options
	ops  int
}

func (b *bench) can(n need) bool {
	return n == reading || b.opts.Outlet != "" && (n == switching || b.opts.Faults != nil)
}

// perform runs a check and leaves the device as it was: healed, and the outlet
// on.
func (b *bench) perform(ctx context.Context, c Check) error {
	ctx, cancel := context.WithTimeout(ctx, 4*b.opts.Settle)
	defer cancel()
	if c.needs != reading {
		if err := b.reach(ctx, true); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	err := c.run(ctx, b)
	if c.needs == failing {
		b.opts.Faults.Heal()
	}
	return err
}

// change asks for the outlet to be on or off, as a new operation.
func (b *bench) change(on bool) device.Change {
	b.ops++
	return device.Change{Outlet: b.opts.Outlet, On: on, Generation: b.opts.Generation,
		OperationID: fmt.Sprintf("conformance-%d-%d", b.opts.Generation, b.ops)}
}

// reach has the outlet be on or off.
func (b *bench) reach(ctx context.Context, on bool) error {
	if _, err := b.Set(ctx, b.change(on)); err != nil {
		return err
	}
	return b.await(ctx, device.Settled(on))
}

// await polls until the outlet reads want.
func (b *bench) await(ctx context.Context, want device.State) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Settle)
	defer cancel()
	for {
		got, err := b.Get(ctx, b.opts.Outlet)
		if err != nil || got == want {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("outlet %s reads %s, not %s, after %v", b.opts.Outlet, got, want, b.opts.Settle)
		}
	}
}
