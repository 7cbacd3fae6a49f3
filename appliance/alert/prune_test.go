package alert

import (
	"testing"
	"time"
)

// TestPrune: alerts that were resolved long ago go, open ones stay however old
// they are.
func TestPrune(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.open()
		for _, code := range []string{"old", "open", "new"} {
			b.raise(code, "s")
		}
		resolve := func(i int) {
			if _, err := b.Resolve(t.Context(), b.list(true)[i].ID, "me"); err != nil {
				t.Fatal(err)
			}
		}
		resolve(0)
		pass(time.Hour)
		resolve(2)
		if err := b.Prune(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		left := b.list(true)
		if len(left) != 2 || left[0].Code != "open" || left[1].Code != "new" {
			t.Errorf("left: %+v", left)
		}
	})
}
