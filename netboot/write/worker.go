package write

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/images/format"
)

// hugePage is the size of a large page on amd64, and on arm64 whose small ones are
// of 4 KiB. Unpacking jumps about in its buffers: with small pages, a tenth of a
// write's time goes into looking up where they are.
const hugePage = 2 << 20

// worker is what one goroutine needs to fetch and write. Its buffers are mapped
// by page, because writes past the page cache need aligned memory (open(2),
// O_DIRECT).
type worker struct {
	decoder           *format.Decoder
	memory            []byte // what the others are parts of
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
	buffers := []*[]byte{&w.stored, &w.raw}
	if readBack {
		buffers = append(buffers, &w.back)
	}
	size := roundUp(most+format.DecodeSlack, format.Align)
	stride := roundUp(size, hugePage)
	if w.memory, err = unix.Mmap(-1, 0, len(buffers)*stride+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		w.close()
		return nil, fmt.Errorf("map %d bytes: %w", len(buffers)*stride, err)
	}
	base := uintptr(unsafe.Pointer(&w.memory[0]))
	at := int(roundUp(int64(base), hugePage) - int64(base))
	for _, b := range buffers {
		*b = w.memory[at : at+size]
		// Where there are none it works as well. What is behind whole ones, the
		// slack, would be a whole one for 16 bytes.
		_ = unix.Madvise(w.memory[at:at+size/hugePage*hugePage], unix.MADV_HUGEPAGE)
		at += stride
	}
	return w, nil
}

func (w *worker) close() {
	w.decoder.Close()
	if w.memory != nil {
		_ = unix.Munmap(w.memory) // it fails only for what was not mapped
	}
}

func roundUp[T int | int64](n, to T) T { return (n + to - 1) / to * to }
