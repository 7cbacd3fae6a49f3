package change

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/store/storetest"
)

type secretSpec struct {
	Image    string              `json:"image"`
	UserData string              `json:"user_data,omitempty"`
	Users    []map[string]string `json:"users,omitempty"`
}

var full = secretSpec{"debian", "token: s3cret", []map[string]string{{"name": "a", "password_hash": "$6$s3cret"}, {"name": "b"}}}

// TestRedact: secrets go, all else stays, and what cannot be read goes whole.
func TestRedact(t *testing.T) {
	spec, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	shown, secret := Redact(spec)
	if s := string(shown); !secret || strings.Contains(s, "s3cret") || !strings.Contains(s, "(hidden, 13 bytes)") || !strings.Contains(s, `"name":"a"`) || !strings.Contains(s, "debian") {
		t.Errorf("%s", shown)
	}
	if again, secret := Redact(shown); secret || string(again) != string(shown) {
		t.Errorf("redacted twice: %s", again)
	}
	for in, want := range map[string]string{``: ``, `{}`: `{}`, `{"users":[{"name":"a"}]}`: `{"users":[{"name":"a"}]}`, `{"user_data":"`: ``, `["s3cret"]`: ``} {
		if out, _ := Redact(json.RawMessage(in)); string(out) != want {
			t.Errorf("%s is shown as %s", in, out)
		}
	}
}

// TestSecretsAreSealed: a step sees the whole specification, also after a crash,
// and the store's files never do; what is done keeps no secret, what failed keeps
// it sealed for a day, to be given again.
func TestSecretsAreSealed(t *testing.T) {
	for want, end := range map[Status]error{Done: nil, Failed: &Problem{Code: "x", Detail: "failed"}} {
		t.Run(string(want), func(t *testing.T) {
			b := newBench(t)
			began := make(chan struct{})
			plans := map[Kind]Plan{Deploy: {Steps: []StepPlan{b.note("write", func(ctx context.Context, run *Run) error {
				var got secretSpec
				if err := run.Spec(&got); err != nil || !reflect.DeepEqual(got, full) {
					t.Errorf("the step has %+v, %v", got, err)
				}
				if run.Resumed {
					return end
				}
				close(began)
				<-ctx.Done()
				return ctx.Err()
			})}}}
			ask := Ask{Kind: Deploy, Machine: "m1", By: "t", Key: "k", Spec: full}
			r := b.runner(plans)
			q := b.submit(r, ask)
			<-began
			b.crash(r)
			b.sameKey(ask, q.ID)
			r = b.runner(plans)
			if err := r.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			if q = b.await(q.ID); q.Status != want || (want == Done) != (q.Sealed == nil) || strings.Contains(string(q.Spec), "s3cret") {
				t.Errorf("ended as %+v", q)
			}
			b.sameKey(ask, q.ID)
			r.Close()
			if spec, err := b.book.Spec(&q); (want == Done) != errors.Is(err, ErrSecretsGone) || (want == Failed) != strings.Contains(string(spec), "s3cret") {
				t.Errorf("spec %s, %v", spec, err)
			}
			if storetest.Holds(t, b.dir, "s3cret") || !storetest.Holds(t, b.dir, "debian") {
				t.Error("the store's files show a secret, or nothing at all")
			}
		})
	}
}

// sameKey asks once more with the key of the request called id: for the same,
// and for what differs.
func (b *bench) sameKey(ask Ask, id string) {
	b.t.Helper()
	if again, err := b.book.Accept(b.t.Context(), ask, admitAll); err != nil || again.ID != id {
		b.t.Errorf("asked again: %s, %v", again.ID, err)
	}
	other := full
	other.UserData = "another token"
	ask.Spec = other
	if q, err := b.book.Get(b.t.Context(), id); err != nil || q.Sealed == nil {
		other.Image = "another" // what is gone cannot be compared
		ask.Spec = other
	}
	if _, err := b.book.Accept(b.t.Context(), ask, admitAll); !errors.Is(err, asset.ErrExists) {
		b.t.Errorf("asked for something else with the same key: %v", err)
	}
}

// TestPrune: requests that ended long ago go, and secrets of failed ones before
// them; what has not ended stays however old it is.
func TestPrune(t *testing.T) {
	b := newBench(t)
	r := b.runner(map[Kind]Plan{
		Deploy: {Steps: []StepPlan{b.note("fail", func(context.Context, *Run) error { return &Problem{Code: "x"} })}},
		Inspect: {Steps: []StepPlan{b.note("wait", func(ctx context.Context, _ *Run) error {
			<-ctx.Done()
			return ctx.Err()
		})}},
	})
	defer r.Close()
	failed := b.await(b.submit(r, Ask{Kind: Deploy, Machine: "m1", Spec: full}).ID)
	open := b.submit(r, Ask{Kind: Inspect, Machine: "m1"})
	prune := func(secrets, all time.Time) (left []string) {
		t.Helper()
		if err := b.book.Prune(t.Context(), secrets, all); err != nil {
			t.Fatal(err)
		}
		list, err := b.book.List(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range list {
			left = append(left, q.ID)
			if q.ID == failed.ID {
				failed = q
			}
		}
		return left
	}
	now := time.Now().Add(time.Minute)
	before := failed.Created.Add(-time.Minute)
	if left := prune(before, before); len(left) != 2 || failed.Sealed == nil {
		t.Errorf("too early: left %v, sealed %x", left, failed.Sealed)
	}
	if left := prune(now, before); len(left) != 2 || failed.Sealed != nil {
		t.Errorf("after a day: left %v, sealed %x", left, failed.Sealed)
	}
	if _, err := b.book.Spec(&failed); !errors.Is(err, ErrSecretsGone) {
		t.Errorf("its spec: %v", err)
	}
	if left := prune(now, now); !slices.Equal(left, []string{open.ID}) {
		t.Errorf("in the end: left %v", left)
	}
}
