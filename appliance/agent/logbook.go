package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Logbook keeps one log a machine: what its agent said, line by line, with the
// time it arrived. A log is bounded; when it is full it becomes MACHINE.log.1
// and a new one is begun. It is safe for concurrent use.
type Logbook struct {
	dir string
	now func() time.Time

	mu    sync.Mutex // guards books
	books map[string]*book
}

// book is one machine's log. Machines do not wait for each other's.
type book struct {
	mu   sync.Mutex // guards subs and the machine's files
	subs map[chan string]struct{}
}

// logSize bounds a machine's log, logLine one line of it.
const (
	logSize = 4 << 20
	logLine = 4096
)

// NewLogbook keeps logs in dir, which it makes.
func NewLogbook(dir string, now func() time.Time) (*Logbook, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("machine logs: %w", err)
	}
	return &Logbook{dir: dir, now: now, books: map[string]*book{}}, nil
}

// book returns a machine's book, which it makes.
func (l *Logbook) book(machine string) *book {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.books[machine]
	if b == nil {
		b = &book{subs: map[chan string]struct{}{}}
		l.books[machine] = b
	}
	return b
}

// Add appends lines to a machine's log.
func (l *Logbook) Add(machine string, lines ...string) error {
	k := l.book(machine)
	k.mu.Lock()
	defer k.mu.Unlock()
	path := filepath.Join(l.dir, machine+".log")
	if st, err := os.Stat(path); err == nil && st.Size() > logSize {
		if err := os.Rename(path, path+".1"); err != nil {
			return fmt.Errorf("log of machine %s: %w", machine, err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("log of machine %s: %w", machine, err)
	}
	stamp := l.now().UTC().Format("2006-01-02T15:04:05.000Z ")
	var b strings.Builder
	for _, line := range lines {
		line = stamp + clean(line, logLine)
		b.WriteString(line + "\n")
		for c := range k.subs {
			select {
			case c <- line:
			default: // a follower that does not read misses lines; the file has them
			}
		}
	}
	_, err = f.WriteString(b.String())
	return errors.Join(err, f.Close())
}

// clean makes a line from outside safe to show on a terminal, and cuts it to
// limit bytes.
func clean(s string, limit int) string {
	s = strings.TrimRight(s, "\r\n")
	more := ""
	if len(s) > limit {
		s, more = s[:limit], "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '·'
		}
		return r
	}, s) + more
}

// Tail returns the last n lines of a machine's log.
func (l *Logbook) Tail(machine string, n int) ([]string, error) {
	k := l.book(machine)
	k.mu.Lock()
	defer k.mu.Unlock()
	return l.tail(machine, n)
}

func (l *Logbook) tail(machine string, n int) ([]string, error) {
	f, err := os.Open(filepath.Join(l.dir, machine+".log"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log of machine %s: %w", machine, err)
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(io.LimitReader(f, 2*logSize))
	s.Buffer(nil, 4*logLine) // a byte that is no text has become up to three
	for s.Scan() {
		if lines = append(lines, s.Text()); len(lines) > 2*n {
			lines = append(lines[:0], lines[len(lines)-n:]...)
		}
	}
	return lines[max(0, len(lines)-n):], s.Err()
}

// Follow returns the last n lines and a channel of those to come.
func (l *Logbook) Follow(machine string, n int) (last []string, more <-chan string, stop func(), err error) {
	k := l.book(machine)
	k.mu.Lock()
	defer k.mu.Unlock()
	if last, err = l.tail(machine, n); err != nil {
		return nil, nil, nil, err
	}
	c := make(chan string, 256)
	k.subs[c] = struct{}{}
	return last, c, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.subs, c)
	}, nil
}
