package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gantry-pod/gantry/appliance/machine"
)

type imageIn struct {
	Ref string `path:"ref" doc:"NAME, which is its newest version, or NAME:VERSION"`
}

type imageOut struct{ Body Image }

// images registers what is about the image library.
func (s *Server) images(api huma.API) {
	huma.Register(api, op(http.MethodGet, "/v1/images", "list-images", "List images", "images", 200),
		func(ctx context.Context, _ *struct{}) (*struct{ Body []Image }, error) {
			list, err := s.Images.List(ctx)
			return &struct{ Body []Image }{list}, refuse(err)
		})
	huma.Register(api, op(http.MethodGet, "/v1/images/{ref}", "show-image", "Show an image", "images", 200),
		func(ctx context.Context, in *imageIn) (*imageOut, error) {
			img, err := s.Images.Show(ctx, in.Ref)
			return &imageOut{img}, refuse(err)
		})
	huma.Register(api, op(http.MethodPost, "/v1/images", "import-image", "Import an image from a file on the appliance or a URL", "images", 201),
		func(ctx context.Context, in *struct{ Body ImportSpec }) (*imageOut, error) {
			if in.Body.Path == "" {
				return nil, huma.Error422UnprocessableEntity("path is empty: name a file on the appliance or a URL, or upload with PUT /v1/images/{name}/{version}")
			}
			if !in.Body.Remote() && !byRoot(ctx) {
				return nil, huma.Error403Forbidden("files of the appliance are imported for its root only: upload the file with PUT /v1/images/{name}/{version}")
			}
			progress, end := s.transfers.begin(in.Body.Name+":"+in.Body.Version, "import", s.Now())
			defer end()
			img, err := s.Images.Import(ctx, in.Body, nil, progress)
			return &imageOut{img}, refuse(err)
		})
	huma.Register(api, op(http.MethodPost, "/v1/images/{ref}/verify", "verify-image", "Read every byte of an image and compare it with its manifest", "images", 200),
		func(ctx context.Context, in *imageIn) (*imageOut, error) {
			img, err := s.Images.Show(ctx, in.Ref)
			if err != nil {
				return nil, refuse(err)
			}
			progress, end := s.transfers.begin(img.Name+":"+img.Version, "verify", s.Now())
			defer end()
			return &imageOut{img}, refuse(s.Images.Verify(ctx, in.Ref, progress))
		})
	huma.Register(api, op(http.MethodGet, "/v1/transfers", "list-transfers", "List the images that are being imported or verified, and how far that is", "images", 200),
		func(context.Context, *struct{}) (*struct{ Body []Transfer }, error) {
			return &struct{ Body []Transfer }{s.transfers.now()}, nil
		})
	huma.Register(api, op(http.MethodDelete, "/v1/images/{ref}", "delete-image", "Delete an image that nothing uses", "images", 204),
		func(ctx context.Context, in *imageIn) (*struct{}, error) {
			img, err := s.Images.Show(ctx, in.Ref)
			if err != nil {
				return nil, refuse(err)
			}
			users, err := s.imageUsers(ctx, img)
			if err != nil {
				return nil, refuse(err)
			}
			return nil, refuse(s.Images.Delete(ctx, img.Name+":"+img.Version, users))
		})
}

// imageUsers lists the machines that an image is being written to.
func (s *Server) imageUsers(ctx context.Context, img Image) (users []string, err error) {
	open, err := s.Book.Open(ctx)
	for _, r := range open {
		var spec struct {
			Image string `json:"image"`
		}
		if json.Unmarshal(r.Spec, &spec) == nil && spec.Image == img.Name+":"+img.Version {
			users = append(users, "machine "+r.Machine+" (request "+r.ID+")")
		}
	}
	list, listErr := s.Assets.Machines(ctx)
	for _, m := range list {
		if m.Server != nil && m.Server.Digest == img.Digest && m.Status.State != machine.Broken {
			users = append(users, "machine "+m.ID)
		}
	}
	return users, errors.Join(err, listErr)
}

// serveUpload imports an image from the request's body; the metadata is JSON in
// the header Gantry-Image. It streams, so images of any size fit.
func (s *Server) serveUpload(w http.ResponseWriter, r *http.Request) {
	spec := ImportSpec{}
	if h := r.Header.Get("Gantry-Image"); h != "" {
		d := json.NewDecoder(strings.NewReader(h))
		d.DisallowUnknownFields()
		if err := d.Decode(&spec); err != nil {
			writeProblem(w, http.StatusUnprocessableEntity, fmt.Sprintf("header Gantry-Image: %v", err))
			return
		}
	}
	spec.Name, spec.Version, spec.Path = r.PathValue("name"), r.PathValue("version"), ""
	progress, end := s.transfers.begin(spec.Name+":"+spec.Version, "import", s.Now())
	defer end()
	img, err := s.Images.Import(r.Context(), spec, r.Body, progress)
	if err != nil {
		var se huma.StatusError
		status := http.StatusInternalServerError
		if errors.As(refuse(err), &se) {
			status = se.GetStatus()
		}
		writeProblem(w, status, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	// The caller may be gone; the image is in.
	_ = json.NewEncoder(w).Encode(img)
}

// writeProblem answers with an RFC 9457 problem.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// The caller may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
