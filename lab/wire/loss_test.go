package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLoss(t *testing.T) {
	const text = `{"nftables": [{"metainfo": {"version": "1.0.6"}},
		{"counter": {"family": "netdev", "name": "ingress", "table": "loss-t1n0", "handle": 1, "packets": 7, "bytes": 70}},
		{"counter": {"family": "netdev", "name": "egress", "table": "loss-t1n0", "handle": 2, "packets": 9, "bytes": 90}},
		{"counter": {"family": "netdev", "name": "egress", "table": "loss-t2n0", "handle": 2, "packets": 11, "bytes": 90}}]}`
	for tap, want := range map[string]Loss{
		"t1n0": {FromMachine: 7, ToMachine: 9},
		"t2n0": {ToMachine: 11},
		"t3n0": {},
	} {
		got, err := parseLoss([]byte(text), tap)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tap, diff)
		}
	}
	if _, err := parseLoss([]byte("{"), "t1n0"); err == nil {
		t.Error("broken JSON was accepted")
	}
}
