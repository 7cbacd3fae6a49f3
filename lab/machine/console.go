package machine

import (
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"
)

// consoleKeep is how much of a console's output stays in memory, in bytes; the
// log file has all of it.
const consoleKeep = 1 << 20

// matchWithin is the longest match that [Console.Wait] is sure to find.
const matchWithin = 4 << 10

// Console is a machine's serial port. It outlives the machine's power: whoever
// is attached stays attached. Its methods may be called from any goroutine.
type Console struct {
	log io.Writer

	mu      sync.Mutex // guards what follows
	buf     []byte     // the output from offset base on
	base    int64
	boot    int64         // where the output since the last power-on begins
	changed chan struct{} // closed and replaced when buf grows
	input   io.Writer     // the running machine's, or nil
}

func newConsole(log io.Writer) *Console {
	return &Console{log: log, changed: make(chan struct{})}
}

// powerOn marks the beginning of a power-on, whose input is in.
func (c *Console) powerOn(in io.Writer, mark string) {
	c.write([]byte("\r\n" + mark + "\r\n"))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boot = c.base + int64(len(c.buf))
	c.input = in
}

// powerOff ends the input of a machine that is off.
func (c *Console) powerOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.input = nil
}

// pump takes in what the machine writes until it is off.
func (c *Console) pump(from io.Reader) {
	chunk := make([]byte, 4<<10)
	for {
		n, err := from.Read(chunk)
		c.write(chunk[:n])
		if err != nil {
			return
		}
	}
}

func (c *Console) write(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A full disk must not stop the machine's console in memory.
	_, _ = c.log.Write(p)
	c.buf = append(c.buf, p...)
	if len(c.buf) > 2*consoleKeep {
		drop := len(c.buf) - consoleKeep
		c.base += int64(drop)
		c.buf = append([]byte(nil), c.buf[drop:]...)
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// from copies what there is from an offset on, or from the oldest that is kept,
// and returns where that begins and what is closed when there is more.
func (c *Console) from(offset int64) (text []byte, start int64, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	start = min(max(offset, c.base), c.base+int64(len(c.buf)))
	return append([]byte(nil), c.buf[start-c.base:]...), start, c.changed
}

// Mark returns the end of the output so far, for [Console.WaitFrom].
func (c *Console) Mark() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base + int64(len(c.buf))
}

func (c *Console) bootMark() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

// Text returns the output since the last power-on, at most the last MiB.
func (c *Console) Text() string {
	text, _, _ := c.from(c.bootMark())
	return string(text)
}

// Wait blocks until the output since the last power-on matches re, and returns
// the match. A match longer than 4 KiB may be missed.
func (c *Console) Wait(ctx context.Context, re *regexp.Regexp) (string, error) {
	return c.WaitFrom(ctx, c.bootMark(), re)
}

// WaitFrom is [Console.Wait] for the output from a [Console.Mark] on.
func (c *Console) WaitFrom(ctx context.Context, mark int64, re *regexp.Regexp) (string, error) {
	for from := mark; ; {
		text, start, more := c.from(from)
		if found := re.Find(text); found != nil {
			return string(found), nil
		}
		from = max(mark, start+int64(len(text))-matchWithin)
		select {
		case <-more:
		case <-ctx.Done():
			return "", fmt.Errorf("console: wait for %q: %w; last output:\n%s", re, ctx.Err(), tail(text, 800))
		}
	}
}

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// serve lets clients attach on l until it is closed, and returns when they are
// gone. A client sees the output since the last power-on and from then on, and
// its bytes are the machine's input.
func (c *Console) serve(ctx context.Context, l net.Listener) {
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		clients.Go(func() { c.attach(ctx, conn) })
	}
}

// attach joins one client until it leaves or ctx is done.
func (c *Console) attach(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(writerFunc(c.typed), conn)
	}()
	for offset := c.bootMark(); ; {
		text, start, more := c.from(offset)
		if _, err := conn.Write(text); err != nil {
			return
		}
		offset = start + int64(len(text))
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// typed gives bytes to the machine; one that is off loses them.
func (c *Console) typed(p []byte) (int, error) {
	c.mu.Lock()
	in := c.input
	c.mu.Unlock()
	if in != nil {
		_, _ = in.Write(p) // an error means that it has just lost its power
	}
	return len(p), nil
}

// Type sends text to the machine's serial port, as a person would.
func (c *Console) Type(text string) { _, _ = c.typed([]byte(text)) }

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
