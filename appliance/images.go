package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	lib  *library.Library
	base string // URL that machines reach the appliance under
}

// Resolve implements deploy.Images.
func (d *imageDesk) Resolve(_ context.Context, ref string) (deploy.Image, error) {
	img, err := d.lib.Get(ref)
	if err != nil {
		return deploy.Image{}, err
	}
	firmware := img.Firmware
	if img.Kind == format.RootFS {
		firmware = "both" // its boot loader is installed for the machine's own
	}
	url := d.base + "/images/" + img.Digest
	return deploy.Image{
		Ref: job.ImageRef{Name: img.Name, Version: img.Version, ManifestURL: url + "/manifest", DataURL: url + "/data",
			ManifestDigest: img.Digest, PublicKeys: []string{d.lib.PublicKey()}},
		Name: img.Ref, Arch: img.Arch, Firmware: firmware, Size: img.Size, MinDisk: img.MinDisk, MinMemory: img.MinMemory,
		Rootfs: img.Kind == format.RootFS,
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
	var img library.Image
	var err error
	if r != nil {
		img, err = d.lib.ImportReader(ctx, r, meta, o, progress)
	} else {
		img, err = d.lib.Import(ctx, spec.Path, meta, o, progress)
	}
	return viewImage(img), imageError(err)
}

// Verify implements api.Library.
func (d *imageDesk) Verify(ctx context.Context, ref string, progress func(done, total int64)) error {
	return imageError(d.lib.Verify(ctx, ref, progress))
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
	case errors.Is(err, library.ErrNotFound):
		return fmt.Errorf("%w: %w", err, api.ErrNoImage)
	case errors.Is(err, library.ErrExists), errors.Is(err, library.ErrInUse), errors.Is(err, library.ErrNoSpace):
		return fmt.Errorf("%w: %w", err, api.ErrConflict)
	}
	return fmt.Errorf("%w: %w", err, api.ErrBadInput)
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
