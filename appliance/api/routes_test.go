package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/appliance/alert"
	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/appliance/machine"
)

// TestBadInput: whatever is wrong is answered with a problem that says what.
func TestBadInput(t *testing.T) {
	b := newBench(t)
	b.ready("m1")
	b.set("m2", func(m *asset.Machine) { m.Status.State, m.Lock = machine.Imaging, "r0" })
	b.get("POST", "/v1/inventory", "machines: [{name: m3, macs: ['52:54:00:00:00:03']}, {name: m4, macs: ['52:54:00:00:00:04']}]", nil, "Content-Type", "application/yaml")
	b.set("m3", func(m *asset.Machine) { m.Status.State = machine.Active })
	b.set("m4", func(m *asset.Machine) { m.Status.State, m.Dirty = machine.Broken, true })
	const none, cannot = http.StatusNotFound, http.StatusUnprocessableEntity
	for _, c := range []struct {
		call, body string
		status     int
		want       string
	}{
		{"GET /v1/machines/m9", "", none, `"m9"`},
		{"DELETE /v1/machines/m9", "", none, `"m9"`},
		{"DELETE /v1/machines/m2", "", http.StatusConflict, "r0"},
		{"DELETE /v1/machines/m3", "", http.StatusConflict, "m3 is active"},
		{"DELETE /v1/machines/m3?force=true", "", http.StatusConflict, "m3 is active"},
		{"DELETE /v1/machines/m4", "", http.StatusConflict, "not wiped"},
		{"GET /v1/machines/m9/log", "", none, `"m9"`},
		{"GET /v1/machines/m1/log?tail=all", "", cannot, `tail="all"`},
		{"GET /v1/machines/m1/log?tail=-1", "", cannot, `tail="-1"`},
		{"POST /v1/machines/m9/accept", "{}", none, `"m9"`},
		{"POST /v1/machines/m1/accept", `{"pwr":[]}`, cannot, "pwr"},
		{"POST /v1/machines/m1/accept", `{"power":[{"pdu":"p1","outlet":"2"}]}`, http.StatusConflict, "m1"},
		{"POST /v1/machines/m1/accept", `{"power":[{"pdu":"p9","outlet":"2"}]}`, cannot, `"p9"`},
		{"POST /v1/machines/m2/accept", `{"power":[{"pdu":"p1","outlet":"9"}]}`, http.StatusConflict, "r0"},
		{"POST /v1/machines/m1/maintain", "{}", cannot, "reason"},
		{"POST /v1/machines/m1/maintain", `{"reason":""}`, cannot, "reason"},
		{"POST /v1/machines/m2/maintain", `{"reason":"fan"}`, http.StatusConflict, "r0"},
		{"POST /v1/machines/m9/maintain", `{"reason":"fan"}`, none, `"m9"`},
		{"POST /v1/machines/m1/deploy", "", http.StatusBadRequest, "body"},
		{"POST /v1/machines/m1/deploy", "{", http.StatusBadRequest, ""},
		{"POST /v1/machines/m1/deploy", "{}", cannot, "image"},
		{"POST /v1/machines/m1/deploy", `{"image":"debian","disc":{}}`, cannot, "disc"},
		{"POST /v1/machines/m1/deploy", `{"image":"debian","hostname":"a b"}`, cannot, `"a b"`},
		{"POST /v1/machines/m1/deploy", `{"image":"debian","ssh_keys":["x"]}`, cannot, "ssh key 1"},
		{"POST /v1/machines/m1/deploy", `{"image":"debian","ssh_keys":"x"}`, cannot, "ssh_keys"},
		{"POST /v1/machines/m1/deploy", `{"image":"windows"}`, cannot, `"windows"`},
		{"POST /v1/machines/m9/deploy", `{"image":"debian"}`, none, `"m9"`},
		{"POST /v1/machines/m1/rescue", `{"ssh_keys":[]}`, cannot, "ssh_keys is empty"},
		{"POST /v1/machines/m1/rescue", fmt.Sprintf(`{"ssh_keys":[%q]}`, userKey()), cannot, "available cannot enter-rescue"},
		{"POST /v1/machines/m1/unrescue", "", cannot, "m1 is available"},
		{"POST /v1/machines/m1/restart", "", cannot, "m1 is available"},
		{"POST /v1/machines/m1/start", "", cannot, "m1 is available"},
		{"POST /v1/machines/m1/stop", "", cannot, "m1 is available"},
		{"POST /v1/machines/m1/release", "", cannot, "available cannot release"},
		{"POST /v1/machines/m1/restore", "", cannot, "available cannot restore"},
		{"POST /v1/machines/m2/release", "", http.StatusConflict, "r0"},
		{"POST /v1/machines/m9/inspect", "", none, `"m9"`},
		{"GET /v1/requests/r9", "", none, `"r9"`},
		{"GET /v1/requests?limit=0", "", cannot, "limit"},
		{"GET /v1/requests?limit=many", "", cannot, "limit"},
		{"POST /v1/requests/r9/cancel", "", none, `"r9"`},
		{"POST /v1/requests/r9/retry", "", none, `"r9"`},
		{"GET /v1/images/windows", "", none, `"windows"`},
		{"DELETE /v1/images/windows", "", none, `"windows"`},
		{"POST /v1/images/windows/verify", "", none, `"windows"`},
		{"POST /v1/images", `{"name":"a","version":"1"}`, cannot, "path is empty"},
		{"POST /v1/images", `{"name":"a","version":"1","path":"/x","arch":"mips"}`, cannot, "arch"},
		{"POST /v1/images", `{"name":"debian","version":"12","path":"/x"}`, http.StatusConflict, "is there"},
		{"PUT /v1/images/BAD/1", "x", cannot, "cannot be used"},
		{"PUT /v1/images/debian/12", "x", http.StatusConflict, "is there"},
		{"GET /v1/pdus/p9/outlets", "", none, `"p9"`},
		{"POST /v1/pdus/p1/outlets/1/switch", "{}", cannot, "on"},
		{"POST /v1/pdus/p1/outlets/7/switch", `{"on":true}`, http.StatusBadGateway, "outlet 7 of pdu p1"},
		{"POST /v1/alerts/a9/resolve", "", none, `"a9"`},
		{"POST /v1/inventory", "machines: [{name: m6}]", cannot, "macs is empty"},
		{"POST /v1/inventory", "machine: []", cannot, `unknown field "machine"`},
		{"POST /v1/inventory", strings.Repeat("#", asset.MaxFile+1), http.StatusRequestEntityTooLarge, ""},
		{"POST /v1/inventory", "machines: [{name: m6, macs: ['52:54:00:00:00:01']}]", http.StatusConflict, "52:54:00:00:00:01"},
		{"POST /v1/inventory", "machines: [" + many(20) + "]", http.StatusConflict, "no address is free"},
		{"POST /v1/inventory", "machines: [{name: m5, macs: ['52:54:00:00:00:05'], address: 10.9.9.9}]", cannot, "10.9.9.9"},
		{"GET /v1/nothing", "", none, "GET /v1/nothing"},
		{"PATCH /v1/machines/m1", "{}", none, "PATCH /v1/machines/m1"},
		{"DELETE /v1/machines", "", none, "DELETE /v1/machines"},
	} {
		t.Run(c.call, func(t *testing.T) {
			method, path, _ := strings.Cut(c.call, " ")
			kind := "application/json"
			if path == "/v1/inventory" {
				kind = "application/yaml"
			}
			problem(t, b.call(method, path, c.body, "Content-Type", kind), c.status, c.want)
		})
	}
	for _, id := range []string{"m1", "m2"} {
		m, err := b.Assets.Machine(t.Context(), id)
		if err != nil || m.Lock != map[string]string{"m1": "", "m2": "r0"}[id] {
			t.Errorf("%s has lock %q, %v", id, m.Lock, err)
		}
	}
}

// many is the YAML of n machines.
func many(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("{name: x%d, macs: ['52:54:00:00:01:%02x']}", i, i))
	}
	return strings.Join(list, ", ")
}

// TestDeployCancelRetry goes through the life of a request, with a machine that
// never answers.
func TestDeployCancelRetry(t *testing.T) {
	b := newBench(t)
	b.ready("m1")
	spec := fmt.Sprintf(`{"image":"debian","ssh_keys":[%q]}`, userKey())
	var first, again, m Request
	b.get("POST", "/v1/machines/m1/deploy", spec, &first, "Idempotency-Key", "k")
	b.get("POST", "/v1/machines/m1/deploy", spec, &again, "Idempotency-Key", "k")
	if first.ID == "" || again.ID != first.ID || first.Kind != change.Deploy || first.By != "unknown" {
		t.Fatalf("first %+v, again %+v", first.Request, again.Request)
	}
	problem(t, b.call("POST", "/v1/machines/m1/deploy", spec), http.StatusConflict, first.ID)
	problem(t, b.call("POST", "/v1/machines/m1/inspect", "", "Idempotency-Key", "k"), http.StatusConflict, "another request")
	problem(t, b.call("POST", "/v1/requests/"+first.ID+"/retry", ""), http.StatusConflict, "only one that failed")
	var shown Machine
	b.get("GET", "/v1/machines/m1", "", &shown)
	if shown.Request == nil || shown.Request.ID != first.ID {
		t.Errorf("the machine shows %+v", shown.Request)
	}
	b.get("POST", "/v1/requests/"+first.ID+"/cancel", "", &m)
	end := b.await(first.ID)
	if end.Status != change.Cancelled {
		t.Errorf("ended as %s, %v", end.Status, end.Error)
	}
	problem(t, b.call("POST", "/v1/requests/"+first.ID+"/cancel", ""), http.StatusUnprocessableEntity, "cancelled already")
	var retried, twice Request
	b.get("POST", "/v1/requests/"+first.ID+"/retry", "", &retried)
	b.get("POST", "/v1/requests/"+first.ID+"/retry", "", &twice)
	if retried.ID == first.ID || twice.ID != retried.ID || string(retried.Spec) != string(first.Spec) {
		t.Errorf("retried as %+v, then %+v", retried.Request, twice.Request)
	}
	var list []Request
	b.get("GET", "/v1/requests?machine=m1", "", &list)
	if len(list) != 2 || list[0].ID != retried.ID {
		t.Errorf("requests: %+v", list)
	}
}

// await waits until a request has ended.
func (b *bench) await(id string) change.Request {
	b.t.Helper()
	changed, stop := b.Book.Watch()
	defer stop()
	for {
		r, err := b.Book.Get(b.t.Context(), id)
		if err != nil {
			b.t.Fatal(err)
		}
		if r.Status.Ended() {
			return r
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			b.t.Fatalf("request %s is still %s", id, r.Status)
		}
	}
}

// TestSwitchOutlet: nobody cuts a machine's power by mistake.
func TestSwitchOutlet(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *asset.Machine)
		want   string // of the refusal; "" is allowed
	}{
		"available":    {func(m *asset.Machine) { m.Status.State = machine.Available }, ""},
		"broken":       {func(m *asset.Machine) { m.Status.State = machine.Broken }, ""},
		"active":       {func(m *asset.Machine) { m.Status.State = machine.Active }, "m1, which is active"},
		"in rescue":    {func(m *asset.Machine) { m.Status.State = machine.Rescue }, "m1, which is rescue"},
		"with request": {func(m *asset.Machine) { m.Lock = "r7" }, "request r7"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.set("m1", c.change)
			w := b.call("POST", "/v1/pdus/p1/outlets/1/switch", `{"on":false}`)
			if c.want != "" {
				problem(t, w, http.StatusConflict, c.want)
				if b.rack.state["1"] != "on" {
					t.Error("it was switched all the same")
				}
				w = b.call("POST", "/v1/pdus/p1/outlets/1/switch", `{"on":false,"force":true}`)
			}
			if w.Code != http.StatusOK || b.rack.state["1"] != "off" {
				t.Errorf("answered %d %s, outlet is %s", w.Code, w.Body, b.rack.state["1"])
			}
		})
	}
}

func TestUpload(t *testing.T) {
	b := newBench(t)
	var img Image
	b.get("PUT", "/v1/images/mini/1", "the image", &img, "Gantry-Image", `{"os":"linux","path":"/etc/shadow"}`)
	if img.Name != "mini" || img.Version != "1" || img.OS != "linux" || b.rack.uploaded != "the image" {
		t.Errorf("%+v, %q", img, b.rack.uploaded)
	}
	for _, header := range []string{"x", `{"oss":"linux"}`, `["os"]`, `{"min_disk":"much"}`} {
		problem(t, b.call("PUT", "/v1/images/mini/2", "other", "Gantry-Image", header), http.StatusUnprocessableEntity, "header Gantry-Image")
	}
	if b.rack.uploaded != "the image" {
		t.Error("an upload with a bad header was read")
	}
}

// TestTransfers: how far an import is can be asked while it goes on.
func TestTransfers(t *testing.T) {
	b := newBench(t)
	r, w := io.Pipe()
	done := make(chan int)
	go func() {
		req := httptest.NewRequestWithContext(t.Context(), "PUT", "/v1/images/mini/1", r)
		req.Host = "gantry"
		answer := httptest.NewRecorder()
		b.handler.ServeHTTP(answer, req)
		done <- answer.Code
	}()
	if _, err := w.Write([]byte("the image")); err != nil { // it is being read
		t.Fatal(err)
	}
	var list []Transfer
	b.get("GET", "/v1/transfers", "", &list)
	if len(list) != 1 || list[0].Image != "mini:1" || list[0].Doing != "import" || list[0].Done != 3 || list[0].Total != 10 || list[0].Began.IsZero() {
		t.Errorf("transfers: %+v", list)
	}
	w.Close()
	if code := <-done; code != http.StatusCreated {
		t.Errorf("answered %d", code)
	}
	b.get("GET", "/v1/transfers", "", &list)
	if len(list) != 0 {
		t.Errorf("after its end: %+v", list)
	}
}

// TestImportPath: nobody but root on the appliance has it read its files; others
// upload, or name a URL.
func TestImportPath(t *testing.T) {
	b := newBench(t)
	b.stranger = true
	for _, path := range []string{"/etc/shadow", "etc/shadow", "/dev/sda", "http:/x", "x://../etc/shadow", "file:///etc/shadow"} {
		problem(t, b.call("POST", "/v1/images", `{"name":"a","version":"1","path":"`+path+`"}`), http.StatusForbidden, "upload")
	}
	b.get("POST", "/v1/images", `{"name":"a","version":"1","path":"https://example.com/a"}`, nil)
	b.get("PUT", "/v1/images/a/1", "the image", nil)
	b.stranger = false
	b.get("POST", "/v1/images", `{"name":"a","version":"1","path":"/srv/a"}`, nil)
}

// TestDeleteImage: an image that a machine runs, or is being given, stays.
func TestDeleteImage(t *testing.T) {
	b := newBench(t)
	b.ready("m1")
	b.set("m2", func(m *asset.Machine) { m.Server = &asset.Server{Digest: "d1"}; m.Status.State = machine.Active })
	problem(t, b.call("DELETE", "/v1/images/debian", ""), http.StatusConflict, "machine m2")
	b.set("m2", func(m *asset.Machine) { m.Server = nil })
	var r Request
	b.get("POST", "/v1/machines/m1/deploy", `{"image":"debian"}`, &r)
	problem(t, b.call("DELETE", "/v1/images/debian:12", ""), http.StatusConflict, r.ID)
	b.get("POST", "/v1/requests/"+r.ID+"/cancel", "", nil)
	b.await(r.ID)
	b.get("DELETE", "/v1/images/debian", "", nil)
	if !slices.Equal(b.rack.deleted, []string{"debian:12"}) {
		t.Errorf("deleted %v", b.rack.deleted)
	}
}

// TestAccept: a machine that was never inspected is inspected when it is
// accepted; the rest of the inventory's routes answer what they should.
func TestAccept(t *testing.T) {
	b := newBench(t)
	var done asset.Imported
	b.get("POST", "/v1/inventory", "machines: [{name: m3, macs: ['52:54:00:00:00:03']}]", &done, "Content-Type", "application/yaml")
	if !slices.Equal(done.Added, []string{"m3"}) {
		t.Errorf("imported %+v", done)
	}
	var m Machine
	b.get("POST", "/v1/machines/m3/accept", `{"owner":"acme"}`, &m)
	if m.Owner != "acme" || m.Status.State != machine.Inspecting || m.Request == nil || m.Request.Kind != change.Inspect {
		t.Errorf("accepted: %+v, %+v", m.Machine, m.Request)
	}
	b.ready("m2")
	b.get("POST", "/v1/machines/m2/maintain", `{"reason":"fan"}`, &m)
	if m.Status.State != machine.Maintenance || m.Status.Reason != "fan" {
		t.Errorf("maintained: %+v", m.Status)
	}
	var list []Machine
	b.get("GET", "/v1/machines?state=maintenance", "", &list)
	if len(list) != 1 || list[0].ID != "m2" {
		t.Errorf("in maintenance: %+v", list)
	}
	b.get("DELETE", "/v1/machines/m2", "", nil)
	var st Status
	b.get("GET", "/v1/status", "", &st)
	if st.Pod != "pod1" || st.Version != "1.2.3" || st.Machines[machine.Inspecting] != 1 || st.Requests != 1 {
		t.Errorf("status: %+v", st)
	}
	if err := b.Alerts.Raise(t.Context(), alert.Alert{Code: "c", Subject: "machine/m1"}); err != nil {
		t.Fatal(err)
	}
	var alerts []alert.Alert
	b.get("GET", "/v1/alerts", "", &alerts)
	if len(alerts) != 1 {
		t.Fatalf("alerts: %+v", alerts)
	}
	b.get("POST", "/v1/alerts/"+alerts[0].ID+"/resolve", "", nil)
	b.get("GET", "/v1/alerts", "", &alerts)
	if len(alerts) != 0 {
		t.Errorf("after it was resolved: %+v", alerts)
	}
}

// TestRetrySecrets: a deployment that was cancelled is given again with the
// secrets that nobody is shown, until they are gone.
func TestRetrySecrets(t *testing.T) {
	b := newBench(t)
	b.ready("m1")
	spec := `{"image":"debian","user_data":"token: s3cret","users":[{"name":"a","password_hash":"$6$s3cret"}]}`
	var first, again Request
	b.get("POST", "/v1/machines/m1/deploy", spec, &first)
	b.get("POST", "/v1/requests/"+first.ID+"/cancel", "", nil)
	b.await(first.ID)
	w := b.call("GET", "/v1/requests/"+first.ID, "")
	if strings.Contains(w.Body.String(), "s3cret") || strings.Contains(w.Body.String(), "sealed") || !strings.Contains(w.Body.String(), "(hidden, 13 bytes)") {
		t.Errorf("shown: %s", w.Body)
	}
	b.get("POST", "/v1/requests/"+first.ID+"/retry", "", &again)
	stored, err := b.Book.Get(t.Context(), again.ID)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := b.Book.Spec(&stored); err != nil || strings.Count(string(kept), "s3cret") != 2 {
		t.Errorf("given again as %s, %v", kept, err)
	}
	b.get("POST", "/v1/requests/"+again.ID+"/cancel", "", nil)
	b.await(again.ID)
	if err := b.Book.Prune(t.Context(), time.Now().Add(time.Hour), time.Time{}); err != nil {
		t.Fatal(err)
	}
	problem(t, b.call("POST", "/v1/requests/"+again.ID+"/retry", ""), http.StatusUnprocessableEntity, "no longer kept")
}

// TestNoSecrets walks every route that can be read, those of the document and
// those beside it, and the log: a PDU's community is nowhere.
func TestNoSecrets(t *testing.T) {
	b := newBench(t)
	b.ready("m1")
	var r Request
	b.get("POST", "/v1/machines/m1/deploy", `{"image":"debian"}`, &r)
	b.call("POST", "/v1/inventory", strings.Replace(podFile, "driver", "drivr", 1), "Content-Type", "application/yaml")
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	b.get("GET", "/openapi.json", "", &doc)
	paths := []string{"/openapi.json", "/openapi.yaml", "/v1/machines/m1/log", "/", "/healthz", "/readyz", "/v1/alerts?all=true"}
	fill := strings.NewReplacer("{ref}", "debian", "{outlet}", "1")
	ids := map[string]string{"/v1/machines": "m1", "/v1/requests": r.ID, "/v1/pdus": "p1"}
	for path, ops := range doc.Paths {
		if _, ok := ops["get"]; !ok || path == "/v1/events" {
			continue
		}
		path = fill.Replace(path)
		for prefix, id := range ids {
			if strings.HasPrefix(path, prefix) {
				path = strings.ReplaceAll(path, "{id}", id)
			}
		}
		paths = append(paths, path)
	}
	if len(paths) < 15 {
		t.Errorf("only %d routes were found: %v", len(paths), paths)
	}
	for _, path := range paths {
		w := b.call("GET", path, "")
		if w.Code/100 != 2 {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "s3cret") || strings.Contains(w.Body.String(), "community") {
			t.Errorf("GET %s shows a secret", path)
		}
	}
	for _, kind := range []string{machineEvent, requestEvent, alertEvent} {
		events, err := b.snapshot(t.Context(), kind, "")
		if shown, jsonErr := json.Marshal(fmt.Sprintf("%+v", events)); err != nil || jsonErr != nil || strings.Contains(string(shown), "s3cret") {
			t.Errorf("an event shows a secret: %v, %v", err, jsonErr)
		}
	}
	for ; len(r.Steps) == 0 || r.Steps[0].Attempt == 0; runtime.Gosched() {
		b.get("GET", "/v1/requests/"+r.ID, "", &r)
	}
	b.Runner.Close() // so that it has logged that the step began
	if strings.Contains(b.logged.String(), "s3cret") || !strings.Contains(b.logged.String(), r.ID) {
		t.Error("the log shows a secret, or nothing at all")
	}
	if p, err := b.Assets.PDU(t.Context(), "p1"); err != nil || !strings.Contains(string(p.Config), "s3cret") {
		t.Errorf("there was no secret to find: %v", err)
	}
}
