package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// report prints a failure and what is left of it when it is shrunk.
func report(ctx context.Context, c config, seed uint64, events []event, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err // the soak's own trouble
	}
	fmt.Println("what happened:")
	for _, line := range f.history {
		fmt.Println(" ", line)
	}
	fmt.Printf("again: go run ./lab/soak -seed %d -machines %d -events %d -dir DIR keeps logs and disks\n", seed, c.machines, c.events)
	if c.shrink > 0 {
		fmt.Printf("shrinking for at most %v\n", c.shrink)
		small := shrink(ctx, time.Now().Add(c.shrink), events, func(list []event) bool {
			_, err := play(ctx, c, seed, list)
			return errors.As(err, new(*failure))
		})
		fmt.Printf("%d of %d events are left that fail:\n", len(small), len(events))
		for _, e := range small {
			fmt.Println(" ", e)
		}
	}
	return errors.New("something did not hold")
}

// shrink makes a failing list of events smaller by delta debugging (Zeller and
// Hildebrandt, 2002): it leaves out ever smaller parts as long as what remains
// fails. What fails by chance is tried twice.
func shrink(ctx context.Context, until time.Time, events []event, fails func([]event) bool) []event {
	for parts := 2; len(events) > 1; {
		size := (len(events) + parts - 1) / parts
		smaller := false
		for from := 0; from < len(events) && time.Now().Before(until) && ctx.Err() == nil; from += size {
			rest := slices.Concat(events[:from], events[min(from+size, len(events)):])
			if len(rest) > 0 && failsInTwo(rest, fails) {
				events, parts, smaller = rest, max(parts-1, 2), true
				break
			}
		}
		if smaller {
			continue
		}
		if size == 1 || !time.Now().Before(until) || ctx.Err() != nil {
			break
		}
		parts = min(2*parts, len(events))
	}
	return events
}

// failsInTwo tries twice: some failures need luck.
func failsInTwo(events []event, fails func([]event) bool) bool {
	return slices.ContainsFunc([]int{1, 2}, func(int) bool { return fails(events) })
}
