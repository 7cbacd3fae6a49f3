// Mkinitrd builds the netboot system: vmlinuz and initrd.img. It compiles the
// agent, fetches Debian's kernel package through apt if it is not there, and
// prints what takes the space. Run it in the module's root:
//
//	go run ./netboot/build/mkinitrd -out build/netboot
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/gantry-pod/gantry/netboot/build"
)

func main() {
	c := build.Config{Tools: build.DefaultTools()}
	cache := flag.String("cache", "build/cache/kernel", "`folder` of the unpacked kernel package")
	flag.StringVar(&c.Out, "out", "build/netboot", "`folder` for vmlinuz and initrd.img")
	flag.StringVar(&c.Agent, "agent", "", "the agent's `binary`; empty compiles ./cmd/gantry-netboot")
	flag.StringVar(&c.Firmware, "firmware", "/lib/firmware", "`folder` of firmware that modules ask for")
	flag.Parse()
	if err := run(c, *cache); err != nil {
		fmt.Fprintln(os.Stderr, "mkinitrd:", err)
		os.Exit(1)
	}
}

func run(c build.Config, cache string) error {
	if err := command("netboot/build/fetch-kernel.sh", cache); err != nil {
		return fmt.Errorf("fetch the kernel package: %w", err)
	}
	c.Cache = filepath.Join(filepath.Dir(cache), "zstd")
	c.Kernel = filepath.Join(cache, "root")
	if c.Agent == "" {
		c.Agent = filepath.Join(filepath.Dir(cache), "gantry-netboot")
		if err := compile(c.Agent); err != nil {
			return fmt.Errorf("compile the agent: %w", err)
		}
	}
	c.Lacking = func(modules []string) {
		fmt.Fprintf(os.Stderr, "mkinitrd: %s has no firmware for: %s\n  machines with such devices need it: install Debian's firmware-* packages (non-free-firmware) and build again\n",
			c.Firmware, strings.Join(modules, " "))
	}
	sizes, err := build.Build(c)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "part\tfiles\traw KiB\tin file KiB\t")
	for _, s := range sizes {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t\n", s.What, s.Files, s.Raw>>10, s.Bytes>>10)
	}
	return w.Flush()
}

// compile builds the agent so that the same sources give the same bytes:
// static, without paths, symbols, build ID or version control stamps.
func compile(out string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, "./cmd/gantry-netboot")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=-mod=readonly")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

func command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}
