package agent

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func newLogbook(t *testing.T) *Logbook {
	t.Helper()
	l, err := NewLogbook(filepath.Join(t.TempDir(), "logs"), func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 5e6, time.UTC) })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const stamp = "2026-11-21T12:00:00.005Z "

// TestLogLines: what a machine logs is stored so that showing it on a terminal
// does nothing but show it.
func TestLogLines(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":          {"writing image", "writing image"},
		"tab and text":   {"a\tb ü 漢", "a\tb ü 漢"},
		"escape":         {"\x1b[2Jgone", "·[2Jgone"},
		"8-bit escape":   {"\u009b2Jgone", "·2Jgone"},
		"carriage":       {"a\rb\r\n", "a·b"},
		"delete and nul": {"a\x7f\x00b", "a··b"},
		"not UTF-8":      {"a\xffb", "a\ufffdb"},
		"two lines":      {"a\nb", "a·b"},
		"long":           {strings.Repeat("x", 5000), strings.Repeat("x", logLine) + "…"},
		"long nonsense":  {strings.Repeat("\xff", 5000), strings.Repeat("\ufffd", logLine) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogbook(t)
			if err := l.Add(machine1, c.in, "next"); err != nil {
				t.Fatal(err)
			}
			got, err := l.Tail(machine1, 10)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{stamp + c.want, stamp + "next"}, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLogTail(t *testing.T) {
	l := newLogbook(t)
	if got, err := l.Tail(machine1, 10); len(got) != 0 || err != nil {
		t.Errorf("a machine that never spoke: %v, %v", got, err)
	}
	for i := range 25 {
		if err := l.Add(machine1, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{0, 1, 7, 12, 25, 100} {
		got, err := l.Tail(machine1, n)
		if err != nil || len(got) != min(n, 25) {
			t.Fatalf("tail %d: %d lines, %v", n, len(got), err)
		}
		for i, line := range got {
			if want := fmt.Sprint(stamp, 25-len(got)+i); line != want {
				t.Fatalf("tail %d, line %d: %q, want %q", n, i, line, want)
			}
		}
	}
}

// TestLogIsBounded writes more than a log may hold: two files' worth remain.
func TestLogIsBounded(t *testing.T) {
	l := newLogbook(t)
	lines := make([]string, 256)
	for i := range lines {
		lines[i] = strings.Repeat("x", 4000)
	}
	for range 3 * logSize / (256 * 4000) {
		if err := l.Add(machine1, lines...); err != nil {
			t.Fatal(err)
		}
	}
	var total int64
	files, err := os.ReadDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		st, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	if len(files) != 2 || total > 2*logSize+3<<20 {
		t.Errorf("%d files with %d bytes", len(files), total)
	}
}

// TestLogFollow: the last lines and those to come, none missing and none twice;
// a follower that does not read holds nobody up.
func TestLogFollow(t *testing.T) {
	l := newLogbook(t)
	if err := l.Add(machine1, "one", "two"); err != nil {
		t.Fatal(err)
	}
	last, more, stop, err := l.Follow(machine1, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, _, stopLazy, err := l.Follow(machine1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer stopLazy()
	if err := l.Add(machine1, "three"); err != nil {
		t.Fatal(err)
	}
	if err := l.Add("m2", "not mine"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{stamp + "two", stamp + "three"}, append(last, <-more)); d != "" {
		t.Error(d)
	}
	stop()
	for range 1000 {
		if err := l.Add(machine1, "flood"); err != nil {
			t.Fatal(err)
		}
	}
	if len(more) > 0 {
		t.Error("a follower that stopped was told of a line")
	}
}

// TestAgentLog posts log lines as an agent does.
func TestAgentLog(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		post := func(body string) int {
			return b.call(t.Context(), "POST", "/agent/v1/log", session, addr1, body).Code
		}
		if code := post("first\nsec\x1b]0;owned\x07ond\r\n\nlast without end"); code != http.StatusNoContent {
			t.Errorf("answered %d", code)
		}
		for _, body := range []string{strings.Repeat("x", maxLog+1), strings.Repeat("y\n", maxLog)} {
			if code := post(body); code != http.StatusRequestEntityTooLarge {
				t.Errorf("an oversized body was answered %d", code)
			}
		}
		if code := post(strings.Repeat("z", maxLog)); code != http.StatusNoContent {
			t.Errorf("one line as long as the whole body was answered %d", code)
		}
		lines, err := b.logs.Tail(machine1, 1<<20)
		if err != nil || len(lines) < 4 {
			t.Fatalf("%d lines, %v", len(lines), err)
		}
		for i, want := range []string{"first", "sec·]0;owned·ond", "last without end"} {
			if _, got, _ := strings.Cut(lines[i], " "); got != want {
				t.Errorf("line %d is %q, want %q", i, got, want)
			}
		}
		if other, err := b.logs.Tail("m2", 10); len(other) > 0 || err != nil {
			t.Errorf("another machine's log has %v, %v", other, err)
		}
	})
}

// TestLogCallIsBounded: a body of line ends writes next to nothing, though each
// line would get its time, and a call with very many lines a bounded number.
func TestLogCallIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		session := b.begin()
		for _, body := range []string{strings.Repeat("\n", maxLog), strings.Repeat("\r\n", maxLog/2), strings.Repeat("y\n", maxLog/2)} {
			if code := b.call(t.Context(), "POST", "/agent/v1/log", session, addr1, body).Code; code != http.StatusNoContent {
				t.Errorf("answered %d", code)
			}
		}
		lines, err := b.logs.Tail(machine1, 1<<20)
		if err != nil || len(lines) != maxLines+1 {
			t.Fatalf("%d lines, %v", len(lines), err)
		}
		if want := fmt.Sprintf("%d more lines", maxLog/2-maxLines); !strings.Contains(lines[maxLines], want) {
			t.Errorf("the last line is %q, want %q", lines[maxLines], want)
		}
	})
}

// TestLogsDoNotWaitForEachOther: one machine's log that is being written holds up
// nobody else's.
func TestLogsDoNotWaitForEachOther(t *testing.T) {
	l := newLogbook(t)
	busy := l.book(machine1)
	busy.mu.Lock()
	defer busy.mu.Unlock()
	if err := l.Add("m2", "hello"); err != nil {
		t.Error(err)
	}
}

// FuzzClean holds that no line from a machine can act on a terminal, is longer
// than the log's reader takes, or spans lines.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[31m", "\xff\xfe", "a\u0085b\u2028c", strings.Repeat("\x00", 5000), strings.Repeat("漢", 2000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s, logLine)
		if len(got) > 3*logLine+len("…") || !utf8.ValidString(got) {
			t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
		for _, r := range got {
			if unicode.IsControl(r) && r != '\t' {
				t.Errorf("control character %q", r)
			}
		}
	})
}

// TestLogBeforeHello lets an agent that fails before its hello say why, with the
// token of its boot and from where that was fetched, and nobody else.
func TestLogBeforeHello(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		token := b.issue()
		post := func(token, from string) int {
			return b.call(t.Context(), "POST", "/agent/v1/log", token, from, "no disk driver").Code
		}
		if code := post(token, addr1); code != http.StatusNoContent {
			t.Errorf("with its boot token: answered %d", code)
		}
		if code := post(token, "10.0.0.99:1"); code != http.StatusForbidden {
			t.Errorf("from elsewhere: answered %d", code)
		}
		session := b.welcome(b.call(t.Context(), "POST", "/agent/v1/hello", token, addr1, goodHello()))
		b.next(session, "")
		if code := post(token, addr1); code != http.StatusForbidden {
			t.Errorf("with a spent token: answered %d", code)
		}
		time.Sleep(DefaultTimes().Token + time.Second) // the bubble's time
		if code := post(b.issue(), addr1); code != http.StatusNoContent {
			t.Errorf("with a fresh token: answered %d", code)
		}
		late := b.issue()
		time.Sleep(DefaultTimes().Token + time.Second)
		if code := post(late, addr1); code != http.StatusForbidden {
			t.Errorf("with an expired token: answered %d", code)
		}
	})
}
