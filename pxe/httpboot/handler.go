package httpboot

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/gantry-pod/gantry/pxe/boot"
)

// Config is what a handler serves.
type Config struct {
	// Loaders are the boot loaders (snponly.efi …) under /boot/loader/. Its
	// files are to be seekable, as those of os.Root.FS are. Nil: none.
	Loaders fs.FS
	// Netboot are the kernels and initramfs under /boot/netboot/. Nil: none.
	Netboot fs.FS
	// DiskLoader is the URL path of an EFI program that starts the operating
	// system of the machine's own disk, as the one that localdisk.sh makes;
	// empty: iPXE leaves that to the firmware, which may take minutes.
	DiskLoader string
	// Images, if set, serves /images/ and what is below.
	Images http.Handler
	// ImageRate bounds what Images sends in bytes a second, all clients
	// together, each an equal share; 0: no bound.
	ImageRate int64
	// StallTimeout is how long a client may take for a piece of at most 1 MiB
	// before it is dropped; default 1 min.
	StallTimeout time.Duration
	// OnAccess, if set, is told of every request when it has been answered. It
	// is called concurrently and must not block.
	OnAccess func(Access)
}

// Access is an answered request.
type Access struct {
	Client netip.Addr
	MAC    net.HardwareAddr // of a script request; else nil
	Method string
	Path   string
	Status int           // HTTP status
	Bytes  int64         // of the body that were sent
	Took   time.Duration // from the request's headers to the last byte handed to the kernel
	Whole  bool          // the full content was asked for and sent, not a range
}

type handler struct {
	cfg      Config
	scripter Scripter
	pace     *Pace // of scripts: each is a decision, and may be a commit
	log      *slog.Logger
}

// A machine fetches its script once in ten seconds.
const (
	scriptRate  = 5
	scriptBurst = 20
)

// New returns the handler. It is safe for concurrent use.
func New(cfg Config, scripter Scripter, log *slog.Logger) (http.Handler, error) {
	if cfg.ImageRate < 0 || cfg.StallTimeout < 0 {
		return nil, fmt.Errorf("httpboot: image rate %d and stall timeout %v must not be negative", cfg.ImageRate, cfg.StallTimeout)
	}
	if cfg.DiskLoader != "" {
		if err := checkPath(cfg.DiskLoader); err != nil {
			return nil, fmt.Errorf("httpboot: disk loader: %w", err)
		}
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = time.Minute
	}
	h := &handler{cfg: cfg, scripter: scripter, pace: NewPace(scriptRate, scriptBurst, time.Now), log: log}
	mux := http.NewServeMux()
	mux.Handle("GET /boot/{script}", h.record(h.script))
	mux.Handle("GET /boot/loader/{name...}", h.record(h.files(cfg.Loaders)))
	mux.Handle("GET /boot/netboot/{name...}", h.record(h.files(cfg.Netboot)))
	if cfg.Images != nil {
		mux.Handle("/images/", h.record(h.images(cfg.Images)))
	}
	return mux, nil
}

// script asks the Scripter and renders its plan.
func (h *handler) script(w http.ResponseWriter, r *http.Request) {
	mac, err := boot.ParseScriptPath(r.URL.Path)
	if err != nil {
		http.Error(w, "not a machine's script, as /boot/52-54-00-12-34-56.ipxe", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=us-ascii")
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		return // asking decides something: only GET does
	}
	if rec, ok := w.(*recorder); ok {
		rec.access.MAC = mac
	}
	fmt.Fprint(w, h.plan(r, mac))
}

// plan renders what the Scripter says. What it cannot say now, it is asked
// again: a machine that gets no script would go on to its disk. So one that
// asks too often is told to wait, not that it failed.
func (h *handler) plan(r *http.Request, mac net.HardwareAddr) string {
	if !h.pace.Allow(client(r)) {
		text, _ := render(Wait{For: 10 * time.Second, Reason: "scripts are asked for too often from this address"}, mac, "")
		return text
	}
	p, err := h.scripter.Script(r.Context(), mac, client(r))
	if err != nil {
		h.log.Error("no boot plan", "mac", mac.String(), "client", client(r), "err", err)
		p = Wait{For: 10 * time.Second, Reason: "the appliance cannot decide now, see its log"}
	}
	text, err := render(p, mac, h.cfg.DiskLoader)
	if err == nil {
		h.log.Info("boot script", "mac", mac.String(), "client", client(r), "plan", fmt.Sprintf("%T", p))
		return text
	}
	h.log.Error("boot plan cannot be written as a script", "mac", mac.String(), "err", err)
	text, _ = render(Refuse{Reason: "its boot plan is invalid, see the appliance's log"}, mac, "")
	return text
}

// client is who asks; the zero Addr if the server does not tell.
func client(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap()
}
