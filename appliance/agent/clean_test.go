package agent

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-pod/gantry/netboot/job"
)

// cleaned is what becomes of a report on its way in.
func cleaned(t *testing.T, r job.Report) job.Report {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var raw any
	if err := d.Decode(&raw); err != nil {
		t.Fatal(err)
	}
	got, err := cleanReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestProgressIsClamped: numbers that no machine means do not reach who draws
// them.
func TestProgressIsClamped(t *testing.T) {
	for name, c := range map[string]struct{ in, want job.Report }{
		"as it should be":    {job.Report{Done: 5, Total: 10, Rate: 3, Remaining: 1}, job.Report{Done: 5, Total: 10, Rate: 3, Remaining: 1}},
		"without a total":    {job.Report{Done: 5}, job.Report{Done: 5}},
		"negative":           {job.Report{Done: -1, Total: -1, Rate: -1, Remaining: -1, Elapsed: -1}, job.Report{}},
		"more done than all": {job.Report{Done: 11, Total: 10}, job.Report{Done: 10, Total: 10}},
		"enormous":           {job.Report{Done: math.MaxInt64, Total: math.MaxInt64, Rate: math.MaxInt64}, job.Report{Done: 1 << 50, Total: 1 << 50, Rate: 1 << 50}},
		"enormous, no total": {job.Report{Done: math.MaxInt64}, job.Report{Done: 1 << 50}},
		"a result too early": {job.Report{Result: &job.Result{}}, job.Report{}},
	} {
		if d := cmp.Diff(c.want, cleaned(t, c.in)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestResultIsBounded: a result that names more than any machine has makes its
// job fail, and texts of an inventory are cut: it is read with all others.
func TestResultIsBounded(t *testing.T) {
	inventory := func(i job.Inventory) job.Result { return job.Result{Inventory: &i} }
	for name, r := range map[string]job.Result{
		"disks":        inventory(job.Inventory{Disks: make([]job.Disk, maxDisks+1)}),
		"NICs":         inventory(job.Inventory{NICs: make([]job.Link, maxNICs+1)}),
		"neighbours":   inventory(job.Inventory{NICs: []job.Link{{}, {Neighbours: make([]job.Neighbour, maxNeighbours+1)}}}),
		"erased disks": {Wiped: make([]job.WipedDisk, maxDisks+1)},
		"host keys":    {Deploy: &job.Deployed{HostKeys: make([]string, maxHostKeys+1)}},
	} {
		got := cleaned(t, job.Report{State: job.Done, Final: true, Result: &r})
		if got.State != job.Failed || got.Result != nil || got.Problem == nil || got.Problem.Retry || !strings.Contains(got.Problem.Detail, name) {
			t.Errorf("too many %s: %+v, %+v", name, got, got.Problem)
		}
	}
	whole := inventory(job.Inventory{System: job.System{Serial: strings.Repeat("x", 1000)}, Memory: 1 << 40,
		Disks: make([]job.Disk, maxDisks), NICs: make([]job.Link, maxNICs)})
	got := cleaned(t, job.Report{State: job.Done, Final: true, Result: &whole})
	if got.State != job.Done || got.Result == nil {
		t.Fatalf("a large machine's report: %+v", got)
	}
	inv := got.Result.Inventory
	if len(inv.Disks) != maxDisks || len(inv.NICs) != maxNICs || inv.Memory != 1<<40 || inv.System.Serial != strings.Repeat("x", maxText)+"…" {
		t.Errorf("%d disks, %d NICs, memory %d, serial of %d bytes", len(inv.Disks), len(inv.NICs), inv.Memory, len(inv.System.Serial))
	}
}
