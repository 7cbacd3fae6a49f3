package api

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
)

// TestRetryAnew: what was undone is given anew, each time that the last retry
// has ended in vain, and not beside it.
func TestRetryAnew(t *testing.T) {
	b := newBench(t)
	b.ready("m1")
	spec := fmt.Sprintf(`{"image":"debian","ssh_keys":[%q]}`, userKey())
	var first Request
	b.get("POST", "/v1/machines/m1/deploy", spec, &first)
	seen := map[string]bool{first.ID: true}
	last := first.ID
	for i := range 3 {
		b.get("POST", "/v1/requests/"+last+"/cancel", "", nil)
		b.await(last)
		var retried, twice Request
		b.get("POST", "/v1/requests/"+first.ID+"/retry", "", &retried)
		b.get("POST", "/v1/requests/"+first.ID+"/retry", "", &twice)
		if seen[retried.ID] || twice.ID != retried.ID || retried.Status.Ended() {
			t.Fatalf("retry %d: %s, which is %s, and then %s", i+1, retried.ID, retried.Status, twice.ID)
		}
		seen[retried.ID], last = true, retried.ID
	}
}

// TestRetryGoesOn: a restart that failed at the outlet goes on there.
func TestRetryGoesOn(t *testing.T) {
	b := newBench(t)
	b.set("m1", func(m *asset.Machine) { m.Status = machine.Status{State: machine.Active, Since: time.Now()} })
	outlet := func(state string) {
		b.rack.mu.Lock()
		defer b.rack.mu.Unlock()
		b.rack.state["1"] = state
	}
	outlet("blinking")
	var q, again Request
	b.get("POST", "/v1/machines/m1/restart", "", &q)
	if end := b.await(q.ID); end.Status != change.Failed || end.Error.Code != "outlet-unknown" {
		t.Fatalf("ended as %s, %+v", end.Status, end.Error)
	}
	outlet("on")
	b.get("POST", "/v1/requests/"+q.ID+"/retry", "", &again)
	if again.ID != q.ID || again.Error != nil {
		t.Errorf("%s goes on as %s, %+v", q.ID, again.ID, again.Error)
	}
	if end := b.await(q.ID); end.Status != change.Done || end.Steps[0].Attempt != 2 {
		t.Errorf("ended as %s with %+v", end.Status, end.Steps)
	}
	problem(t, b.call("POST", "/v1/requests/"+q.ID+"/retry", ""), http.StatusConflict, "only one that failed")

	outlet("blinking")
	b.get("POST", "/v1/machines/m1/stop", "", &q)
	b.await(q.ID)
	b.set("m1", func(m *asset.Machine) { m.Status.State = machine.Broken })
	problem(t, b.call("POST", "/v1/requests/"+q.ID+"/retry", ""), http.StatusUnprocessableEntity, "is broken")
}
