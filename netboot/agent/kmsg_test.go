package agent

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFollowKernel: warnings and worse are sent on, a line each, until the end.
func TestFollowKernel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	lines, ended := make(chan string), make(chan error, 1)
	go func() { ended <- followKernel(ctx, path, writerFunc(func(p []byte) { lines <- string(p) })) }()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for record, want := range map[string]string{
		"3,1,10,-;nvme nvme0: I/O error\n SUBSYSTEM=nvme\n DEVICE=+nvme:nvme0\n": "kernel: nvme nvme0: I/O error\n",
		"4,2,11,-,caller=T1;bnx2x: firmware missing; no link\n":                  "kernel: bnx2x: firmware missing; no link\n",
	} {
		if _, err := f.WriteString(record); err != nil {
			t.Fatal(err)
		}
		if got := <-lines; got != want {
			t.Errorf("%q: %q", record, got)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func TestKernelLine(t *testing.T) {
	for _, record := range []string{"", "6,1,1,-;usb connected\n", "12,1,1,-;of a program\n", "x,1,1,-;y\n", "-1,1,1,-;y\n", "4,1,1,-;\n", "4,1,1,-"} {
		if got := kernelLine([]byte(record)); got != nil {
			t.Errorf("%q: %q", record, got)
		}
	}
}

// FuzzKernelLine: whatever the record, it becomes one line or none.
func FuzzKernelLine(f *testing.F) {
	f.Add([]byte("4,2,11,-,caller=T1;text; more\n KEY=value\n"))
	f.Fuzz(func(t *testing.T, record []byte) {
		line := kernelLine(record)
		if line != nil && (bytes.Count(line, []byte("\n")) != 1 || !strings.HasPrefix(string(line), "kernel: ") || line[len(line)-1] != '\n') {
			t.Errorf("%q", line)
		}
	})
}
