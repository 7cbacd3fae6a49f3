package agent

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Bounds of a report. What it finds is kept with the machine's record, which is
// read with all others at every change, and shown on terminals.
const (
	maxDisks      = 256
	maxNICs       = 256 // a card's virtual functions count
	maxNeighbours = 32  // of one NIC
	maxHostKeys   = 32
	maxPhases     = 256
	maxText       = 256     // bytes of a text in an inventory
	maxProgress   = 1 << 50 // of what is counted in bytes
)

// cleanReport makes a report of what a machine sent, with every text in it safe
// to show on a terminal: disks, neighbours and the agent may call themselves
// anything. Numbers are brought within their bounds; a result with more in it
// than any machine has makes the report one of failure.
func cleanReport(raw any) (r job.Report, err error) {
	if err := decode(cleanAll(raw, logLine), &r); err != nil {
		return r, err
	}
	r.Total = min(max(r.Total, 0), maxProgress)
	most := r.Total
	if most == 0 {
		most = maxProgress
	}
	r.Done, r.Rate = min(max(r.Done, 0), most), min(max(r.Rate, 0), maxProgress)
	r.Remaining, r.Elapsed = max(r.Remaining, 0), max(r.Elapsed, 0)
	switch {
	case r.Result == nil:
	case !r.Final:
		r.Result = nil
	default:
		err = cleanResult(&r)
	}
	return r, err
}

func cleanResult(r *job.Report) error {
	if why := excess(r.Result); why != "" {
		r.State, r.Result = job.Failed, nil
		r.Problem = &job.Problem{Code: "internal", Detail: "the agent's result cannot be true: it names " + why}
		return nil
	}
	inv := r.Result.Inventory
	if inv == nil {
		return nil
	}
	b, err := json.Marshal(inv)
	if err != nil {
		return err
	}
	var raw any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return err
	}
	r.Result.Inventory = new(job.Inventory)
	return decode(cleanAll(raw, maxText), r.Result.Inventory)
}

// excess says what a result has too much of, or "".
func excess(r *job.Result) string {
	type count struct {
		what   string
		n, max int
	}
	counts := []count{{"erased disks", len(r.Wiped), maxDisks}}
	if inv := r.Inventory; inv != nil {
		counts = append(counts, count{"disks", len(inv.Disks), maxDisks}, count{"NICs", len(inv.NICs), maxNICs})
		for i := range inv.NICs {
			counts = append(counts, count{"neighbours of one NIC", len(inv.NICs[i].Neighbours), maxNeighbours})
		}
	}
	if d := r.Deploy; d != nil {
		counts = append(counts, count{"host keys", len(d.HostKeys), maxHostKeys}, count{"phases", len(d.Phases), maxPhases})
	}
	if ready := r.Rescue; ready != nil {
		counts = append(counts, count{"host keys", len(ready.HostKeys), maxHostKeys})
	}
	for _, c := range counts {
		if c.n > c.max {
			return fmt.Sprintf("%d %s, at most %d are taken", c.n, c.what, c.max)
		}
	}
	return ""
}

// decode makes v of a JSON value; what does not fit is the machine's fault.
func decode(raw, v any) error {
	b, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	return badBody(json.Unmarshal(b, v))
}

// cleanAll cleans every text in a JSON value and cuts it to limit bytes.
func cleanAll(v any, limit int) any {
	switch v := v.(type) {
	case string:
		return clean(v, limit)
	case []any:
		for i := range v {
			v[i] = cleanAll(v[i], limit)
		}
	case map[string]any:
		for k := range v {
			v[k] = cleanAll(v[k], limit)
		}
	}
	return v
}
