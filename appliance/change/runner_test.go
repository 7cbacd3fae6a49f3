package change

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/store"
	"github.com/gantry-pod/gantry/store/pebblekv"
)

// bench is a book on a real store with one machine in it.
type bench struct {
	t      *testing.T
	dir    string
	db     *store.DB
	book   *Book
	assets *asset.Registry

	mu     sync.Mutex
	ran    []string
	alerts []string
	noDesk error // why no alert can be recorded
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "store")}
	b.open()
	f, err := asset.ParseFile([]byte("machines: [{name: m1, macs: ['52:54:00:00:00:01']}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.assets.Import(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.db.Close() })
	return b
}

func (b *bench) open() {
	b.t.Helper()
	e, err := pebblekv.Open(b.dir, pebblekv.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	at, ct := asset.NewTables(), NewTables()
	db, err := store.Open(b.t.Context(), e, slog.New(slog.DiscardHandler), append(at.Schemas(), ct.Schemas()...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	vault, err := asset.OpenVault(filepath.Join(filepath.Dir(b.dir), "key"))
	if err != nil {
		b.t.Fatal(err)
	}
	pool := asset.Pool{First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr("10.0.0.20")}
	b.db = db
	b.assets = asset.NewRegistry(db, at, vault, pool, time.Now)
	b.book = NewBook(db, ct, b.assets, time.Now)
}

// crash closes the store as it is and opens it again, as a new process would.
func (b *bench) crash(r *Runner) {
	r.Close()
	if err := b.db.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open()
}

func (b *bench) runner(plans map[Kind]Plan) *Runner {
	return NewRunner(b.book, plans, NewLive(time.Now), func(_ *store.Tx, _ Request, p *Problem) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.alerts = append(b.alerts, p.Code)
		return b.noDesk
	}, slog.New(slog.DiscardHandler))
}

// note is a step that records that it ran.
func (b *bench) note(name string, fn func(ctx context.Context, run *Run) error) StepPlan {
	return StepPlan{Name: name, Timeout: time.Minute, Run: func(ctx context.Context, run *Run) error {
		b.mu.Lock()
		b.ran = append(b.ran, name)
		b.mu.Unlock()
		if fn == nil {
			return nil
		}
		return fn(ctx, run)
	}}
}

func (b *bench) want(ran ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.ran, ran) {
		b.t.Errorf("steps ran: %v, want %v", b.ran, ran)
	}
}

// await waits until the request has ended.
func (b *bench) await(id string) Request {
	b.t.Helper()
	changed, stop := b.book.Watch()
	defer stop()
	for {
		r, err := b.book.Get(b.t.Context(), id)
		if err != nil {
			b.t.Fatal(err)
		}
		if r.Status.Ended() {
			return r
		}
		select {
		case <-changed:
		case <-time.After(3 * time.Minute):
			b.t.Fatalf("request %s is still %s", id, r.Status)
		}
	}
}

func admitAll(*asset.Machine) error { return nil }

func (b *bench) submit(r *Runner, ask Ask) Request {
	b.t.Helper()
	q, err := r.Submit(b.t.Context(), ask, admitAll)
	if err != nil {
		b.t.Fatal(err)
	}
	return q
}

func (b *bench) lock() string {
	b.t.Helper()
	m, err := b.assets.Machine(b.t.Context(), "m1")
	if err != nil {
		b.t.Fatal(err)
	}
	return m.Lock
}

func TestStepsRunInOrderAndUnlock(t *testing.T) {
	b := newBench(t)
	r := b.runner(map[Kind]Plan{Inspect: {Steps: []StepPlan{b.note("one", nil), b.note("two", nil)}}})
	defer r.Close()
	q := b.await(b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"}).ID)
	if q.Status != Done || len(q.Steps) != 2 || q.Steps[1].Status != Done {
		t.Errorf("ended as %+v", q)
	}
	b.want("one", "two")
	if l := b.lock(); l != "" {
		t.Errorf("machine is still locked by %s", l)
	}
}

func TestOneRequestAMachine(t *testing.T) {
	b := newBench(t)
	hold := make(chan struct{})
	r := b.runner(map[Kind]Plan{Inspect: {Steps: []StepPlan{b.note("hold", func(context.Context, *Run) error { <-hold; return nil })}}})
	defer r.Close()
	first := b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t", Key: "k"})
	if _, err := r.Submit(t.Context(), Ask{Kind: Inspect, Machine: "m1", By: "t"}, admitAll); !errors.Is(err, asset.ErrLocked) {
		t.Errorf("second request: %v, want ErrLocked", err)
	}
	again, err := r.Submit(t.Context(), Ask{Kind: Inspect, Machine: "m1", By: "t", Key: "k"}, admitAll)
	if err != nil || again.ID != first.ID {
		t.Errorf("same key: %s, %v, want %s", again.ID, err, first.ID)
	}
	if _, err := r.Submit(t.Context(), Ask{Kind: Inspect, Machine: "m1", By: "t", Key: "k", Spec: "other"}, admitAll); !errors.Is(err, asset.ErrExists) {
		t.Errorf("same key, other spec: %v, want ErrExists", err)
	}
	close(hold)
	b.await(first.ID)
}

func TestResumeAfterCrash(t *testing.T) {
	b := newBench(t)
	began := make(chan struct{}, 1)
	block := b.note("two", func(ctx context.Context, run *Run) error {
		if run.Resumed {
			return nil
		}
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	plans := map[Kind]Plan{Inspect: {Steps: []StepPlan{b.note("one", nil), block, b.note("three", nil)}}}
	r := b.runner(plans)
	q := b.submit(r, Ask{Kind: Inspect, Machine: "m1", By: "t"})
	<-began
	b.crash(r)
	if b.lock() != q.ID {
		t.Fatalf("after the crash the lock is %q, want %s", b.lock(), q.ID)
	}
	r = b.runner(plans)
	defer r.Close()
	if err := r.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	end := b.await(q.ID)
	if end.Status != Done || end.Steps[1].Resumed != 1 || end.Steps[1].Attempt != 1 {
		t.Errorf("ended as %+v", end)
	}
	b.want("one", "two", "two", "three")
}

func TestFailureIsUndone(t *testing.T) {
	b := newBench(t)
	fail := b.note("two", func(context.Context, *Run) error { return &Problem{Code: "broken-disk", Detail: "d", Person: true} })
	settled := Status("")
	r := b.runner(map[Kind]Plan{Deploy: {
		Steps: []StepPlan{b.note("one", nil), fail, b.note("three", nil)}, Undo: []StepPlan{b.note("undo", nil)},
		Settle: func(m *asset.Machine, end Status, p *Problem, now time.Time) error {
			settled = end
			return m.Apply(machine.Event{Kind: machine.Break, Reason: p.Detail}, now)
		},
	}})
	defer r.Close()
	q := b.await(b.submit(r, Ask{Kind: Deploy, Machine: "m1", By: "t"}).ID)
	if q.Status != Failed || q.Error == nil || q.Error.Code != "broken-disk" {
		t.Errorf("ended as %+v", q)
	}
	b.want("one", "two", "undo")
	m, _ := b.assets.Machine(t.Context(), "m1")
	if settled != Failed || m.Status.State != machine.Broken || m.Lock != "" {
		t.Errorf("settled as %q, machine %+v", settled, m.Status)
	}
	r.Close()
	if !slices.Equal(b.alerts, []string{"broken-disk"}) {
		t.Errorf("alerts: %v", b.alerts)
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t)
	began := make(chan struct{})
	wait := b.note("wait", func(ctx context.Context, _ *Run) error { close(began); <-ctx.Done(); return ctx.Err() })
	r := b.runner(map[Kind]Plan{
		Deploy:  {Steps: []StepPlan{wait}, Undo: []StepPlan{b.note("undo", nil)}},
		Release: {Uncancellable: true, Steps: []StepPlan{b.note("gone", func(ctx context.Context, _ *Run) error { <-ctx.Done(); return ctx.Err() })}},
	})
	q := b.submit(r, Ask{Kind: Deploy, Machine: "m1", By: "t"})
	<-began
	if _, err := r.Cancel(t.Context(), q.ID); err != nil {
		t.Fatal(err)
	}
	if end := b.await(q.ID); end.Status != Cancelled {
		t.Errorf("ended as %s", end.Status)
	}
	b.want("wait", "undo")
	if _, err := r.Cancel(t.Context(), q.ID); !errors.Is(err, ErrEnded) {
		t.Errorf("cancelled twice: %v", err)
	}
	q = b.submit(r, Ask{Kind: Release, Machine: "m1", By: "t"})
	if _, err := r.Cancel(t.Context(), q.ID); !errors.Is(err, ErrEnded) {
		t.Errorf("a release was cancelled: %v", err)
	}
	r.Close()
}
