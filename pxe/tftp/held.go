package tftp

import (
	"bytes"
	"io/fs"
	"os"
	"sync"
	"time"
)

// What is held in memory: loaders are some 100 kB to 1 MB.
const (
	heldFile  = 2 << 20  // largest file
	heldTotal = 32 << 20 // of all
	// heldAge is how long a file must have been left alone: the time of a change
	// is only so exact, and one more may follow within it.
	heldAge = 2 * time.Second
)

// held is the content of files that were asked for, so that a rack that boots
// at once reads its loader once. Whoever uses it compares with the file first.
type held struct {
	mu    sync.Mutex // guards the rest
	files map[string]*kept
	bytes int
}

// kept is a File in memory.
type kept struct {
	*bytes.Reader
	info fs.FileInfo
}

func (*kept) Close() error { return nil }

// ReadAtNow implements Prompt.
func (c *kept) ReadAtNow(p []byte, off int64) int {
	n, _ := c.ReadAt(p, off)
	return n
}

// is reports whether it is that of the file described.
func (c *kept) is(info fs.FileInfo) bool {
	return os.SameFile(c.info, info) && c.info.Size() == info.Size() && c.info.ModTime().Equal(info.ModTime())
}

func (h *held) get(name string) *kept {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.files[name]
}

func (h *held) drop(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.files[name]; c != nil {
		h.bytes -= int(c.Size())
		delete(h.files, name)
	}
}

// keep reads f, which info describes, and holds it; nil if it is too large, was
// changed just now, or cannot be read as a whole.
func (h *held) keep(name string, f *os.File, info fs.FileInfo, now time.Time) *kept {
	if info.Size() > heldFile || now.Sub(info.ModTime()) < heldAge {
		return nil
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil && len(data) > 0 {
		return nil
	}
	c := &kept{bytes.NewReader(data), info}
	if after, err := f.Stat(); err != nil || !c.is(after) {
		return nil
	}
	h.drop(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.files == nil || h.bytes+len(data) > heldTotal {
		h.files, h.bytes = map[string]*kept{}, 0
	}
	h.files[name] = c
	h.bytes += len(data)
	return c
}
