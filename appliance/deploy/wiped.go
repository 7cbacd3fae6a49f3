package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gantry-pod/gantry/appliance/asset"
	"github.com/gantry-pod/gantry/appliance/change"
	"github.com/gantry-pod/gantry/netboot/job"
)

// lookAtDisks is the advice where the disks are not those of the inventory.
const lookAtDisks = "look at the machine's disks; if one was taken out or replaced: gantry machine maintain, then restore, which takes the inventory anew"

// wipeSpec is what is to be wiped on m: every disk that is not removable, on USB
// only those of the inventory, and a removable one if the server that is there,
// or was to be there, was given it.
func wipeSpec(m *asset.Machine, asked job.DiskHint) *job.WipeSpec {
	w := &job.WipeSpec{Method: "best"}
	if m.Inventory == nil {
		return w
	}
	for _, d := range m.Inventory.Disks {
		if (job.DiskHint{}).Matches(d) {
			continue
		}
		if s := m.Server; !d.Removable || s != nil && sameDisk(d, s.Disk, s.DiskSerial, "") || asked.Named() && asked.Matches(d) {
			w.Disks = append(w.Disks, nameOf(d))
		}
	}
	if len(w.Disks) > 0 && slices.ContainsFunc(m.Inventory.Disks, (job.DiskHint{}).Matches) {
		w.Disks = append(w.Disks, job.DiskHint{}) // and all that need no name
	}
	return w
}

// nameOf is the hint that names a disk, by what stays with it if there is that.
func nameOf(d job.Disk) job.DiskHint {
	switch {
	case d.Serial != "":
		return job.DiskHint{Serial: d.Serial}
	case d.WWN != "":
		return job.DiskHint{WWN: d.WWN}
	}
	return job.DiskHint{Path: d.Path}
}

// sameDisk compares a disk with what another record has of one: by its serial
// number if both have one, else by WWN, else by the kernel's path.
func sameDisk(d job.Disk, path, serial, wwn string) bool {
	switch {
	case d.Serial != "" && serial != "":
		return d.Serial == serial
	case d.WWN != "" && wwn != "":
		return strings.EqualFold(d.WWN, wwn)
	}
	return d.Path == path
}

// believe says what is missing in the certificates of a wipe of m, or nil: each
// disk that had to be wiped must be there, all of it, and read back.
func believe(m *asset.Machine, spec *job.WipeSpec, wiped []job.WipedDisk) *change.Problem {
	doubt := func(format string, args ...any) *change.Problem {
		return &change.Problem{Code: "wipe-unverified", Person: true,
			Detail: fmt.Sprintf("machine %s: ", m.ID) + fmt.Sprintf(format, args...),
			Action: lookAtDisks}
	}
	if len(wiped) == 0 {
		return doubt("the agent's wipe names no disk")
	}
	for _, w := range wiped {
		if w.Verified != "full" && w.Verified != "sample" {
			return doubt("disk %s (serial %q) was wiped and not read back", w.Path, w.Serial)
		}
	}
	left := slices.Clone(wiped)
	for _, d := range mustWipe(m, spec) {
		i := certificate(left, d)
		if i < 0 {
			return doubt("disk %s (serial %q, %d bytes) of its inventory was not wiped, or not all of it", d.Path, d.Serial, d.Bytes)
		}
		left = slices.Delete(left, i, i+1) // a certificate stands for one disk
	}
	if s := m.Server; s != nil && s.Disk != "" && !slices.ContainsFunc(wiped, func(w job.WipedDisk) bool {
		return sameDisk(job.Disk{Path: w.Path, Serial: w.Serial}, s.Disk, s.DiskSerial, "")
	}) {
		return doubt("the server's disk %s (serial %q) was not wiped", s.Disk, s.DiskSerial)
	}
	return nil
}

// certificate is the place of the certificate for all of a disk, or -1.
func certificate(wiped []job.WipedDisk, d job.Disk) int {
	return slices.IndexFunc(wiped, func(w job.WipedDisk) bool {
		return w.Bytes >= d.Bytes && sameDisk(d, w.Path, w.Serial, w.WWN)
	})
}

// mustWipe are the disks of the inventory that spec asks for, the largest first.
func mustWipe(m *asset.Machine, spec *job.WipeSpec) (disks []job.Disk) {
	if m.Inventory == nil {
		return nil
	}
	for _, d := range m.Inventory.Disks {
		if !d.Removable || slices.ContainsFunc(spec.Disks, func(h job.DiskHint) bool { return h.Matches(d) }) {
			disks = append(disks, d)
		}
	}
	slices.SortStableFunc(disks, func(a, b job.Disk) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return disks
}
