package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/change"
)

// How long follow asks an appliance that does not answer, and how often.
const (
	awayPatience = 5 * time.Minute
	askAgain     = time.Second
)

// follow shows a request until it ends: each step and phase with its seconds,
// and on a terminal a live line with a progress bar. It is an error if the
// request fails. An appliance that is away, as one that restarts, is said once
// and waited for; the request survives that.
func (a *app) follow(ctx context.Context, c *client, r api.Request) error {
	v := &viewer{out: a.err, tty: isTerminal(a.err), shown: map[string]bool{}}
	v.show(r)
	heard, said := a.now(), false
	for last := r; ; {
		if last.Status.Ended() {
			v.clear()
			return a.verdict(last)
		}
		var err error
		silent := true // in this attempt
		last, err = c.stream(ctx, r, v.show, func() { heard, said, silent = a.now(), false, false })
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			v.clear()
			fmt.Fprintf(a.err, "stopped looking; the request goes on. See it with: gantry request show %s\n", r.ID)
			return ctx.Err()
		}
		if code := exitCode(ctx, err); code == exitRefused || code == exitNotFound {
			v.clear()
			return err // asking again changes nothing
		}
		if gone := a.now().Sub(heard); gone >= awayPatience {
			v.clear()
			return withCode(exitUnreachable, fmt.Errorf("nothing was heard of request %s for %v, it may go on: %w\nsee it later with: gantry request show -f %s",
				r.ID, gone.Round(time.Second), err, r.ID))
		}
		if silent && !said {
			said = true
			v.clear()
			fmt.Fprintf(a.err, "asking again for at most %v, the request goes on: %v\n", awayPatience, err)
		}
		a.pause(ctx, askAgain)
	}
}

// verdict prints the request for programs and turns its failure into an error.
func (a *app) verdict(r api.Request) error {
	if a.output != "table" {
		if err := a.print(r, nil); err != nil {
			return err
		}
	}
	switch {
	case r.Status == change.Done:
		fmt.Fprintf(a.err, "%s of machine %s: done in %.1f s\n", r.Kind, r.Machine, r.Ended.Sub(r.Created).Seconds())
		return nil
	case r.Error == nil:
		return fmt.Errorf("%s of machine %s is %s", r.Kind, r.Machine, r.Status)
	case r.Error.Action != "":
		return fmt.Errorf("%s of machine %s %s: %s\nwhat to do: %s", r.Kind, r.Machine, r.Status, r.Error.Detail, r.Error.Action)
	}
	return fmt.Errorf("%s of machine %s %s: %s", r.Kind, r.Machine, r.Status, r.Error.Detail)
}

// stream reads events until the request has ended, and returns it then. It calls
// alive for whatever the appliance says, which is something every 15 seconds.
func (c *client) stream(ctx context.Context, r api.Request, show func(api.Request), alive func()) (last api.Request, err error) {
	resp, err := c.open(ctx, http.MethodGet, "/v1/events?machine="+url.QueryEscape(r.Machine), nil)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	kind := ""
	for lines.Scan() {
		alive()
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			kind = value
		case "data":
			if kind != "request" {
				continue
			}
			var q api.Request
			if err := json.Unmarshal([]byte(value), &q); err != nil {
				return r, fmt.Errorf("event: %w", err)
			}
			if q.ID != r.ID {
				continue
			}
			show(q)
			if q.Status.Ended() {
				return q, nil
			}
		}
	}
	return r, errors.Join(errors.New("the event stream ended"), lines.Err())
}

// viewer draws a request's progress.
type viewer struct {
	out   io.Writer
	tty   bool
	shown map[string]bool
	live  bool // a live line stands
	said  string

	// What the last plain line was about, for the next one's turn.
	saidOf    string
	saidShare float64
	saidAt    time.Time
}

func (v *viewer) show(r api.Request) {
	for _, s := range r.Steps {
		v.step(r, s)
	}
	p := r.Progress
	if p == nil || r.Status.Ended() {
		return
	}
	if v.tty {
		fmt.Fprintf(v.out, "\r\x1b[K%s", liveLine(p))
		v.live = true
		return
	}
	if line, due := v.plainLine(p); due {
		fmt.Fprintf(v.out, "%8.1f s  %s: %s\n", p.At.Sub(r.Created).Seconds(), r.Machine, line)
	}
}

// A log gets a line of progress when there is so much more of it, or so much
// later.
const (
	plainShare    = 0.1
	plainInterval = 10 * time.Second
)

// plainLine is a line of progress for a log, and whether it is due.
func (v *viewer) plainLine(p *change.Progress) (line string, due bool) {
	if p.Total <= 0 {
		if p.Message == "" || p.Message == v.said || strings.HasPrefix(p.Message, "not yet") {
			return "", false
		}
		v.said = p.Message
		return p.Message, true
	}
	of, done := p.Step+"/"+p.Phase, share(p)
	if of == v.saidOf && done < v.saidShare+plainShare && p.At.Sub(v.saidAt) < plainInterval {
		return "", false
	}
	v.saidOf, v.saidShare, v.saidAt = of, done, p.At
	return progressName(p) + progressNumbers(p), true
}

// step prints what of a step has ended since it was last shown.
func (v *viewer) step(r api.Request, s change.Step) {
	for i, p := range s.Phases {
		if !p.Ended.IsZero() {
			v.line(fmt.Sprintf("%s/%v/%d/%d", s.Name, s.Undo, s.Attempt, i), r, p.Ended,
				fmt.Sprintf("%s: %s", s.Name, p.Name), p.Ended.Sub(p.Began), "")
		}
	}
	if s.Status != change.Done && s.Status != change.Failed {
		return
	}
	note := ""
	if s.Error != nil {
		note = "FAILED: " + s.Error.Detail
	}
	v.line(fmt.Sprintf("%s/%v/%d", s.Name, s.Undo, s.Attempt), r, s.Ended, s.Name, s.Ended.Sub(s.Began), note)
}

func (v *viewer) line(key string, r api.Request, at time.Time, what string, took time.Duration, note string) {
	if v.shown[key] {
		return
	}
	v.shown[key] = true
	v.clear()
	fmt.Fprintf(v.out, "%8.1f s  %s: %-28s %7.1f s  %s\n", at.Sub(r.Created).Seconds(), r.Machine, what, took.Seconds(), note)
}

func (v *viewer) clear() {
	if v.live {
		fmt.Fprint(v.out, "\r\x1b[K")
		v.live = false
	}
}

// liveLine is where a step stands at this moment, in one line.
func liveLine(p *change.Progress) string {
	if p.Total <= 0 {
		return fmt.Sprintf("  %s  %s", progressName(p), p.Message)
	}
	const width = 30
	done := int(share(p) * width)
	return fmt.Sprintf("  %-18s [%s%s]%s", progressName(p), strings.Repeat("█", done), strings.Repeat("·", width-done), progressNumbers(p))
}

func progressName(p *change.Progress) string {
	if p.Phase != "" && p.Phase != p.Step {
		return p.Step + ": " + p.Phase
	}
	return p.Step
}

// share is how much of it is done, 0 to 1, whatever a machine reports.
func share(p *change.Progress) float64 {
	return min(max(float64(p.Done)/float64(p.Total), 0), 1)
}

func progressNumbers(p *change.Progress) string {
	line := fmt.Sprintf(" %3.0f %%  %s of %s", math.Floor(share(p)*100), size(p.Done), size(p.Total))
	if p.Rate > 0 {
		line += fmt.Sprintf("  %s/s  %.0f s left", size(p.Rate), p.Remaining)
	}
	return line
}

// size writes a number of bytes for people.
func size(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
