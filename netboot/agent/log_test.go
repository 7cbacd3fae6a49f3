package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestLogPieces: after an outage all lines that are left arrive, in pieces of
// whole lines that the appliance takes, though one of them is refused.
func TestLogPieces(t *testing.T) {
	l := newLogBuffer(1 << 20)
	var want bytes.Buffer
	for i := range 12000 {
		line := fmt.Appendf(nil, "line %d of what was written while the network was down\n", i)
		want.Write(line)
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	var got bytes.Buffer
	refused := 0
	l.flush(t.Context(), func(_ context.Context, p []byte) error {
		if len(p) > logPiece || p[len(p)-1] != '\n' {
			t.Errorf("a piece of %d bytes that ends in %q", len(p), p[len(p)-1])
		}
		got.Write(p)
		if got.Len() > logPiece && refused == 0 {
			refused++
			return errors.New("refused")
		}
		return nil
	})
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("%d bytes were sent of %d", got.Len(), want.Len())
	}
	l.Write(bytes.Repeat([]byte("x"), 2*logPiece)) // a line without an end
	sent := 0
	l.flush(t.Context(), func(_ context.Context, p []byte) error {
		sent += len(p)
		return nil
	})
	if sent != 2*logPiece {
		t.Errorf("%d bytes of a line of %d were sent", sent, 2*logPiece)
	}
}
