//go:build qemu

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain has the test's binary be a machine when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], machineFlag) {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestShortSoak is a small soak with the real appliance: that of `make soak`
// has more of everything.
func TestShortSoak(t *testing.T) {
	build, err := filepath.Abs("../../build")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(build, "bin", "gantry-appliance")); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	c := config{seed: 1, seeds: 1, machines: 5, events: 60, build: build, dir: t.TempDir()}
	if err := soak(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}
