package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strings"
)

// lossScale is the resolution of a loss: one in so many frames.
const lossScale = 100_000

// Loss says what a lossy cable has done so far.
type Loss struct {
	// FromMachine and ToMachine count frames dropped in each direction.
	FromMachine, ToMachine int64
}

// SetLoss makes a tap's cable lose that fraction of the frames (0 to 1), chosen
// at random, in each direction; 0 mends it. Counters start at 0.
//
// It is done by nftables at the netdev ingress and egress hooks, not by tc's
// netem, which not every kernel has.
func (w *Wire) SetLoss(ctx context.Context, tap string, fraction float64) error {
	if math.IsNaN(fraction) || fraction < 0 || fraction > 1 {
		return fmt.Errorf("loss on %s: %v is not between 0 and 1", tap, fraction)
	}
	if _, err := w.nft(ctx, lossRules(tap, fraction), "--file", "-"); err != nil {
		return fmt.Errorf("loss on %s: %w", tap, err)
	}
	return nil
}

// lossRules is the nft(8) script for SetLoss: it replaces the tap's table.
func lossRules(tap string, fraction float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev loss-%s\ndelete table netdev loss-%s\n", tap, tap)
	below := int(math.Round(fraction * lossScale))
	if below == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "table netdev loss-%s {\n", tap)
	for _, hook := range []string{"ingress", "egress"} {
		fmt.Fprintf(&b, "\tcounter %s {}\n", hook)
	}
	for _, hook := range []string{"ingress", "egress"} {
		fmt.Fprintf(&b, "\tchain %[1]s-chain {\n\t\ttype filter hook %[1]s device %[2]q priority 0; policy accept;\n"+
			"\t\tnumgen random mod %[3]d <= %[4]d counter name %[1]s drop\n\t}\n", hook, tap, lossScale, below-1)
	}
	b.WriteString("}\n")
	return b.String()
}

// Loss reads what a cable with [Wire.SetLoss] has dropped; zeros if it is whole.
func (w *Wire) Loss(ctx context.Context, tap string) (Loss, error) {
	out, err := w.nft(ctx, "", "--json", "list", "counters", "netdev")
	if err != nil {
		return Loss{}, fmt.Errorf("loss on %s: %w", tap, err)
	}
	return parseLoss(out, tap)
}

// parseLoss finds a tap's counters in nft's JSON (libnftables-json(5)).
func parseLoss(text []byte, tap string) (Loss, error) {
	var list struct {
		Nftables []struct {
			Counter *struct {
				Table, Name string
				Packets     int64
			}
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return Loss{}, fmt.Errorf("nft's counters: %w", err)
	}
	var loss Loss
	for _, entry := range list.Nftables {
		switch c := entry.Counter; {
		case c == nil || c.Table != "loss-"+tap:
		case c.Name == "ingress":
			loss.FromMachine = c.Packets
		case c.Name == "egress":
			loss.ToMachine = c.Packets
		}
	}
	return loss, nil
}

// nft runs nft(8) in the L2 namespace.
func (w *Wire) nft(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "nft", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := w.L2.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w: install Debian's package nftables", err)
	}
	if err != nil {
		return nil, fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
