package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// kernelLevel is the least urgent level that is sent on: warning (syslog(2)).
// What the kernel says of a bad disk, a cable or a driver without firmware is at
// least that.
const kernelLevel = 4

// followKernel writes the kernel's warnings, those from its start too, to w until
// ctx ends. path is /dev/kmsg.
func followKernel(ctx context.Context, path string, w io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { f.Close() })()
	defer f.Close()
	record := make([]byte, 8<<10) // the kernel's own bound, CONSOLE_EXT_LOG_MAX
	for {
		n, err := f.Read(record)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EPIPE):
			continue // the oldest were overwritten before they were read
		case err != nil:
			return err
		}
		if line := kernelLine(record[:n]); line != nil {
			_, _ = w.Write(line)
		}
	}
}

// kernelLine is the line to send of a record, nil if it is not urgent enough.
// A record is "priority,sequence,microseconds,flags[,...];text\n", and lines that
// begin with a space (Documentation/ABI/testing/dev-kmsg).
func kernelLine(record []byte) []byte {
	head, text, ok := bytes.Cut(record, []byte(";"))
	if !ok {
		return nil
	}
	priority, _, _ := bytes.Cut(head, []byte(","))
	p, err := strconv.Atoi(string(priority))
	if err != nil || p < 0 || p&7 > kernelLevel || p>>3 != 0 { // facility 0 is the kernel itself
		return nil
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	if len(text) == 0 {
		return nil
	}
	return append(append([]byte("kernel: "), text...), '\n')
}
