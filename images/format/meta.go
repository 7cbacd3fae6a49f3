package format

import (
	"fmt"
	"regexp"
	"time"
)

// Kind says what an image's payload is.
type Kind string

// The kinds of image.
const (
	// Disk is the content of a whole disk, from its first sector.
	Disk Kind = "disk"
	// RootFS is a tar archive (POSIX.1-2001 pax or GNU) of a root file system.
	RootFS Kind = "rootfs"
)

// Meta describes an image to people and to whoever places it on machines. It is
// part of what is signed.
type Meta struct {
	// Name and Version name the image together; see [ValidName].
	Name    string `json:"name"`
	Version string `json:"version"`
	// OS is what os-release calls ID, such as "debian"; OSVersion its VERSION_ID.
	OS        string `json:"os,omitempty"`
	OSVersion string `json:"os_version,omitempty"`
	// Arch is GOARCH's name: "amd64" or "arm64".
	Arch string `json:"arch"`
	// Firmware that a disk image starts with: "bios", "uefi" or "both". Empty for
	// a root file system, whose boot loader is installed for the machine's own.
	Firmware string `json:"firmware,omitempty"`
	// SectorSize is 4096 for a disk image that was made for sectors of so many
	// bytes: on a disk with others nobody finds its partitions. 0 is 512.
	SectorSize int `json:"sector_size,omitempty"`
	// ServerKind is "web", "database", "application" or "plain".
	ServerKind string `json:"server_kind"`
	// Applications installed in it, such as "nginx 1.22".
	Applications []string `json:"applications,omitempty"`
	// MinMemory and MinDisk are bytes that a machine must have; 0 is no demand. A
	// disk image needs at least its own size besides.
	MinMemory int64 `json:"min_memory,omitempty"`
	MinDisk   int64 `json:"min_disk,omitempty"`
	// Owner is an account's ID, or empty for everyone's.
	Owner string `json:"owner,omitempty"`
	// LicenceCost is a decimal amount per server and month, such as "12.50".
	LicenceCost string `json:"licence_cost,omitempty"`
	// DedicatedOnly forbids virtual servers, as some licences do.
	DedicatedOnly bool `json:"dedicated_only,omitempty"`
	// Created is when the image was made, UTC, whole seconds.
	Created time.Time `json:"created"`
}

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)
	decimalForm = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,6})?$`)
)

// ValidName reports whether s can be an image's name or version: 1 to 64 of
// a-z, 0-9, dot, underscore and hyphen, beginning and ending with a letter or
// digit. So it is safe as a file name and in a URL.
func ValidName(s string) bool { return nameForm.MatchString(s) }

// Validate says what is wrong with a Meta for an image of this kind, if anything.
func (m *Meta) Validate(kind Kind) error {
	switch {
	case !ValidName(m.Name):
		return metaError("name", m.Name)
	case !ValidName(m.Version):
		return metaError("version", m.Version)
	case m.OS != "" && !ValidName(m.OS):
		return metaError("os", m.OS)
	case m.OSVersion != "" && !ValidName(m.OSVersion):
		return metaError("os_version", m.OSVersion)
	case !oneOf(m.Arch, "amd64", "arm64"):
		return metaError("arch", m.Arch)
	case kind == Disk && !oneOf(m.Firmware, "bios", "uefi", "both"):
		return metaError("firmware", m.Firmware)
	case kind == RootFS && m.Firmware != "":
		return metaError("firmware of a root file system", m.Firmware)
	case m.SectorSize != 0 && (kind != Disk || m.SectorSize != 4096):
		return metaError("sector_size of this kind of image", fmt.Sprint(m.SectorSize))
	case !oneOf(m.ServerKind, "web", "database", "application", "plain"):
		return metaError("server_kind", m.ServerKind)
	case m.MinMemory < 0 || m.MinDisk < 0:
		return metaError("min_memory or min_disk", fmt.Sprint(min(m.MinMemory, m.MinDisk)))
	case m.LicenceCost != "" && !decimalForm.MatchString(m.LicenceCost):
		return metaError("licence_cost", m.LicenceCost)
	case len(m.Owner) > maxText:
		return metaError("owner", m.Owner[:maxText]+"…")
	case len(m.Applications) > maxApplications:
		return metaError("number of applications", fmt.Sprint(len(m.Applications)))
	}
	for _, a := range m.Applications {
		if a == "" || len(a) > maxText {
			return metaError("applications", a[:min(len(a), maxText)])
		}
	}
	return nil
}

const (
	maxText         = 128
	maxApplications = 64
)

func metaError(field, value string) error {
	return fmt.Errorf("%w: %s cannot be %q", ErrMalformed, field, value)
}

func oneOf(s string, of ...string) bool {
	for _, o := range of {
		if s == o {
			return true
		}
	}
	return false
}
