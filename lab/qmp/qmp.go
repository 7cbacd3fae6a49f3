// Package qmp speaks the QEMU Machine Protocol (docs/interop/qmp-spec.txt of
// QEMU): JSON objects, one a line, over a stream to one QEMU process.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrClosed is returned by calls on a connection whose QEMU is gone.
var ErrClosed = errors.New("connection to QEMU is closed")

// Error is QEMU's refusal of a command.
type Error struct {
	// Class is QEMU's error class, such as "GenericError".
	Class string `json:"class"`
	// Desc says what was wrong, for people.
	Desc string `json:"desc"`
}

// Error implements error.
func (e *Error) Error() string { return e.Class + ": " + e.Desc }

// Event is something QEMU reports by itself, such as SHUTDOWN or RESET.
type Event struct {
	// Name is the event's name, from QEMU's QMP reference.
	Name string `json:"event"`
	// Data is the event's data, a JSON object, or nil.
	Data json.RawMessage `json:"data"`
}

// message is any of the protocol's objects.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     *uint64         `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *Error          `json:"error"`
	Event
}

// maxLine bounds one object from QEMU, in bytes.
const maxLine = 4 << 20

// Conn is a connection to one QEMU. Its methods may be called from any
// goroutine.
type Conn struct {
	stream io.ReadWriteCloser
	events func(Event)
	gone   chan struct{} // closed when nothing more is read

	mu      sync.Mutex // guards what follows, and writes to stream
	last    uint64
	pending map[uint64]chan message
}

// Connect greets the QEMU at the other end of stream, which the Conn owns from
// now on, also when Connect fails. Each event is given to events, one at a time,
// from a goroutine that ends with the connection; events must not call
// [Conn.Execute].
func Connect(ctx context.Context, stream io.ReadWriteCloser, events func(Event)) (*Conn, error) {
	c := &Conn{stream: stream, events: events, gone: make(chan struct{}), pending: map[uint64]chan message{}}
	greeted := make(chan struct{})
	go c.read(greeted)
	select {
	case <-greeted:
	case <-c.gone:
		return nil, fmt.Errorf("greet QEMU: %w", ErrClosed)
	case <-ctx.Done():
		c.Close()
		return nil, fmt.Errorf("greet QEMU: %w", ctx.Err())
	}
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection; QEMU itself runs on.
func (c *Conn) Close() {
	c.stream.Close()
	<-c.gone
}

// Done is closed when the connection has ended, from either side.
func (c *Conn) Done() <-chan struct{} { return c.gone }

// Execute runs a command with its arguments (nil for none), and decodes its
// result into result unless that is nil. It returns an [*Error] if QEMU refuses.
func (c *Conn) Execute(ctx context.Context, command string, arguments, result any) error {
	id, answer, err := c.send(command, arguments)
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	defer c.forget(id)
	select {
	case m := <-answer:
		if m.Error != nil {
			return fmt.Errorf("QMP %s: %w", command, m.Error)
		}
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(m.Return, result); err != nil {
			return fmt.Errorf("QMP %s: result: %w", command, err)
		}
		return nil
	case <-c.gone:
		return fmt.Errorf("QMP %s: %w", command, ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("QMP %s: %w", command, ctx.Err())
	}
}

// send writes a command and returns where its answer will appear.
func (c *Conn) send(command string, arguments any) (uint64, <-chan message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, arguments, c.last})
	if err != nil {
		return 0, nil, err
	}
	answer := make(chan message, 1)
	c.pending[c.last] = answer
	if _, err := c.stream.Write(append(line, '\n')); err != nil {
		delete(c.pending, c.last)
		return 0, nil, errors.Join(ErrClosed, err)
	}
	return c.last, answer, nil
}

func (c *Conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// read gives out what QEMU says until it stops or says something that is no
// QMP.
func (c *Conn) read(greeted chan<- struct{}) {
	defer close(c.gone)
	defer c.stream.Close()
	lines := bufio.NewScanner(c.stream)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return
		}
		switch {
		case m.Name != "":
			c.events(m.Event)
		case m.QMP != nil && greeted != nil:
			close(greeted)
			greeted = nil
		case m.ID != nil:
			c.answer(*m.ID, m)
		}
	}
}

// answer hands an answer to whoever waits for it; one to nobody is dropped.
func (c *Conn) answer(id uint64, m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waiting, ok := c.pending[id]; ok {
		delete(c.pending, id)
		waiting <- m
	}
}
