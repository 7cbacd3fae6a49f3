package library

import (
	"net/http"
	"os"
	"time"

	"github.com/gantry-pod/gantry/images/format"
)

// Handler serves GET and HEAD of /DIGEST/manifest and /DIGEST/data, with ranges
// (RFC 9110, 14) and without end of validity: a digest's bytes never change. It
// is not authenticated: who may know a digest may have the image.
func (l *Library) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{digest}/manifest", func(w http.ResponseWriter, r *http.Request) { l.serve(w, r, "manifest") })
	mux.HandleFunc("GET /{digest}/data", func(w http.ResponseWriter, r *http.Request) { l.serve(w, r, "data") })
	return mux
}

func (l *Library) serve(w http.ResponseWriter, r *http.Request, file string) {
	digest, err := format.ParseDigest(r.PathValue("digest"))
	if err != nil {
		http.Error(w, "no image digest", http.StatusNotFound)
		return
	}
	f, err := os.Open(l.path("images", digest.String(), file))
	if err != nil {
		http.Error(w, "no such image", http.StatusNotFound)
		return
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+digest.String()+"-"+file+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}
