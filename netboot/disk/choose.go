// Package disk prepares a machine's disks for an image: it chooses the root
// disk, gives a written image the room that the disk has, and lays out
// partitions, RAID1, LVM and file systems for a root-file-system image.
package disk

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gantry-pod/gantry/netboot/job"
)

// Choose picks the disk to write need bytes to: the smallest that all of the
// hint fits and that is large enough, and of equals the first by name. Removable
// disks are chosen only if the hint names one. Its error is a *job.Problem of
// code "disk-not-found" or "disk-too-small" that names what there is.
func Choose(disks []job.Disk, hint job.DiskHint, need int64) (job.Disk, error) {
	all, err := Candidates(disks, hint, need)
	if err != nil {
		return job.Disk{}, err
	}
	return all[0], nil
}

// ChooseFor is Choose among the disks with sectors of the image's size; any will
// do if that is 0. On a disk with others nobody would find the image's partitions.
// The error is also of code "disk-sector-size".
func ChooseFor(disks []job.Disk, hint job.DiskHint, need int64, sector int) (job.Disk, error) {
	same := slices.DeleteFunc(slices.Clone(disks), func(d job.Disk) bool { return sector != 0 && d.SectorSize != 0 && d.SectorSize != sector })
	d, err := Choose(same, hint, need)
	if err == nil || len(same) == len(disks) {
		return d, err
	}
	other, oerr := Choose(disks, hint, need)
	if oerr != nil {
		return d, oerr
	}
	return d, &job.Problem{Code: "disk-sector-size", Detail: fmt.Sprintf(
		"the image is made for sectors of %d bytes and %s has %d: take an image for those, or another disk, or format this one to sectors of %d", sector, other.Path, other.SectorSize, sector)}
}

// Candidates are the disks that Choose would take, the best first, at least one.
func Candidates(disks []job.Disk, hint job.DiskHint, need int64) ([]job.Disk, error) {
	var fit []job.Disk
	for _, d := range disks {
		if hint.Matches(d) {
			fit = append(fit, d)
		}
	}
	if len(fit) == 0 {
		return nil, &job.Problem{Code: "disk-not-found", Detail: fmt.Sprintf("no disk of this machine is %s; it has %s", describeHint(hint), describe(disks))}
	}
	need = max(need, hint.MinBytes)
	large := slices.DeleteFunc(slices.Clone(fit), func(d job.Disk) bool { return d.Bytes < need })
	if len(large) == 0 {
		return nil, &job.Problem{Code: "disk-too-small", Detail: fmt.Sprintf("%d bytes are needed; of the disks that may be used this machine has %s", need, describe(fit))}
	}
	slices.SortStableFunc(large, func(a, b job.Disk) int {
		return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(len(a.Path), len(b.Path)), cmp.Compare(a.Path, b.Path))
	})
	return large, nil
}

func describe(disks []job.Disk) string {
	if len(disks) == 0 {
		return "no disks at all"
	}
	var out []string
	for _, d := range disks {
		out = append(out, fmt.Sprintf("%s (%s, serial %q, %d bytes)", d.Path, d.Model, d.Serial, d.Bytes))
	}
	return strings.Join(out, ", ")
}

func describeHint(h job.DiskHint) string {
	var out []string
	add := func(name, v string) {
		if v != "" {
			out = append(out, name+" "+v)
		}
	}
	add("serial", h.Serial)
	add("WWN", h.WWN)
	add("path", h.Path)
	if h.Rotational != nil {
		out = append(out, fmt.Sprintf("rotational=%v", *h.Rotational))
	}
	if len(out) == 0 {
		return "fixed"
	}
	return strings.Join(out, " and ")
}
