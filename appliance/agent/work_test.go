package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/machine"
	"github.com/gantry-pod/gantry/netboot/job"
	"github.com/gantry-pod/gantry/store"
)

func final(seq int64) job.Report {
	return job.Report{Seq: seq, Phase: "inspect", State: job.Done, Final: true,
		Result: &job.Result{Inventory: &job.Inventory{Memory: 1 << 30}}}
}

// TestJobToItsEnd plays one job: it reaches the agent's waiting poll at once,
// its phases are told in order, and its end is the caller's.
func TestJobToItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		got, began := make(chan string), time.Now()
		go func() { got <- b.gotJob(session, "") }()
		synctest.Wait()
		time.Sleep(3 * time.Second)
		end := b.do(t.Context(), job.Job{ID: "j1", Kind: job.Inspect})
		if id := <-got; id != "j1" || time.Since(began) != 3*time.Second {
			t.Errorf("the poll gave %q after %v, want j1 at once", id, time.Since(began))
		}
		for seq, phase := range []string{"hardware", "lldp"} {
			if r := b.report(session, "j1", job.Report{Seq: int64(seq + 1), Phase: phase, State: job.Running}); r.Cancel {
				t.Error("cancelled")
			}
			synctest.Wait()
		}
		b.report(session, "j1", job.Report{Seq: 1, Phase: "hardware", State: job.Running}) // one that came late
		b.report(session, "j1", final(3))
		o := <-end
		if o.err != nil || o.result.Inventory.Memory != 1<<30 {
			t.Errorf("ended with %+v, %v", o.result, o.err)
		}
		if want := []string{"hardware", "lldp", "inspect"}; !slices.Equal(o.saw, want) {
			t.Errorf("saw phases %v, want %v", o.saw, want)
		}
		if id := b.gotJob(session, "j1"); id != "" {
			t.Errorf("a job that has ended was given again: %s", id)
		}
	})
}

// TestFinalReportIsCommittedFirst: once the final report was acknowledged the
// appliance may die at once. The next one knows the end, and acknowledges a
// repeat without changing it.
func TestFinalReportIsCommittedFirst(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		ctx, stop := context.WithCancel(t.Context())
		end := b.do(ctx, job.Job{ID: "j1", Kind: job.Inspect})
		synctest.Wait()
		stop() // the old appliance stops waiting before the report comes
		if o := <-end; !errors.Is(o.err, context.Canceled) {
			t.Fatalf("stopped with %v", o.err)
		}
		b.report(session, "j1", final(1))
		b.restart()
		other := job.Report{Seq: 2, State: job.Failed, Final: true, Problem: &job.Problem{Code: "internal"}}
		if r := b.report(session, "j1", other); r.Cancel {
			t.Error("a repeated final report was told to cancel")
		}
		o := <-b.do(t.Context(), job.Job{ID: "j1", Kind: job.Inspect})
		if o.err != nil || o.result.Inventory == nil {
			t.Errorf("the same job after the restart: %+v, %v", o.result, o.err)
		}
	})
}

// TestJobSurvivesTheAppliance restarts the appliance in the middle of a job: the
// session goes on, the agent is not given the job twice, and reports count from
// wherever they are.
func TestJobSurvivesTheAppliance(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		ctx, stop := context.WithCancel(t.Context())
		end := b.do(ctx, job.Job{ID: "j1", Kind: job.Inspect})
		if id := b.gotJob(session, ""); id != "j1" {
			t.Fatalf("got job %q", id)
		}
		b.report(session, "j1", job.Report{Seq: 7, Phase: "hardware", State: job.Running})
		stop()
		<-end
		b.restart()
		alive := make(chan bool)
		go func() { ok, err := b.service.Alive(t.Context(), machine1); alive <- ok && err == nil }()
		synctest.Wait()
		b.report(session, "j1", job.Report{Seq: 3, Phase: "lldp", State: job.Running})
		if !<-alive {
			t.Error("the agent spoke after the restart and is not alive")
		}
		end = b.do(t.Context(), job.Job{ID: "j1", Kind: job.Inspect})
		synctest.Wait()
		if id := b.gotJob(session, "j1"); id != "" {
			t.Errorf("the job that it has was given again: %s", id)
		}
		if id := b.gotJob(session, ""); id != "j1" {
			t.Errorf("an agent that forgot its job got %q", id)
		}
		b.report(session, "j1", final(4))
		if o := <-end; o.err != nil {
			t.Error(o.err)
		}
	})
}

func TestFailedJob(t *testing.T) {
	for name, c := range map[string]struct {
		problem *job.Problem
		want    job.Problem
	}{
		"with a problem": {&job.Problem{Code: "image-digest", Detail: "chunk 3", Retry: true}, job.Problem{Code: "image-digest", Detail: "chunk 3", Retry: true}},
		"without one":    {nil, job.Problem{Code: "internal", Detail: "the agent failed and gave no reason"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				session := b.begin()
				end := b.do(t.Context(), job.Job{ID: "j1", Kind: job.Deploy})
				synctest.Wait()
				b.report(session, "j1", job.Report{Seq: 1, State: job.Failed, Final: true, Problem: c.problem})
				var p *job.Problem
				if o := <-end; !errors.As(o.err, &p) {
					t.Fatalf("ended with %v", o.err)
				}
				if d := cmp.Diff(c.want, *p); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// TestReplacedJobIsCancelled: the agent learns from the reply to its next report
// that its job is another, and whoever waited for the old one learns it too.
func TestReplacedJobIsCancelled(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		first := b.do(t.Context(), job.Job{ID: "j1", Kind: job.Deploy})
		synctest.Wait()
		second := b.do(t.Context(), job.Job{ID: "j2", Kind: job.Wipe})
		if o := <-first; o.err == nil || !strings.Contains(o.err.Error(), "replaced") {
			t.Errorf("the first job's caller got %v", o.err)
		}
		if r := b.report(session, "j1", job.Report{Seq: 1, Phase: "write", State: job.Running}); !r.Cancel {
			t.Error("the agent was not told to stop")
		}
		cancelled := job.Report{Seq: 2, Final: true, State: job.Failed, Problem: &job.Problem{Code: "cancelled"}}
		b.report(session, "j1", cancelled)
		if id := b.gotJob(session, "j1"); id != "j2" {
			t.Fatalf("got job %q, want j2", id)
		}
		b.report(session, "j2", job.Report{Seq: 3, Final: true, State: job.Done})
		if o := <-second; o.err != nil || len(o.saw) != 1 {
			t.Errorf("the second job ended with %+v", o)
		}
	})
}

// TestLastWordEndsTheSession: an agent that restarts its machine is gone with
// the acknowledgement, and nothing counts on it any more.
func TestLastWordEndsTheSession(t *testing.T) {
	for _, kind := range []job.Kind{job.Reboot, job.PowerOff} {
		t.Run(string(kind), func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				session := b.begin()
				end := b.do(t.Context(), job.Job{ID: "j1", Kind: kind})
				synctest.Wait()
				b.report(session, "j1", job.Report{Seq: 1, Final: true, State: job.Done})
				if o := <-end; o.err != nil {
					t.Fatal(o.err)
				}
				if alive, err := b.service.Alive(t.Context(), machine1); alive || err != nil {
					t.Errorf("alive after its last word: %v, %v", alive, err)
				}
				b.problem(b.next(session, "j1"), http.StatusForbidden)
			})
		})
	}
}

// TestLost: an agent counts as lost when it was silent for the whole time, not
// before, and a word of it starts the time again.
func TestLost(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		lost := DefaultTimes().Lost
		session := b.begin()
		began := time.Now()
		end := b.do(t.Context(), job.Job{ID: "j1", Kind: job.Deploy})
		time.Sleep(lost - time.Second)
		b.report(session, "j1", job.Report{Seq: 1, Phase: "write", State: job.Running})
		o := <-end
		if !errors.Is(o.err, ErrLost) {
			t.Fatalf("ended with %v", o.err)
		}
		if d := time.Since(began); d != 2*lost-time.Second {
			t.Errorf("lost after %v, want %v", d, 2*lost-time.Second)
		}
		if alive, err := b.service.Alive(t.Context(), machine1); alive || err != nil {
			t.Errorf("a lost agent is alive: %v, %v", alive, err)
		}
		// It comes back: the job waits for it.
		if id := b.gotJob(b.begin(), ""); id != "j1" {
			t.Errorf("the next agent got %q, want j1", id)
		}
	})
}

// TestAlive: whether an agent runs, before, during and after its session, and
// with the grace that a restarted appliance gives.
func TestAlive(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		lost := DefaultTimes().Lost
		alive := func() (bool, time.Duration) {
			began := time.Now()
			ok, err := b.service.Alive(t.Context(), machine1)
			if err != nil {
				t.Fatal(err)
			}
			return ok, time.Since(began)
		}
		if ok, d := alive(); ok || d != 0 {
			t.Errorf("before it booted: %v after %v", ok, d)
		}
		b.begin()
		if ok, d := alive(); !ok || d != 0 {
			t.Errorf("after hello: %v after %v", ok, d)
		}
		time.Sleep(lost)
		if ok, d := alive(); ok || d != 0 {
			t.Errorf("after a long silence: %v after %v", ok, d)
		}
		b.begin()
		b.restart()
		if ok, d := alive(); ok || d != lost {
			t.Errorf("silent since the appliance's restart: %v after %v, want false after %v", ok, d, lost)
		}
		b.restart()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.service.Alive(ctx, machine1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Alive outlived its context: %v", err)
		}
	})
}

func TestAwait(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		arrived := make(chan error)
		began := time.Now()
		go func() { arrived <- b.service.Await(t.Context(), machine1) }()
		time.Sleep(90 * time.Second)
		b.begin()
		if err := <-arrived; err != nil || time.Since(began) != 90*time.Second {
			t.Errorf("arrived after %v: %v", time.Since(began), err)
		}
		if err := b.service.Reset(t.Context(), machine1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := b.service.Await(ctx, machine1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an agent that was reset has arrived: %v", err)
		}
	})
}

// TestPollEnds: a poll without a job is answered in its time, and one that the
// appliance's end interrupts tells the agent to come again.
func TestPollEnds(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session, began := b.begin(), time.Now()
		if w := b.next(session, ""); w.Code != http.StatusNoContent || time.Since(began) != DefaultTimes().Poll {
			t.Errorf("answered %d after %v", w.Code, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.problem(b.call(ctx, "GET", "/agent/v1/job", session, addr1, nil), http.StatusServiceUnavailable)
	})
}

// TestBadReports sends what cannot be a report. The job goes on.
func TestBadReports(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		end := b.do(t.Context(), job.Job{ID: "j1", Kind: job.Inspect})
		synctest.Wait()
		for _, c := range []struct {
			body   string
			status int
		}{
			{"", http.StatusBadRequest},
			{"final", http.StatusBadRequest},
			{`{"seq":"many"}`, http.StatusBadRequest},
			{`{"remaining":"soon"}`, http.StatusBadRequest},
			{`{}{}`, http.StatusBadRequest},
			{`{"message":"` + strings.Repeat("x", maxReport) + `"}`, http.StatusRequestEntityTooLarge},
		} {
			b.problem(b.call(t.Context(), "POST", "/agent/v1/jobs/j1/report", session, addr1, c.body), c.status)
		}
		for _, path := range []string{"/agent/v1/job", "/agent/v1/jobs/j1/report", "/agent/v1/log"} {
			method := "POST"
			if path == "/agent/v1/job" {
				method = "GET"
			}
			b.problem(b.call(t.Context(), method, path, "", addr1, nil), http.StatusForbidden)
			b.problem(b.call(t.Context(), method, path, "guessed", addr1, nil), http.StatusForbidden)
		}
		b.report(session, "j1", final(1))
		if o := <-end; o.err != nil {
			t.Error(o.err)
		}
	})
}

// TestUnknownJob: a report about a job that never was tells the agent to stop.
func TestUnknownJob(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		for i, id := range []string{"j0", "..", strings.Repeat("j", 500)} {
			w := b.call(t.Context(), "POST", fmt.Sprintf("/agent/v1/jobs/%s/report", strings.ReplaceAll(id, "..", "%2e%2e")), session, addr1, final(int64(i)))
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"cancel":true`) {
				t.Errorf("job %q: answered %d %s", id, w.Code, w.Body)
			}
		}
	})
}

// TestReportsAreClean: nothing that a machine says of itself can act on the
// terminal that shows it, and its numbers arrive as they were.
func TestReportsAreClean(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		end := b.do(t.Context(), job.Job{ID: "j1", Kind: job.Inspect})
		synctest.Wait()
		r := final(1)
		r.Phase, r.Message = "in\x1b[2Jspect", "a\nb"
		r.Result.Inventory.Memory = 1<<62 + 1
		r.Result.Inventory.Disks = []job.Disk{{Model: "\x1b]0;x\x07disk", Bytes: 1<<53 + 1}}
		r.Result.Inventory.NICs = []job.Link{{Neighbours: []job.Neighbour{{SystemName: "sw\u009b1"}}}}
		b.report(session, "j1", r)
		o := <-end
		if o.err != nil {
			t.Fatal(o.err)
		}
		inv := o.result.Inventory
		if inv.Memory != 1<<62+1 || inv.Disks[0].Bytes != 1<<53+1 || inv.Disks[0].Model != "·]0;x·disk" || inv.NICs[0].Neighbours[0].SystemName != "sw·1" ||
			!slices.Equal(o.saw, []string{"in·[2Jspect"}) {
			t.Errorf("%+v, saw %q", inv, o.saw)
		}
	})
}

// TestRescueIsGivenAgain: each new agent of a machine in rescue does the rescue
// anew, and what it says of it is recorded though its request has ended.
func TestRescueIsGivenAgain(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		ready := func(address string) job.Report {
			return job.Report{Seq: 1, State: job.Done, Final: true, Result: &job.Result{Rescue: &job.RescueReady{Address: address}}}
		}
		session := b.begin()
		end := b.do(t.Context(), job.Job{ID: "j1", Kind: job.Rescue, Deadline: time.Now().Add(time.Minute)})
		synctest.Wait()
		b.report(session, "j1", ready("10.0.0.10:22"))
		if o := <-end; o.err != nil || o.result.Rescue == nil {
			t.Fatalf("ended with %+v, %v", o.result, o.err)
		}
		if id := b.gotJob(session, "j1"); id != "" {
			t.Errorf("the agent that did it was given %s again", id)
		}
		b.stands(machine.Rescue)
		session = b.begin()
		var again job.Job
		if w := b.next(session, ""); json.Unmarshal(w.Body.Bytes(), &again) != nil || again.ID != "j1" || !again.Deadline.IsZero() {
			t.Errorf("the next agent was given %s, want j1 without its request's deadline", w.Body)
		}
		b.report(session, "j1", ready("10.0.0.11:22"))
		if got, want := b.reason(), "rescue system at root@10.0.0.11:22"; got != want {
			t.Errorf("reason %q, want %q", got, want)
		}
		b.report(session, "j1", job.Report{Seq: 2, State: job.Failed, Final: true, Problem: &job.Problem{Code: "internal"}})
		if got := b.reason(); !strings.Contains(got, "did not start again") {
			t.Errorf("reason %q", got)
		}
		b.stands(machine.Active)
		b.report(session, "j1", ready("10.0.0.12:22"))
		if got := b.reason(); got != "" {
			t.Errorf("a machine that is not in rescue has reason %q", got)
		}
	})
}

// stands puts the machine into a state.
func (b *bench) stands(s machine.State) {
	b.t.Helper()
	err := b.service.assets.Change(b.t.Context(), machine1, func(_ *store.Tx, m *asset.Machine) error {
		m.Status = machine.Status{State: s}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// reason is what the machine's record says of its state.
func (b *bench) reason() string {
	b.t.Helper()
	m, err := b.service.assets.Machine(b.t.Context(), machine1)
	if err != nil {
		b.t.Fatal(err)
	}
	return m.Status.Reason
}
