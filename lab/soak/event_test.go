package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGenerate holds that a seed's events are always the same, that another's
// are others, and that what breaks for good is mended.
func TestGenerate(t *testing.T) {
	a := generate(7, 20, 2000)
	if diff := cmp.Diff(a, generate(7, 20, 2000)); diff != "" {
		t.Errorf("the same seed (-first +second):\n%s", diff)
	}
	if slices.Equal(a, generate(8, 20, 2000)) {
		t.Error("another seed has the same events")
	}
	seen := map[string]int{}
	for _, e := range a {
		seen[e.What]++
		if e.Machine < 0 || e.Machine > 20 {
			t.Errorf("%v: there are 20 machines", e)
		}
	}
	for _, c := range chances {
		if seen[c.what] == 0 {
			t.Errorf("no event of 2000 is %s", c.what)
		}
		if c.mend != "" && seen[c.mend] == 0 {
			t.Errorf("nothing mends %s", c.what)
		}
	}
}
