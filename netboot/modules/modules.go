// Package modules loads Linux kernel modules in the netboot initramfs: it
// matches the kernel's modaliases (what a device says it is) to drivers, finds
// what those depend on, and loads each once.
//
// The initramfs carries an [Index] that the builder made from the modules' own
// .modinfo sections, and each module compressed by itself with zstd, so that a
// boot only pays for the handful that its hardware needs.
package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Dir is where the builder puts the modules, and IndexName the index in it.
const (
	Dir       = "lib/modules"
	IndexName = "modules.gantry"
)

// Inserter puts one uncompressed module image into the kernel. It must treat a
// module that is there already as success.
type Inserter func(image []byte) error

// Insert is the kernel's init_module(2).
func Insert(image []byte) error {
	if err := unix.InitModule(image, ""); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// Loader loads modules. It is safe for concurrent use; two goroutines that need
// the same module wait for one load of it.
type Loader struct {
	fsys   fs.FS
	index  *Index
	insert Inserter

	mu    sync.Mutex // guards state
	state map[string]func() error
}

// Open reads the index in fsys, the initramfs' root. It is an error if there is
// none.
func Open(fsys fs.FS, insert Inserter) (*Loader, error) {
	b, err := fs.ReadFile(fsys, path.Join(Dir, IndexName))
	if err != nil {
		return nil, fmt.Errorf("read the index of kernel modules: %w", err)
	}
	ix, err := ParseIndex(b)
	if err != nil {
		return nil, err
	}
	return &Loader{fsys: fsys, index: ix, insert: insert, state: map[string]func() error{}}, nil
}

// Match returns the names of the modules that drive a device with the modalias,
// in the index' order.
func (l *Loader) Match(modalias string) []string { return l.index.Match(modalias) }

// Load loads a module and what it needs, and returns when all are in the kernel.
// A module that the index does not have is built into the kernel or was left
// out: it is an error that wraps fs.ErrNotExist.
func (l *Loader) Load(name string) error { return l.load(name, 0) }

// maxDepth is far more than any chain of dependencies; it ends a cycle.
const maxDepth = 32

func (l *Loader) load(name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("load module %s: its dependencies go round in a circle", name)
	}
	m, ok := l.index.Modules[Canonical(name)]
	if !ok {
		return fmt.Errorf("load module %s: %w", name, fs.ErrNotExist)
	}
	l.mu.Lock()
	once, ok := l.state[m.Name]
	if !ok {
		once = sync.OnceValue(func() error { return l.insertWithDeps(m, depth) })
		l.state[m.Name] = once
	}
	l.mu.Unlock()
	return once()
}

func (l *Loader) insertWithDeps(m Module, depth int) error {
	for _, d := range m.Soft {
		// A soft dependency improves the module; without it, it works.
		_ = l.load(d, depth+1)
	}
	for _, d := range m.Needs {
		if err := l.load(d, depth+1); err != nil {
			return fmt.Errorf("load module %s: %w", m.Name, err)
		}
	}
	image, err := l.read(m)
	if err != nil {
		return fmt.Errorf("read module %s: %w", m.Name, err)
	}
	if err := l.insert(image); err != nil {
		return fmt.Errorf("insert module %s: %w", m.Name, err)
	}
	return nil
}

func (l *Loader) read(m Module) ([]byte, error) {
	z, err := fs.ReadFile(l.fsys, path.Join(Dir, m.Name+".ko.zst"))
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(z, nil)
}
