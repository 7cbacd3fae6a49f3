package write

import (
	"log/slog"
	"net/http"
	"runtime"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/netboot/job"
)

// Request says what to write where.
type Request struct {
	// Client makes the HTTP requests. It should have no overall timeout: a stalled
	// transfer is noticed and taken up again here. Nil is http.DefaultClient.
	Client *http.Client
	// Image is what to write.
	Image job.ImageRef
	// Target is a block device, or a regular file, which is made or made larger
	// if it must be. [Stream] does not use it.
	Target string
	// Block says that Target is a disk: if it is not there, no file is made in its
	// place.
	Block bool
	// Arch is the GOARCH that the image must be for; empty is this program's.
	Arch string
	// ReadBack reads each chunk again after it was written, past every cache of
	// the operating system, and compares it.
	ReadBack bool
	// RateLimit bounds the transfer in bytes a second; 0 is no bound.
	RateLimit int64
	// Workers is how many ranges are in work at a time; 0 is 8, the most is 16:
	// some fetch and decompress while others wait for the disk. Each holds three
	// chunks.
	// Each holds about three chunks in memory.
	Workers int
	// Progress, if set, is called at most five times a second and once at the end
	// of each phase, never by two goroutines at once.
	Progress func(Progress)
	// Log, if set, is told of retries.
	Log *slog.Logger
}

// Progress is how far a write is.
type Progress struct {
	// Phase is "zero" while zeros are made, then "write".
	Phase string
	// Done and Total are bytes of the phase; of the image's payload in "write".
	Done, Total int64
}

// Stats says what a write did. All are bytes but Retries.
type Stats struct {
	// Size is the image's size on the disk.
	Size int64
	// Written was written from chunks, Zeroed was made zero by the disk or by us.
	Written, Zeroed int64
	// Fetched came over the network for chunks, repeats included.
	Fetched int64
	// ReadBack was read back and compared.
	ReadBack int64
	// Retries counts the range requests that had to be taken up again.
	Retries int64
}

func (r *Request) fill() {
	if r.Client == nil {
		r.Client = http.DefaultClient
	}
	if r.Arch == "" {
		r.Arch = runtime.GOARCH
	}
	if r.Workers <= 0 {
		r.Workers = 8
	}
	r.Workers = min(r.Workers, 16)
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
}

// name is the image in messages.
func (r *Request) name() string {
	return "image " + r.Image.Name
}

func (r *Request) checkKind(m *format.Manifest, want format.Kind) error {
	if m.Kind != want {
		return problem("image-arch", false, "%s is of kind %q, not %q", r.name(), m.Kind, want)
	}
	if m.Meta.Arch != r.Arch {
		return problem("image-arch", false, "%s is for %s, this machine is %s", r.name(), m.Meta.Arch, r.Arch)
	}
	return nil
}
