package disk

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/confine"
	"github.com/gantry-pod/gantry/netboot/job"
)

// Files are what a tar's files must hold once they are unpacked.
type Files struct {
	// Bytes of all of them.
	Bytes int64

	dir    string
	all    []content
	byNode map[node]int // where a file is in all
}

// node is a file whatever its name: a later entry of the tar may write to it
// through a link.
type node struct{ dev, ino uint64 }

type content struct {
	name string
	size int64
	sum  [32]byte
}

func (f *Files) add(n node, c content) {
	f.Bytes += c.size
	if i, again := f.byNode[n]; again {
		f.Bytes -= f.all[i].size
		f.all[i] = content{} // what it was is gone
	}
	f.byNode[n] = len(f.all)
	f.all = append(f.all, c)
}

// DropCaches writes what is in memory to the disks and forgets it, so that what
// is read next comes from the disks.
func DropCaches() error {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("drop the caches: %w", err)
	}
	return nil
}

// Verify reads every file again and compares it with the tar. The caller has
// emptied the caches. A file that a later entry replaced is not looked at; its
// replacement is. progress, if set, is told the bytes read, by several goroutines.
// The error is a *job.Problem of code "readback-mismatch" or "disk-io".
func (f *Files) Verify(ctx context.Context, progress func(done int64)) error {
	root, err := confine.Open(f.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	g, ctx := errgroup.WithContext(ctx)
	var next, done atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(f.all)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				c := &f.all[i]
				if c.name == "" {
					continue
				}
				if err := f.verify(root, int(i)); err != nil {
					return err
				}
				if n := done.Add(c.size); progress != nil {
					progress(n)
				}
			}
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}

func (f *Files) verify(root *confine.Dir, i int) error {
	c := &f.all[i]
	failed := func(err error) error {
		return &job.Problem{Code: "disk-io", Detail: fmt.Sprintf("read %s back: %v", c.name, err), Retry: true}
	}
	st, err := root.Lstat(c.name)
	if err != nil {
		return failed(err)
	}
	if at, ok := f.byNode[node{st.Dev, st.Ino}]; !ok || at != i || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil // replaced by another entry, maybe one that got the same number
	}
	r, err := root.OpenFile(c.name)
	if err != nil {
		return failed(err)
	}
	defer r.Close()
	sum := blake3.New()
	if _, err := io.Copy(sum, r); err != nil {
		return failed(err)
	}
	if [32]byte(sum.Sum(nil)) != c.sum {
		return &job.Problem{Code: "readback-mismatch", Detail: fmt.Sprintf("/%s does not give back the %d bytes written", c.name, c.size), Retry: true}
	}
	return nil
}
