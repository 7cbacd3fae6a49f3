package disk

import (
	"fmt"
	"slices"

	"github.com/gantry-pod/gantry/netboot/disk/gpt"
	"github.com/gantry-pod/gantry/netboot/job"
)

const mib = 1 << 20

// Bootable refuses a layout that GRUB cannot start from under the machine's
// firmware, "bios" or "uefi", or that needs two volume groups.
func Bootable(l *job.Layout, firmware string) error {
	uses := map[string]int{}
	for _, p := range l.Partitions {
		uses[p.Use]++
	}
	switch {
	case firmware == "uefi" && uses["esp"] == 0:
		return fmt.Errorf("this machine starts by UEFI and no partition is of use \"esp\": add one of 64 MiB or more")
	case firmware == "bios" && uses["bios"] == 0:
		return fmt.Errorf("this machine starts by BIOS and no partition is of use \"bios\": add one of 1 MiB")
	case uses["lvm"] > 1:
		return fmt.Errorf("%d partitions are of use \"lvm\": there is one volume group, so one partition", uses["lvm"])
	}
	return nil
}

// types of partitions by use; with RAID1, all but the boot loader's are RAID.
func partitionType(p job.Partition, raid bool) string {
	switch {
	case p.Use == "bios":
		return gpt.TypeBIOS
	case p.Use == "esp":
		return gpt.TypeESP
	case raid:
		return gpt.TypeRAID
	case p.Use == "lvm":
		return gpt.TypeLVM
	case p.Use == "swap":
		return gpt.TypeSwap
	case p.Use == "root":
		return gpt.TypeRoot
	}
	return gpt.TypeLinux
}

// Table makes the layout's partition table for a disk of size bytes with sectors
// of sector bytes. Partitions begin at whole MiB. The error is a *job.Problem of
// code "disk-too-small" if they do not fit.
func Table(l *job.Layout, size int64, sector int) (*gpt.Table, error) {
	t, err := gpt.New(gpt.NewGUID(), size, sector)
	if err != nil {
		return nil, &job.Problem{Code: "disk-too-small", Detail: err.Error()}
	}
	per := uint64(mib / sector)
	begin, end := per, (t.Last+1)/per*per // whole MiB that partitions have
	var fixed uint64
	for _, p := range l.Partitions {
		fixed += uint64(p.Size) / uint64(sector)
	}
	if begin+fixed > end || begin+fixed == end && slices.ContainsFunc(l.Partitions, func(p job.Partition) bool { return p.Size == 0 }) {
		return nil, &job.Problem{Code: "disk-too-small", Detail: fmt.Sprintf("the layout's partitions need %d bytes and more, the disk has %d", (begin+fixed)*uint64(sector), size)}
	}
	for i, p := range l.Partitions {
		n := uint64(p.Size) / uint64(sector)
		if p.Size == 0 {
			n = end - begin - fixed
			fixed += n
		}
		fixed -= n
		typ, err := gpt.ParseGUID(partitionType(p, l.RAID1))
		if err != nil {
			return nil, err
		}
		t.Partitions[i] = gpt.Partition{Type: typ, ID: gpt.NewGUID(), First: begin, Last: begin + n - 1, Name: p.Name}
		begin += n
	}
	return t, nil
}
