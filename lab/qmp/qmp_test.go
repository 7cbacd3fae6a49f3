package qmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// qemu plays QEMU's side on a pipe: it greets, and answers each command with
// what script says of its name.
func qemu(t *testing.T, script map[string]string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { theirs.Close() })
	go func() {
		fmt.Fprintln(theirs, `{"QMP": {"version": {}, "capabilities": []}}`)
		lines := bufio.NewScanner(theirs)
		for id := 1; lines.Scan(); id++ {
			for name, answer := range script {
				if strings.Contains(lines.Text(), fmt.Sprintf("%q", name)) {
					fmt.Fprintln(theirs, strings.ReplaceAll(answer, "ID", fmt.Sprint(id)))
				}
			}
		}
	}()
	return ours
}

const capabilities = `{"return": {}, "id": ID}`

func TestExecute(t *testing.T) {
	events := make(chan Event, 1)
	conn, err := Connect(t.Context(), qemu(t, map[string]string{
		"qmp_capabilities": capabilities,
		"query-status":     `{"event": "RESET", "data": {"guest": true}}` + "\n" + `{"return": {"status": "running"}, "id": ID}`,
		"eject":            `{"error": {"class": "GenericError", "desc": "no disc"}, "id": ID}`,
		"quit":             `this is no JSON`,
	}), func(e Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	var status struct{ Status string }
	if err := conn.Execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Errorf("query-status = %+v, %v", status, err)
	}
	if diff := cmp.Diff(Event{Name: "RESET", Data: []byte(`{"guest": true}`)}, <-events); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	var refusal *Error
	if err := conn.Execute(t.Context(), "eject", nil, nil); !errors.As(err, &refusal) || refusal.Desc != "no disc" {
		t.Errorf("eject: %v", err)
	}
	if err := conn.Execute(t.Context(), "quit", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("quit: %v, want %v", err, ErrClosed)
	}
	if err := conn.Execute(t.Context(), "query-status", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v, want %v", err, ErrClosed)
	}
}

func TestSilentQEMU(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, ours, func(Event) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Connect to a silent QEMU: %v", err)
	}
}

// input is a stream that says some bytes and swallows what it is told.
type input struct{ io.Reader }

func (input) Write(p []byte) (int, error) { return len(p), nil }
func (input) Close() error                { return nil }

// FuzzRead gives the reader whatever QEMU, or a guest that broke out of it,
// may say: it must neither panic nor hang.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"QMP": {}}` + "\n" + `{"return": {}, "id": 1}` + "\n"))
	f.Add([]byte(`{"QMP": {}}` + "\n" + `{"QMP": {}}` + "\n"))
	f.Add([]byte(`{"event": "STOP"}` + "\n"))
	f.Add([]byte(`{"return": [], "id": 1}` + "\n" + `{"return": 7, "id": 1}` + "\n"))
	f.Add([]byte("null\n{}\n[]\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		conn, err := Connect(ctx, input{strings.NewReader(string(said))}, func(Event) {})
		if errors.Is(err, context.DeadlineExceeded) {
			t.Error("hangs")
		}
		if err == nil {
			conn.Close()
		}
	})
}
