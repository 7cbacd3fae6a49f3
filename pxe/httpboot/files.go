package httpboot

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
)

// files serves regular files of a file system by their path, with ranges,
// and lists no directories.
func (h *handler) files(fsys fs.FS) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		f, err := openRegular(fsys, name)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
			http.Error(w, "no such boot file", http.StatusNotFound)
			return
		case err != nil:
			h.log.Error("boot file not served", "name", name, "err", err)
			http.Error(w, "cannot serve this boot file", http.StatusInternalServerError)
			return
		}
		defer f.Close()
		info, err := f.Stat()
		seeker, ok := f.(io.ReadSeeker)
		if err != nil || !ok {
			h.log.Error("boot file not served", "name", name, "err", err, "seekable", ok)
			http.Error(w, "cannot serve this boot file", http.StatusInternalServerError)
			return
		}
		// Set, so that ServeContent does not read the file to guess it. UEFI
		// (2.10, 24.7) takes an .efi file by its name with this type.
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, name, info.ModTime(), seeker)
	}
}

// openRegular opens a file that is neither a directory nor a device. It looks
// before it opens, since opening a FIFO would hang.
func openRegular(fsys fs.FS, name string) (fs.File, error) {
	if fsys == nil || !fs.ValidPath(name) {
		return nil, fs.ErrNotExist
	}
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	return fsys.Open(name)
}
