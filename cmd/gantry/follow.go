package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/change"
)

// follow shows a request until it ends: each step and phase with its seconds,
// and on a terminal a live line with a progress bar. It is an error if the
// request fails.
func (a *app) follow(ctx context.Context, c *client, r api.Request) error {
	v := &viewer{out: a.err, tty: isTerminal(a.err), shown: map[string]bool{}}
	for {
		last, err := c.stream(ctx, r, v.show)
		if err == nil {
			v.clear()
			return a.verdict(last)
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
		select { // the appliance may be restarting; the request survives that
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
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

// stream reads events until the request has ended, and returns it then.
func (c *client) stream(ctx context.Context, r api.Request, show func(api.Request)) (last api.Request, err error) {
	resp, err := c.open(ctx, http.MethodGet, "/v1/events?machine="+url.QueryEscape(r.Machine), nil)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	kind := ""
	for lines.Scan() {
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
	if p.Total == 0 && p.Message != "" && p.Message != v.said && !strings.HasPrefix(p.Message, "not yet") {
		v.said = p.Message
		fmt.Fprintf(v.out, "%8.1f s  %s: %s\n", p.At.Sub(r.Created).Seconds(), r.Machine, p.Message)
	}
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
	name := p.Step
	if p.Phase != "" && p.Phase != p.Step {
		name += ": " + p.Phase
	}
	if p.Total <= 0 {
		return fmt.Sprintf("  %s  %s", name, p.Message)
	}
	const width = 30
	done := int(min(p.Done, p.Total) * width / p.Total)
	line := fmt.Sprintf("  %-18s [%s%s] %3d %%  %s of %s", name, strings.Repeat("█", done), strings.Repeat("·", width-done),
		p.Done*100/p.Total, size(p.Done), size(p.Total))
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
