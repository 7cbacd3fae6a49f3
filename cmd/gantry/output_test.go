package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/gantry-pod/gantry/lab"
)

// someAppliance answers what the tests here ask for.
func someAppliance() http.Handler {
	mux := http.NewServeMux()
	nothing := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	mux.HandleFunc("GET /v1/machines", answer([]map[string]any{{"id": "m1", "status": map[string]string{"state": "active"}}, {"id": "m2"}}))
	mux.HandleFunc("GET /v1/images", answer([]map[string]any{{"name": "debian-12", "version": "1"}}))
	mux.HandleFunc("GET /v1/pdus", answer([]map[string]any{{"id": "pdu1"}}))
	mux.HandleFunc("GET /v1/pdus/pdu1/outlets", answer([]map[string]any{{"id": "3", "state": "on"}}))
	mux.HandleFunc("GET /v1/requests", answer([]map[string]any{{"id": "r1", "kind": "deploy", "machine": "m1", "status": "done"}}))
	mux.HandleFunc("GET /v1/alerts", answer([]map[string]any{{"id": "a1"}}))
	mux.HandleFunc("GET /v1/machines/m1/log", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("2026-11-21T12:00:00.000Z hello \"you\"\n2026-11-21T12:00:01.000Z \n"))
	})
	mux.HandleFunc("DELETE /v1/machines/m1", nothing)
	mux.HandleFunc("DELETE /v1/images/mini", nothing)
	mux.HandleFunc("POST /v1/alerts/a1/resolve", nothing)
	return mux
}

// TestOutputForPrograms: what changes something says so, and -o json and yaml
// hold for every command.
func TestOutputForPrograms(t *testing.T) {
	appliance(t, someAppliance())
	for command, want := range map[string]struct{ table, json string }{
		"machine delete m1": {"machine m1: deleted\n", `{"done":"deleted","kind":"machine","target":"m1"}`},
		"image delete mini": {"image mini: deleted\n", `{"done":"deleted","kind":"image","target":"mini"}`},
		"alert resolve a1":  {"alert a1: resolved\n", `{"done":"resolved","kind":"alert","target":"a1"}`},
		"machine logs m1":   {"2026-11-21T12:00:00.000Z hello \"you\"\n2026-11-21T12:00:01.000Z \n", `{"time":"2026-11-21T12:00:00.000Z","text":"hello \"you\""}{"time":"2026-11-21T12:00:01.000Z","text":""}`},
	} {
		args := strings.Fields(command)
		if code, stdout, stderr := gantry(t, args...); code != exitOK || stdout != want.table {
			t.Errorf("%s: exit code %d, %q, %q", command, code, stdout, stderr)
		}
		_, stdout, _ := gantry(t, append(args, "-o", "json")...)
		got := ""
		for d := json.NewDecoder(strings.NewReader(stdout)); d.More(); {
			var v json.RawMessage
			if err := d.Decode(&v); err != nil {
				t.Fatalf("%s: %q: %v", command, stdout, err)
			}
			for _, line := range strings.Split(string(v), "\n") {
				got += strings.ReplaceAll(strings.TrimSpace(line), `": "`, `":"`)
			}
		}
		if got != want.json {
			t.Errorf("%s: %s, want %s", command, got, want.json)
		}
		var v any
		if _, stdout, _ := gantry(t, append(args, "-o", "yaml")...); yaml.Unmarshal([]byte(stdout), &v) != nil || v == nil {
			t.Errorf("%s: not YAML: %q", command, stdout)
		}
	}
	var out strings.Builder
	a := &app{out: &out, output: "json"}
	if err := a.print([]lab.Fault(nil), nil); err != nil || out.String() != "[]\n" {
		t.Errorf("an empty list is %q, %v", out.String(), err)
	}
}

// TestCompletion asks as a shell does.
func TestCompletion(t *testing.T) {
	appliance(t, someAppliance())
	for command, want := range map[string][]string{
		"machine show ":              {"m1\tactive", "m2"},
		"machine console ":           {"m1\tactive", "m2"},
		"machine release ":           {"m1\tactive", "m2"},
		"machine deploy ":            {"m1\tactive", "m2"},
		"machine deploy m1 --image ": {"debian-12:1"},
		"machine show m1 ":           nil,
		"image verify ":              {"debian-12:1"},
		"pdu on ":                    {"pdu1"},
		"pdu off pdu1 ":              {"3\ton"},
		"request show ":              {"r1\tdeploy of m1, done"},
		"request retry ":             {"r1\tdeploy of m1, done"},
		"request list --machine ":    {"m1\tactive", "m2"},
		"alert resolve ":             {"a1"},
		"status -o ":                 {"table", "json", "yaml"},
		"image import --firmware ":   {"bios", "uefi", "both"},
		"image import --format ":     {"disk", "rootfs"},
		"lab up --firmware ":         {"bios", "uefi", "mixed"},
		"machine list --state ac":    {"active"},
	} {
		args := strings.Split(command, " ")
		code, stdout, stderr := gantry(t, append([]string{"__complete"}, args...)...)
		var got []string
		for line := range strings.Lines(stdout) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, ":") {
				got = append(got, line)
			}
		}
		if strings.HasSuffix(command, "ac") { // the shell picks among what it is given
			got = slices.DeleteFunc(got, func(s string) bool { return !strings.HasPrefix(s, "ac") })
		}
		if code != exitOK || !slices.Equal(got, want) {
			t.Errorf("%s: exit code %d, %q, want %q\n%s", command, code, got, want, stderr)
		}
	}
}

// TestUploadProgress: a log gets a line every ten seconds, a terminal a live one.
func TestUploadProgress(t *testing.T) {
	for tty, want := range map[bool]string{
		false: "import  36 %  11 B of 30 B  1 B/s\nimport  70 %  21 B of 30 B  1 B/s\n",
		true:  "", // 29 live lines, and nothing at the end
	} {
		var errs strings.Builder
		now := t0
		a := &app{err: &errs, now: func() time.Time { return now }}
		m := &meteredReader{r: iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 30))), total: 30, meter: &meter{app: a, doing: "import", tty: tty, began: t0, last: t0}}
		for range 30 {
			if _, err := m.Read(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Second)
		}
		m.meter.clear()
		if got := errs.String(); !tty && got != want || tty && strings.Count(got, "\r\x1b[K") != 30 {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestTransferProgress: what the appliance reads by itself is shown as well.
func TestTransferProgress(t *testing.T) {
	looks := make(chan struct{})
	mux := http.NewServeMux()
	done := 0
	mux.HandleFunc("GET /v1/transfers", func(w http.ResponseWriter, r *http.Request) {
		done += 100
		answer([]map[string]any{{"image": "other:1", "doing": "verify", "done": 7}, {"image": "mini:1", "doing": "import", "done": 9},
			{"image": "mini:1", "doing": "verify", "done": done, "total": 1000}})(w, r)
		if done == 300 {
			close(looks)
		}
	})
	mux.HandleFunc("POST /v1/images/mini/verify", func(w http.ResponseWriter, r *http.Request) {
		<-looks
		answer(map[string]any{"name": "mini", "version": "1"})(w, r)
	})
	appliance(t, mux)
	var out, errs strings.Builder
	a := newApp(strings.NewReader(""), &out, &errs)
	now := t0
	a.now = func() time.Time { now = now.Add(6 * time.Second); return now }
	if code := run(t.Context(), a, []string{"image", "verify", "mini"}); code != exitOK || !strings.Contains(out.String(), "mini:1") {
		t.Fatalf("exit code %d, %q, %q", code, out.String(), errs.String())
	}
	if want := "verify  20 %  200 B of 1000 B  16 B/s\n"; !strings.HasPrefix(errs.String(), want) {
		t.Errorf("%q, want %q first", errs.String(), want)
	}
}
