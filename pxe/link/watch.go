package link

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// State is what Watch has found.
type State struct {
	Link Link  // as it is after any repair; zero if Err is set
	Err  error // why it is not as declared, now
}

// Times of Watch.
const (
	// checkEvery is how often the interface is looked at without being told of
	// a change: news from the kernel can be lost.
	checkEvery = 30 * time.Second
	// retryEvery is how often a failed repair is tried again.
	retryEvery = 2 * time.Second
	// settle is how long news is gathered before it is acted on, so that a
	// fight with another program over the interface stays a slow one.
	settle = 100 * time.Millisecond
)

// Watch keeps the interface as declared until ctx ends, and then returns nil.
// It calls report at first and whenever something a person would notice has
// changed: a repair (Link.Changes says what), the carrier, an error's coming
// or going. report is called from Watch's goroutine, and the next look waits
// for it.
func Watch(ctx context.Context, spec Spec, report func(State)) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	w := watcher{spec: spec, report: report}
	for ctx.Err() == nil {
		if err := w.follow(ctx); err != nil && ctx.Err() == nil {
			w.tell(State{Err: fmt.Errorf("provisioning link %s: news from the kernel: %w", spec.Name(), err)})
			sleep(ctx, retryEvery)
		}
	}
	return nil
}

type watcher struct {
	spec   Spec
	report func(State)
	last   *State
}

// follow looks at the interface at each change until a subscription breaks.
func (w *watcher) follow(ctx context.Context) error {
	done := make(chan struct{})
	defer close(done)
	news := make(chan struct{}, 1)
	broken := make(chan error, 2)
	onError := func(err error) {
		select {
		case broken <- err:
		default:
		}
	}
	links, addrs := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: onError}); err != nil {
		return err
	}
	go drain(links, news)
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: onError}); err != nil {
		return err
	}
	go drain(addrs, news)
	for {
		wait := checkEvery
		if !w.look(ctx) {
			wait = retryEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			return err
		case <-time.After(wait):
		case <-news:
			sleep(ctx, settle)
		}
	}
}

// drain turns updates into one signal. It ends when the subscription, which
// closes the channel, does.
func drain[T any](updates <-chan T, news chan<- struct{}) {
	for range updates {
		select {
		case news <- struct{}{}:
		default:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// look repairs and tells; false if the interface is not as declared.
func (w *watcher) look(ctx context.Context) bool {
	l, err := Ensure(ctx, w.spec)
	if ctx.Err() == nil {
		w.tell(State{Link: l, Err: err})
	}
	return err == nil
}

// tell reports a state unless it is the last one again.
func (w *watcher) tell(s State) {
	if w.last != nil && len(s.Link.Changes) == 0 && same(*w.last, s) {
		return
	}
	w.last = &s
	w.report(s)
}

func same(a, b State) bool {
	if a.Err != nil || b.Err != nil {
		return a.Err != nil && b.Err != nil && a.Err.Error() == b.Err.Error()
	}
	return a.Link.Index == b.Link.Index && a.Link.Carrier == b.Link.Carrier && a.Link.MTU == b.Link.MTU &&
		slices.Equal(a.Link.MAC, b.Link.MAC)
}
