package agent

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// logBuffer holds log lines until the appliance has them. Past its bound it
// forgets the oldest and says so. It is safe for concurrent use.
type logBuffer struct {
	max  int
	wake chan struct{}

	mu   sync.Mutex // guards b and lost
	b    []byte
	lost int
}

func newLogBuffer(max int) *logBuffer { return &logBuffer{max: max, wake: make(chan struct{}, 1)} }

// Write appends whole lines.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.b = append(l.b, p...)
	for len(l.b) > l.max {
		i := bytes.IndexByte(l.b, '\n') + 1
		if i == 0 {
			i = len(l.b)
		}
		l.b = l.b[i:]
		l.lost++
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

// take empties the buffer.
func (l *logBuffer) take() (lines []byte, lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, lost = l.b, l.lost
	l.b, l.lost = nil, 0
	return lines, lost
}

// logBatch is how long lines wait for company, so that a burst is one call.
const logBatch = 300 * time.Millisecond

// ship sends lines until ctx ends; Client.Log repeats while the network is down,
// and the buffer fills meanwhile.
func (l *logBuffer) ship(ctx context.Context, send func(context.Context, []byte) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(logBatch):
		}
		l.flush(ctx, send)
	}
}

// logPiece is how much one call sends: far less than the appliance takes.
const logPiece = 64 << 10

// flush sends what there is, in pieces. A refusal loses its piece: the console
// has it too.
func (l *logBuffer) flush(ctx context.Context, send func(context.Context, []byte) error) {
	lines, lost := l.take()
	if lost > 0 {
		lines = append([]byte("gantry-netboot: older lines were lost while the network was down\n"), lines...)
	}
	for len(lines) > 0 && ctx.Err() == nil {
		n := len(lines)
		if n > logPiece {
			n = logPiece
			if i := bytes.LastIndexByte(lines[:n], '\n') + 1; i > 0 {
				n = i
			}
		}
		_ = send(ctx, lines[:n])
		lines = lines[n:]
	}
}
