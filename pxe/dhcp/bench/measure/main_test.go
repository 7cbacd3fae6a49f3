package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fake is a load of servers that do so many exchanges a second, by a generator
// that does so many.
func fake(generator int, most map[string]int) func(peer, int) (sample, error) {
	return func(p peer, rate int) (sample, error) {
		if most[p.name] == 0 {
			return sample{}, errors.New("server ended")
		}
		s := sample{PerSecond: float64(min(rate, most[p.name])), Completed: 1}
		if rate > most[p.name] {
			s.Lost = 0.5
		}
		if rate > generator {
			s.Behind = 0.1
		}
		return s, nil
	}
}

// TestMeasure: what fails does not lose what was measured, and a generator that
// cannot offer twice the highest rate offers what it can, and says so.
func TestMeasure(t *testing.T) {
	for name, c := range map[string]struct {
		generator int
		most      map[string]int
		only      string
		want      []string
		err       string
	}{
		"all well":           {1 << 30, map[string]int{"ours": 50000, "held": 45000, "kea": 5000}, "", []string{"dhcp-durable", "dhcp-cpu", "dhcp-overload", "dhcp-held"}, ""},
		"no Kea":             {1 << 30, map[string]int{"ours": 50000, "held": 45000}, "", []string{"dhcp-overload", "dhcp-held"}, "dhcp-durable, dhcp-cpu: server ended"},
		"a slow generator":   {80000, map[string]int{"ours": 50000, "held": 45000, "kea": 5000}, "", []string{"dhcp-durable", "dhcp-cpu", "dhcp-overload, 1.50 times", "dhcp-held, 1.50 times"}, ""},
		"slower than we are": {52000, map[string]int{"ours": 50000, "held": 45000, "kea": 5000}, "", []string{"dhcp-durable", "dhcp-cpu"}, "the generator kept up with"},
		"no million":         {1 << 30, map[string]int{"ours": 50000, "kea": 5000}, "", []string{"dhcp-durable", "dhcp-cpu", "dhcp-overload"}, "server ended"},
		"one figure":         {1 << 30, map[string]int{"ours": 50000}, "dhcp-overload", []string{"dhcp-overload"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			m := measurer{load: fake(c.generator, c.most), ours: peer{name: "ours"}, held: peer{name: "held"}, kea: peer{name: "kea"}, only: c.only,
				write: func(f figure) error {
					line := f.Name
					if f.Note != "" {
						line += ", " + strings.Join(strings.Fields(f.Note)[1:3], " ")
					}
					got = append(got, line)
					return nil
				}}
			err := m.all()
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("figures (-want +got):\n%s", d)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}
