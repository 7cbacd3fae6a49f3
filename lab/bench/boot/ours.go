package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/machine"
)

// up brings a lab with one machine up; closing it removes its files.
func (o options) up(ctx context.Context, name string, p pairing, appliance string) (*lab.Lab, func() error, error) {
	dir := filepath.Join(o.work, "lab-"+name)
	if err := os.RemoveAll(dir); err != nil {
		return nil, nil, err
	}
	if err := lab.MakeState(dir); err != nil {
		return nil, nil, err
	}
	l, err := lab.Up(ctx, lab.Config{Name: "b" + name, StateDir: dir, Machines: []machine.Spec{{Name: "m1", Firmware: p.firmware}},
		Appliance: appliance, Netboot: o.netboot})
	if err != nil {
		return nil, nil, err
	}
	return l, func() error {
		return errors.Join(l.Close(context.WithoutCancel(ctx)), lab.RemoveState(dir))
	}, nil
}

// oursWithin is far more than the slowest run takes.
const oursWithin = 15 * time.Minute

// runOurs images the machine once by the appliance.
func (o options) runOurs(ctx context.Context, p pairing) (t timing, err error) {
	ctx, cancel := context.WithTimeout(ctx, oursWithin)
	defer cancel()
	l, closeLab, err := o.up(ctx, "ours", p, filepath.Join(o.bin, "gantry-appliance"))
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, closeLab()) }()
	c := cli{binary: filepath.Join(o.bin, "gantry"), socket: l.ApplianceSocket()}
	if err := c.ready(ctx); err != nil {
		return t, err
	}
	key := filepath.Join(o.work, "key")
	if _, err := os.Stat(key); errors.Is(err, os.ErrNotExist) {
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
			return t, fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	for _, args := range [][]string{
		{"image", "import", o.images[p.image], "--name", p.image, "--version", "1"},
		{"machine", "accept", "m1"},
	} {
		if _, err := c.run(ctx, args...); err != nil {
			return t, err
		}
	}
	wire, err := watchWire(l)
	if err != nil {
		return t, err
	}
	defer wire.stop()
	if _, err := c.run(ctx, "machine", "deploy", "m1", "--image", p.image, "--ssh-key", key+".pub"); err != nil {
		return t, err
	}
	if t, err = c.timing(ctx, p); err != nil {
		return t, err
	}
	t.script, err = wire.scriptTime()
	return t, err
}

// cli is the command line, spoken to one appliance.
type cli struct{ binary, socket string }

// ready waits until the appliance answers.
func (c cli) ready(ctx context.Context) error {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the appliance does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c cli) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Env = append(os.Environ(), "GANTRY_SOCKET="+c.socket)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("gantry %v: %w\n%s%s", args, err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes(), nil
}

// span is a step or a phase of a change request.
type span struct {
	Name   string    `json:"name"`
	Began  time.Time `json:"began"`
	Ended  time.Time `json:"ended"`
	Phases []span    `json:"phases"`
}

// timing reads the deployment's times, and prints them. The outlet is on at the
// end of the boot's phase "power", which begins with reading the outlet.
func (c cli) timing(ctx context.Context, p pairing) (t timing, err error) {
	out, err := c.run(ctx, "request", "list", "-o", "json")
	if err != nil {
		return t, err
	}
	var all []struct {
		Kind  string `json:"kind"`
		Steps []span `json:"steps"`
	}
	if err := json.Unmarshal(out, &all); err != nil {
		return t, fmt.Errorf("the appliance's requests: %w", err)
	}
	for _, r := range all {
		if r.Kind != "deploy" {
			continue
		}
		began := r.Steps[0].Phases[0].Ended
		fmt.Printf("  ours, %s, %s:", p.firmware, p.image)
		for _, s := range r.Steps {
			for _, ph := range s.Phases {
				fmt.Printf(" %s %.2f s", ph.Name, ph.Ended.Sub(ph.Began).Seconds())
			}
			switch s.Name {
			case "image":
				t.imaged = s.Ended.Sub(began).Seconds()
			case "verify":
				t.ssh = s.Ended.Sub(began).Seconds()
				fmt.Printf(" restart to ssh %.2f s", s.Ended.Sub(s.Began).Seconds())
			}
		}
		fmt.Println()
		return t, nil
	}
	return t, errors.New("the appliance has no deployment")
}
