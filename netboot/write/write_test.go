package write

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/netboot/job"
)

var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// pattern is size bytes of zeros, compressible and incompressible pieces.
func pattern(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for at := 0; at < size; {
		n := min(size-at, 1+r.IntN(600<<10))
		for i, kind := 0, r.IntN(3); kind > 0 && i < n; i++ {
			if b[at+i] = byte(i % 61); kind == 2 {
				b[at+i] = byte(r.Uint32())
			}
		}
		at += n
	}
	return b
}

// image is one image served over HTTP, with ways to serve it badly.
type image struct {
	raw, manifest, data []byte
	ref                 job.ImageRef
	requests            atomic.Int64
	// serve, if set, answers requests for data in place of http.ServeContent.
	serve func(w http.ResponseWriter, r *http.Request, n int64)
}

func newImage(t testing.TB, raw []byte, change func(*format.Manifest)) *image {
	t.Helper()
	var data bytes.Buffer
	c, err := format.Pack(t.Context(), bytes.NewReader(raw), &data, format.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := &format.Manifest{Kind: format.Disk, Content: *c, Meta: format.Meta{
		Name: "test", Version: "1", Arch: "amd64", Firmware: "both", ServerKind: "plain", Created: time.Unix(0, 0).UTC(),
	}}
	if change != nil {
		change(m)
	}
	b, err := m.Sign(testKey)
	if err != nil {
		t.Fatal(err)
	}
	im := &image{raw: raw, manifest: b, data: data.Bytes()}
	mux := http.NewServeMux()
	mux.HandleFunc("/manifest", func(w http.ResponseWriter, _ *http.Request) { w.Write(im.manifest) })
	mux.HandleFunc("/data", func(w http.ResponseWriter, r *http.Request) {
		n := im.requests.Add(1)
		if im.serve != nil {
			im.serve(w, r, n)
			return
		}
		im.good(w, r)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	im.ref = job.ImageRef{
		Name: "test:1", ManifestURL: s.URL + "/manifest", DataURL: s.URL + "/data",
		ManifestDigest: format.Sum(b).String(), PublicKeys: []string{format.EncodeKey(m.Key)},
	}
	return im
}

func (im *image) good(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "data", time.Time{}, bytes.NewReader(im.data))
}

func (im *image) request(target string) Request {
	return Request{Image: im.ref, Target: target, Arch: "amd64"}
}

// dirtyFile is a target of size bytes with not a zero in it.
func dirtyFile(t testing.TB, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xee}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func compare(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < len(want) {
		t.Fatalf("%s has %d bytes, want %d", path, len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s differs at byte %d: %#x, want %#x", path, i, got[i], want[i])
		}
	}
}

func wantProblem(t *testing.T, err error, code string) *job.Problem {
	t.Helper()
	var p *job.Problem
	if !errors.As(err, &p) || p.Code != code {
		t.Fatalf("got %v, want a problem %q", err, code)
	}
	return p
}

func TestWriteFile(t *testing.T) {
	for _, size := range []int{1, 512, 4096, 1<<20 + 100, 3 << 20, 24<<20 + 512} {
		for _, room := range []int{-1, 0, 5 << 20} {
			t.Run(fmt.Sprintf("size %d room %d", size, room), func(t *testing.T) {
				im := newImage(t, pattern(uint64(size), size), nil)
				path := filepath.Join(t.TempDir(), "new")
				if room >= 0 {
					path = dirtyFile(t, size+room)
				}
				req := im.request(path)
				req.ReadBack = true
				st, err := Write(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, path, im.raw)
				if fi, _ := os.Stat(path); fi.Size() != int64(size+max(room, 0)) {
					t.Errorf("the file is now %d bytes", fi.Size())
				}
				if st.Size != int64(size) || st.Fetched != int64(len(im.data)) || st.ReadBack != st.Written {
					t.Errorf("stats %+v, data %d", st, len(im.data))
				}
			})
		}
	}
}

func TestRefusedBeforeTheDiskIsTouched(t *testing.T) {
	raw := pattern(5, 3<<20)
	tests := []struct {
		name, code string
		change     func(*format.Manifest)
		spoil      func(*image)
	}{
		{"another digest", "image-digest", nil, func(im *image) { im.ref.ManifestDigest = strings.Repeat("0", 64) }},
		{"altered manifest", "image-digest", nil, func(im *image) { im.manifest[100] ^= 1 }},
		{"truncated manifest", "image-digest", nil, func(im *image) { im.manifest = im.manifest[:200] }},
		{"wrong signature", "image-signature", nil, func(im *image) {
			im.manifest[len(im.manifest)-1] ^= 1
			im.ref.ManifestDigest = format.Sum(im.manifest).String()
		}},
		{"key not trusted", "image-signature", nil, func(im *image) {
			im.ref.PublicKeys = []string{format.EncodeKey(ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey))}
		}},
		{"no keys", "image-signature", nil, func(im *image) { im.ref.PublicKeys = nil }},
		{"no manifest but noise", "image-digest", nil, func(im *image) {
			im.manifest = []byte("<html>")
			im.ref.ManifestDigest = format.Sum(im.manifest).String()
		}},
		{"huge manifest", "image-digest", nil, func(im *image) { im.manifest = make([]byte, format.MaxManifest+1) }},
		{"other architecture", "image-arch", func(m *format.Manifest) { m.Meta.Arch = "arm64" }, nil},
		{"root file system", "image-arch", func(m *format.Manifest) { m.Kind, m.Meta.Firmware = format.RootFS, "" }, nil},
		{"manifest missing", "network", nil, func(im *image) { im.ref.ManifestURL += "x" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im := newImage(t, raw, tt.change)
			if tt.spoil != nil {
				tt.spoil(im)
			}
			path := dirtyFile(t, 4<<20)
			_, err := Write(t.Context(), im.request(path))
			wantProblem(t, err, tt.code)
			compare(t, path, bytes.Repeat([]byte{0xee}, 4<<20))
		})
	}
}

func TestBadData(t *testing.T) {
	raw := pattern(6, 6<<20)
	tests := []struct {
		name, code string
		spoil      func(*image)
	}{
		{"truncated", "image-truncated", func(im *image) { im.data = im.data[:len(im.data)-1] }},
		{"half", "image-truncated", func(im *image) { im.data = im.data[:len(im.data)/2] }},
		{"empty", "image-truncated", func(im *image) { im.data = nil }},
		{"too long", "image-truncated", func(im *image) { im.data = append(im.data, 1) }},
		{"altered", "image-digest", func(im *image) { im.data[len(im.data)/2] ^= 1 }},
		{"no ranges", "network", func(im *image) {
			im.serve = func(w http.ResponseWriter, _ *http.Request, _ int64) { w.Write(im.data) }
		}},
		{"another range", "network", func(im *image) {
			im.serve = func(w http.ResponseWriter, r *http.Request, _ int64) {
				r.Header.Set("Range", "bytes=1-9")
				im.good(w, r)
			}
		}},
		{"gone", "network", func(im *image) {
			im.serve = func(w http.ResponseWriter, _ *http.Request, _ int64) { http.Error(w, "no", http.StatusNotFound) }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im := newImage(t, raw, nil)
			tt.spoil(im)
			path := dirtyFile(t, len(raw))
			_, err := Write(t.Context(), im.request(path))
			wantProblem(t, err, tt.code)
			// The edges are written last, so what is there cannot be started.
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !format.IsZero(got[:512]) {
				t.Error("the first sector has content after a write that failed")
			}
		})
	}
}

// TestResume cuts connections at random bytes and fails at random, and checks
// that nothing is fetched twice.
func TestResume(t *testing.T) {
	im := newImage(t, pattern(8, 40<<20), nil)
	im.serve = func(w http.ResponseWriter, r *http.Request, n int64) {
		switch n % 4 {
		case 0:
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			im.good(&cutWriter{ResponseWriter: w, left: 300_001 + int(n)*7919}, r)
		default:
			im.good(&cutWriter{ResponseWriter: w, left: 2_000_003}, r)
		}
	}
	path := dirtyFile(t, len(im.raw))
	st, err := Write(t.Context(), im.request(path))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, path, im.raw)
	if st.Retries == 0 || st.Fetched != int64(len(im.data)) {
		t.Errorf("%d retries, fetched %d bytes of %d: want retries, and no byte twice", st.Retries, st.Fetched, len(im.data))
	}
}

// cutWriter ends the connection after so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(b []byte) (int, error) {
	if len(b) >= c.left {
		c.ResponseWriter.Write(b[:c.left])
		http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

// TestDamageOnTheWay alters a byte of two responses: the chunk is fetched again.
func TestDamageOnTheWay(t *testing.T) {
	im := newImage(t, pattern(9, 10<<20), nil)
	good := im.data
	im.serve = func(w http.ResponseWriter, r *http.Request, n int64) {
		data := good
		if n <= 2 {
			data = bytes.Clone(good)
			for i := 0; i < len(data); i += 1000 {
				data[i] ^= 4
			}
		}
		http.ServeContent(w, r, "data", time.Time{}, bytes.NewReader(data))
	}
	path := dirtyFile(t, len(im.raw))
	req := im.request(path)
	req.Workers = 1
	st, err := Write(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, path, im.raw)
	if st.Retries != 2 {
		t.Errorf("%d retries, want 2", st.Retries)
	}
}

func TestCancel(t *testing.T) {
	im := newImage(t, pattern(10, 10<<20), nil)
	ctx, cancel := context.WithCancel(t.Context())
	im.serve = func(_ http.ResponseWriter, r *http.Request, _ int64) {
		cancel()
		<-r.Context().Done()
	}
	_, err := Write(ctx, im.request(dirtyFile(t, len(im.raw))))
	wantProblem(t, err, "cancelled")
}

func TestDeadline(t *testing.T) {
	im := newImage(t, pattern(10, 10<<20), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	im.serve = func(_ http.ResponseWriter, r *http.Request, _ int64) { <-r.Context().Done() }
	_, err := Write(ctx, im.request(dirtyFile(t, len(im.raw))))
	wantProblem(t, err, "deadline")
}

func TestRateLimit(t *testing.T) {
	im := newImage(t, pattern(11, 8<<20), nil)
	req := im.request(dirtyFile(t, len(im.raw)))
	req.RateLimit = int64(len(im.data)) // one second's worth
	began := time.Now()
	if _, err := Write(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("took %s for a second's worth of bytes", took)
	}
}

func TestProgress(t *testing.T) {
	im := newImage(t, pattern(12, 8<<20), nil)
	req := im.request(dirtyFile(t, len(im.raw)))
	req.RateLimit = int64(len(im.data))
	var seen []Progress
	req.Progress = func(p Progress) { seen = append(seen, p) }
	st, err := Write(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	last := seen[len(seen)-1]
	if last.Phase != "write" || last.Done != last.Total || last.Total != st.Written {
		t.Errorf("the last report is %+v, want write %d of %d", last, st.Written, st.Written)
	}
	if n := len(seen); n < 3 || n > 60 {
		t.Errorf("%d reports", n)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i].Phase == seen[i-1].Phase && seen[i].Done < seen[i-1].Done {
			t.Errorf("progress goes back: %+v then %+v", seen[i-1], seen[i])
		}
	}
}

func TestStream(t *testing.T) {
	raw := pattern(13, 20<<20+777)
	im := newImage(t, raw, func(m *format.Manifest) { m.Kind, m.Meta.Firmware = format.RootFS, "" })
	im.serve = func(w http.ResponseWriter, r *http.Request, n int64) {
		if n%3 == 0 {
			im.good(&cutWriter{ResponseWriter: w, left: 123_457}, r)
			return
		}
		im.good(w, r)
	}
	s, err := Stream(t.Context(), im.request(""))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, raw) {
		t.Fatalf("streamed %d bytes of %d, equal %v, err %v", len(got), len(raw), bytes.Equal(got, raw), err)
	}
	if s.Size() != int64(len(raw)) || s.Done() != s.Size() || s.Fetched() < int64(len(im.data)) {
		t.Errorf("size %d, done %d, fetched %d", s.Size(), s.Done(), s.Fetched())
	}
}

func TestStreamNeverGivesUnverifiedBytes(t *testing.T) {
	raw := pattern(14, 20<<20)
	im := newImage(t, raw, func(m *format.Manifest) { m.Kind, m.Meta.Firmware = format.RootFS, "" })
	im.data[len(im.data)*2/3] ^= 1
	s, err := Stream(t.Context(), im.request(""))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := io.ReadAll(s)
	wantProblem(t, err, "image-digest")
	if !bytes.HasPrefix(raw, got) {
		t.Error("bytes were handed out that are not the image's")
	}
}

func TestStreamClosedEarly(t *testing.T) {
	im := newImage(t, pattern(15, 20<<20), func(m *format.Manifest) { m.Kind, m.Meta.Firmware = format.RootFS, "" })
	s, err := Stream(t.Context(), im.request(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestServerAppearsLater starts writing before anyone listens.
func TestServerAppearsLater(t *testing.T) {
	im := newImage(t, pattern(16, 2<<20), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	go func() {
		time.Sleep(400 * time.Millisecond) // the time without a server is what is tested
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return
		}
		http.Serve(l, http.HandlerFunc(im.good))
	}()
	im.ref.DataURL = "http://" + addr + "/data"
	path := dirtyFile(t, len(im.raw))
	st, err := Write(t.Context(), im.request(path))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, path, im.raw)
	if st.Retries == 0 {
		t.Error("no retries")
	}
}
