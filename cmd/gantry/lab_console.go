package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/lab"
	"github.com/gantry-pod/gantry/lab/control"
)

func newLabConsoleCmd(a *labApp) *cobra.Command {
	return &cobra.Command{
		Use:               "console MACHINE",
		Short:             "Attach to a machine's serial console; leave with ~. after Enter",
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: a.machineNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.console(cmd.Context(), args[0])
		},
	}
}

// console joins the terminal and a machine's serial port. It shows what the
// machine said since its power came on, and stays over power cycles.
func (a *labApp) console(ctx context.Context, name string) error {
	status, err := a.client().Status(ctx)
	if err != nil {
		return labError(err)
	}
	path := ""
	for _, m := range status.Machines {
		if m.Name == name {
			path = m.Console
		}
	}
	if path == "" {
		return labError(fmt.Errorf("machine %q: %w", name, lab.ErrNotFound))
	}
	return a.attach(ctx, name, path)
}

// attach joins the terminal and the serial port behind a Unix socket.
func (a *app) attach(ctx context.Context, name, path string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return labError(fmt.Errorf("console of %s: %w: %w", name, control.ErrDown, err))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	restore, err := rawTerminal(a.in)
	if err != nil {
		return err
	}
	defer restore()
	fmt.Fprintf(a.err, "[%s, leave with Enter ~ .]\r\n", name)

	go func() {
		// Leaving by the escape, or an end of input, closes the connection; so
		// the copy below ends. Input that never ends is left to the process's end.
		_, _ = io.Copy(conn, &escapeReader{from: a.in})
		conn.Close()
	}()
	_, _ = io.Copy(a.out, conn)
	fmt.Fprintf(a.err, "\r\n[left %s]\r\n", name)
	return ctx.Err()
}

// rawTerminal hands every key to the program as it is pressed, if in is a
// terminal, and returns how to undo that.
func rawTerminal(in io.Reader) (restore func(), err error) {
	file, ok := in.(*os.File)
	if !ok {
		return func() {}, nil
	}
	fd := int(file.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}, nil // a pipe or a file
	}
	raw := *before // as cfmakeraw(3) does
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }, nil
}

// escapeReader passes input on until "~." at the beginning of a line, where it
// ends; "~~" there is one "~".
type escapeReader struct {
	from  io.Reader
	state escapeState
	over  bool
}

type escapeState int

const (
	lineStart escapeState = iota // the zero value: input begins a line
	inLine
	afterTilde
)

// Read implements io.Reader.
func (r *escapeReader) Read(p []byte) (int, error) {
	if r.over || len(p) < 2 {
		return 0, io.EOF
	}
	in := make([]byte, len(p)/2) // a held-back "~" may come with each byte
	n, err := r.from.Read(in)
	out := p[:0]
	for _, c := range in[:n] {
		switch {
		case r.state == afterTilde && c == '.':
			r.over = true
			return len(out), io.EOF
		case r.state == afterTilde:
			out = append(out, '~')
			r.state = inLine
			if c == '~' {
				continue
			}
		case r.state == lineStart && c == '~':
			r.state = afterTilde
			continue
		}
		out = append(out, c)
		r.state = inLine
		if c == '\r' || c == '\n' {
			r.state = lineStart
		}
	}
	return len(out), err
}
