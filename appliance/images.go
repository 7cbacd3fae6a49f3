package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/gantry-pod/gantry/appliance/api"
	"github.com/gantry-pod/gantry/appliance/deploy"
	"github.com/gantry-pod/gantry/images/format"
	"github.com/gantry-pod/gantry/images/importer"
	"github.com/gantry-pod/gantry/images/library"
	"github.com/gantry-pod/gantry/netboot/job"
)

// imageDesk gives the library to the deployer and to the API.
type imageDesk struct {
	lib   *library.Library
	base  string // URL that machines reach the appliance under
	fetch *http.Client
}

// Resolve implements deploy.Images.
func (d *imageDesk) Resolve(_ context.Context, ref string) (deploy.Image, error) {
	img, err := d.lib.Get(ref)
	if err != nil {
		return deploy.Image{}, err
	}
	firmware, sector := img.Firmware, cmp.Or(img.SectorSize, 512)
	if img.Kind == format.RootFS {
		firmware, sector = "both", 0 // both are made for the machine
	}
	url := d.base + "/images/" + img.Digest
	return deploy.Image{
		Ref: job.ImageRef{Name: img.Name, Version: img.Version, ManifestURL: url + "/manifest", DataURL: url + "/data",
			ManifestDigest: img.Digest, PublicKeys: []string{d.lib.PublicKey()}},
		Name: img.Ref, Arch: img.Arch, Firmware: firmware, Size: img.Size, MinDisk: img.MinDisk, MinMemory: img.MinMemory,
		Rootfs: img.Kind == format.RootFS, SectorSize: sector,
	}, nil
}

// List implements api.Library.
func (d *imageDesk) List(context.Context) ([]api.Image, error) {
	out := []api.Image{}
	for _, img := range d.lib.List() {
		out = append(out, viewImage(img))
	}
	return out, nil
}

// Show implements api.Library.
func (d *imageDesk) Show(_ context.Context, ref string) (api.Image, error) {
	img, err := d.lib.Get(ref)
	return viewImage(img), imageError(err)
}

// Import implements api.Library.
func (d *imageDesk) Import(ctx context.Context, spec api.ImportSpec, r io.Reader, progress func(done, total int64)) (api.Image, error) {
	meta := format.Meta{Name: spec.Name, Version: spec.Version, OS: spec.OS, OSVersion: spec.OSVersion, Arch: or(spec.Arch, "amd64"),
		Firmware: or(spec.Firmware, "both"), ServerKind: or(spec.ServerKind, "plain"), Applications: spec.Applications,
		MinMemory: spec.MinMemory, MinDisk: spec.MinDisk, Owner: spec.Owner, LicenceCost: spec.LicenceCost, DedicatedOnly: spec.Dedicated,
		Created: time.Now().UTC().Truncate(time.Second)}
	if spec.Format == string(format.RootFS) {
		meta.Firmware = ""
	}
	o := importer.Options{Checksum: spec.Checksum}
	if r == nil && !spec.Remote() {
		if err := checkSource(spec.Path, spec.Device); err != nil {
			return api.Image{}, err
		}
		img, err := d.lib.Import(ctx, spec.Path, meta, o, progress)
		return viewImage(img), imageError(err)
	}
	if r == nil {
		body, err := fetch(ctx, d.fetch, spec.Path)
		if err != nil {
			return api.Image{}, err
		}
		defer body.Close()
		r = body
	}
	img, err := d.lib.ImportReader(ctx, r, meta, o, progress)
	return viewImage(img), imageError(err)
}

// Verify implements api.Library.
func (d *imageDesk) Verify(ctx context.Context, ref string, progress func(done, total int64)) error {
	err := d.lib.Verify(ctx, ref, progress)
	if !errors.Is(err, library.ErrNotFound) {
		return err // what is wrong is in the library
	}
	return imageError(err)
}

// Delete implements api.Library.
func (d *imageDesk) Delete(_ context.Context, ref string, inUse []string) error {
	return imageError(d.lib.Delete(ref, func(string) []string { return inUse }))
}

// imageError gives the library's errors the API's meaning.
func imageError(err error) error {
	switch {
	case err == nil:
		return nil
	case isAny(err, library.ErrNotFound):
		return fmt.Errorf("%w: %w", err, api.ErrNoImage)
	case isAny(err, library.ErrExists, library.ErrInUse, library.ErrNoSpace):
		return fmt.Errorf("%w: %w", err, api.ErrConflict)
	case isAny(err, importer.ErrUnsupported, importer.ErrTruncated, importer.ErrCorrupt, importer.ErrChecksum, format.ErrMalformed, format.ErrTooLarge):
		return fmt.Errorf("%w: %w", err, api.ErrBadInput)
	}
	return err // a disk that fails, an image of the library that is damaged: not the caller's doing
}

func isAny(err error, list ...error) bool {
	return slices.ContainsFunc(list, func(target error) bool { return errors.Is(err, target) })
}

func viewImage(i library.Image) api.Image {
	return api.Image{Name: i.Name, Version: i.Version, Digest: i.Digest, OS: i.OS, OSVersion: i.OSVersion, Arch: i.Arch, Firmware: i.Firmware,
		Format: string(i.Kind), ServerKind: i.ServerKind, Applications: i.Applications, MinMemory: i.MinMemory, MinDisk: i.MinDisk, Owner: i.Owner,
		LicenceCost: i.LicenceCost, Dedicated: i.DedicatedOnly, Created: i.Created, Size: i.Size, Data: i.Payload, Stored: i.Stored}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
