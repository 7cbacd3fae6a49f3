package write

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/images/format"
)

// worker is what one goroutine needs to fetch and write. Its buffers are mapped
// by page, because writes past the page cache need aligned memory (open(2),
// O_DIRECT).
type worker struct {
	decoder           *format.Decoder
	stored, raw, back []byte
}

func newWorker(m *format.Manifest, readBack bool) (*worker, error) {
	most := format.Align
	for i := range m.Chunks {
		most = max(most, m.Chunks[i].Length)
	}
	d, err := format.NewDecoder()
	if err != nil {
		return nil, err
	}
	w := &worker{decoder: d}
	most = roundUp(most+format.DecodeSlack, format.Align)
	buffers := []*[]byte{&w.stored, &w.raw}
	if readBack {
		buffers = append(buffers, &w.back)
	}
	for _, b := range buffers {
		if *b, err = unix.Mmap(-1, 0, most, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
			w.close()
			return nil, fmt.Errorf("map %d bytes: %w", most, err)
		}
	}
	return w, nil
}

func (w *worker) close() {
	w.decoder.Close()
	for _, b := range [][]byte{w.stored, w.raw, w.back} {
		if b != nil {
			// It fails only for a slice that was not mapped.
			_ = unix.Munmap(b)
		}
	}
}

func roundUp[T int | int64](n, to T) T { return (n + to - 1) / to * to }
