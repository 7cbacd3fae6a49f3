package main

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestShrink holds that of many events just those are left that it takes to
// fail, in their order, and that it does not try for ever.
func TestShrink(t *testing.T) {
	tests := map[string][]string{
		"one": {"e17"}, "two far apart": {"e3", "e90"}, "in order": {"e40", "e41", "e42"}, "first and last": {"e0", "e99"},
	}
	for name, need := range tests {
		t.Run(name, func(t *testing.T) {
			tries := 0
			small := shrink(t.Context(), time.Now().Add(time.Hour), hundred(), func(list []event) bool {
				tries++
				return holds(list, need)
			})
			var got []string
			for _, e := range small {
				got = append(got, e.What)
			}
			if !slices.Equal(got, need) {
				t.Errorf("left are %v, want %v", got, need)
			}
			if tries > 600 {
				t.Errorf("it took %d tries", tries)
			}
		})
	}
	late := shrink(t.Context(), time.Now(), hundred(), func([]event) bool { t.Error("tried after its time"); return false })
	if len(late) != 100 {
		t.Errorf("without time %d are left", len(late))
	}
}

func hundred() (all []event) {
	for i := range 100 {
		all = append(all, event{What: fmt.Sprintf("e%d", i)})
	}
	return all
}

// holds says whether all of need happen, in that order.
func holds(list []event, need []string) bool {
	for _, e := range list {
		if len(need) > 0 && e.What == need[0] {
			need = need[1:]
		}
	}
	return len(need) == 0
}
