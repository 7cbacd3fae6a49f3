package job

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

const mib = 1 << 20

// Validate refuses a layout that cannot be made or would not boot: sizes
// that are no multiples of 1 MiB, two partitions that take the rest, no root,
// unknown uses and file systems, mount points that are not absolute or double.
func (l *Layout) Validate() error {
	if len(l.Partitions) == 0 || len(l.Partitions) > 120 {
		return fmt.Errorf("a layout of %d partitions; 1 to 120 are possible", len(l.Partitions))
	}
	v := validator{mounts: map[string]string{}, names: map[string]bool{}}
	if err := v.list(l.Partitions, false); err != nil {
		return err
	}
	if v.mounts["/"] == "" {
		return fmt.Errorf("the layout has no partition or volume that is mounted on /")
	}
	return nil
}

type validator struct {
	mounts map[string]string
	names  map[string]bool
}

func (v *validator) list(ps []Partition, inLVM bool) error {
	rest := ""
	for _, p := range ps {
		if p.Size == 0 && rest != "" {
			return fmt.Errorf("both %s and %s take the rest", rest, p.Name)
		}
		if p.Size == 0 {
			rest = p.Name
		}
		if err := v.one(p, inLVM); err != nil {
			return fmt.Errorf("partition %q: %w", p.Name, err)
		}
	}
	return nil
}

func (v *validator) one(p Partition, inLVM bool) error {
	switch {
	case !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,35}$`).MatchString(p.Name):
		return fmt.Errorf("its name is not 1 to 36 letters, digits, _ . -")
	case v.names[p.Name]:
		return fmt.Errorf("there are two of this name")
	case p.Size < 0 || p.Size%mib != 0:
		return fmt.Errorf("its size %d is no multiple of 1 MiB", p.Size)
	case inLVM && (p.Use == "bios" || p.Use == "esp" || p.Use == "lvm"):
		return fmt.Errorf("a volume cannot be used as %q", p.Use)
	}
	v.names[p.Name] = true
	fs, ok := map[string][]string{"bios": {""}, "esp": {"vfat"}, "root": {"ext4", "xfs"}, "swap": {"swap"}, "lvm": {""}, "data": {"ext4", "xfs", "vfat"}}[p.Use]
	if !ok || !slices.Contains(fs, p.FileSystem()) {
		return fmt.Errorf("use %q with file system %q", p.Use, p.FS)
	}
	if p.Use == "lvm" {
		return v.list(p.Volumes, true)
	}
	return v.mount(p)
}

func (v *validator) mount(p Partition) error {
	m := p.MountPoint()
	if m == "" {
		if p.Use == "data" {
			return fmt.Errorf("a data partition needs a mount point")
		}
		return nil
	}
	if !path.IsAbs(m) || path.Clean(m) != m || strings.ContainsAny(m, " \t\n\\#") {
		return fmt.Errorf("mount point %q is not a clean absolute path", m)
	}
	if o := v.mounts[m]; o != "" {
		return fmt.Errorf("%s is mounted on %s too", o, m)
	}
	v.mounts[m] = p.Name
	return nil
}

// FileSystem is FS, or what the use implies where none is given; "" is none.
func (p Partition) FileSystem() string {
	switch {
	case p.FS != "":
		return p.FS
	case p.Use == "esp":
		return "vfat"
	case p.Use == "swap":
		return "swap"
	case p.Use == "root":
		return "ext4"
	}
	return ""
}

// MountPoint is Mount, or what the use implies where none is given; "" is none.
func (p Partition) MountPoint() string {
	switch {
	case p.Use == "swap" || p.Use == "bios":
		return ""
	case p.Mount != "":
		return p.Mount
	case p.Use == "root":
		return "/"
	case p.Use == "esp":
		return "/boot/efi"
	}
	return ""
}

// Need is the least disk size in bytes for a layout; a partition that takes the
// rest counts with least.
func (l *Layout) Need(least int64) int64 {
	sum := int64(2 * mib) // tables and alignment
	for _, p := range l.Partitions {
		if p.Size == 0 {
			sum += least
		}
		sum += p.Size
	}
	return sum
}
