package main

import (
	"testing"
	"time"

	"github.com/gantry-pod/gantry/lab/client"
)

// TestAlerted holds that only an alert of the trouble that broke a machine
// counts, not one that was open before.
func TestAlerted(t *testing.T) {
	since := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	m := client.Machine{ID: "m1"}
	m.Status.Since = since
	failed := []client.Request{{ID: "r2", Status: "failed"}}
	tests := map[string]struct {
		newest []client.Request
		alert  client.Alert
		want   bool
	}{
		"of the request":        {failed, client.Alert{Subject: "image/soak", Request: "r2", Last: since.Add(-time.Second)}, true},
		"of the request before": {failed, client.Alert{Subject: "machine/m1", Request: "r1", Last: since.Add(-time.Second)}, false},
		"counted again":         {failed, client.Alert{Subject: "machine/m1", Request: "r1", Last: since}, true},
		"of a request that is done": {[]client.Request{{ID: "r2", Status: "done"}},
			client.Alert{Subject: "image/soak", Request: "r2", Last: since.Add(-time.Second)}, false},
		"of another machine": {failed, client.Alert{Subject: "machine/m2", Last: since}, false},
		"without a request":  {nil, client.Alert{Subject: "machine/m1", Last: since}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := alerted(m, tt.newest, tt.alert); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
