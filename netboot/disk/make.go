package disk

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-pod/gantry/netboot/disk/gpt"
	"github.com/gantry-pod/gantry/netboot/job"
)

// Runner runs one of the initramfs' tools.
type Runner interface {
	Run(ctx context.Context, name string, args ...string) (string, error)
}

// Volume is a place for a file system that was made: a partition, an array or a
// logical volume.
type Volume struct {
	Device, FS, Mount string
	// UUID as fstab(5) writes it.
	UUID string
	Use  string
}

// Made is a layout that was made on disks.
type Made struct {
	Disks   []string
	Volumes []Volume
	// Arrays are the md arrays, and LVM says that there are logical volumes: the
	// system's initramfs must know of them.
	Arrays []Array
	LVM    bool
}

// Array is an md array that was made.
type Array struct {
	// Device is its path here. The system that starts from it may give it another.
	Device, Name string
	// UUID as mdadm writes it, four groups of eight digits.
	UUID string
}

// VolumeGroup is the name of the volume group that a layout's volumes are in.
const VolumeGroup = "gantry"

// Make makes a layout on disks, one, or two for RAID1; what was on them is lost.
// It makes the file systems too. The disks must not be in use.
func Make(ctx context.Context, disks []string, l *job.Layout, tools Runner) (*Made, error) {
	m := &Made{Disks: disks}
	for _, d := range disks {
		if err := partition(ctx, d, l); err != nil {
			return nil, err
		}
	}
	for i, p := range l.Partitions {
		if p.Use == "bios" {
			continue
		}
		if err := m.one(ctx, i+1, p, l.RAID1, tools); err != nil {
			return nil, fmt.Errorf("partition %s: %w", p.Name, err)
		}
	}
	return m, nil
}

// partition writes the table of one disk and clears where old signatures are.
func partition(ctx context.Context, disk string, l *job.Layout) error {
	d, err := openDevice(disk)
	if err != nil {
		return err
	}
	defer d.Close()
	t, err := Table(l, d.size, d.sector)
	if err != nil {
		return err
	}
	zero := make([]byte, mib)
	for _, off := range signatures(t, d.size, int64(d.sector)) {
		if _, err := d.WriteAt(zero, off); err != nil {
			return &job.Problem{Code: "disk-io", Detail: fmt.Sprintf("clear %s at byte %d: %v", disk, off, err), Retry: true}
		}
	}
	if err := t.Write(d, d.size); err != nil {
		return &job.Problem{Code: "disk-io", Detail: fmt.Sprintf("%s: %v", disk, err), Retry: true}
	}
	return Reread(ctx, disk)
}

// signatures are the offsets of the MiBs that old superblocks are in: the first
// and the last (md 0.90 and 1.0 at the end) of the whole disk, which a system
// would believe besides the table, and of each partition.
func signatures(t *gpt.Table, size, sector int64) []int64 {
	out := []int64{0, size - mib}
	for _, p := range t.Partitions {
		if p.Type != (gpt.GUID{}) {
			out = append(out, int64(p.First)*sector, int64(p.Last+1)*sector-mib)
		}
	}
	return out
}

func (m *Made) one(ctx context.Context, number int, p job.Partition, raid bool, tools Runner) error {
	var parts []string
	for _, d := range m.Disks {
		parts = append(parts, PartitionPath(d, number))
	}
	if p.Use == "esp" {
		for _, dev := range parts { // firmware knows no RAID: each disk has its own
			if err := m.format(ctx, dev, p, tools); err != nil {
				return err
			}
		}
		return nil
	}
	dev := parts[0]
	if raid {
		dev = fmt.Sprintf("/dev/md%d", number)
		if err := m.mirror(ctx, dev, p.Name, parts, tools); err != nil {
			return err
		}
	}
	if p.Use == "lvm" {
		return m.volumes(ctx, dev, p, tools)
	}
	return m.format(ctx, dev, p, tools)
}

func (m *Made) mirror(ctx context.Context, dev, name string, parts []string, tools Runner) error {
	var id [16]byte
	rand.Read(id[:]) // never fails
	a := Array{Device: dev, Name: name, UUID: fmt.Sprintf("%x:%x:%x:%x", id[:4], id[4:8], id[8:12], id[12:])}
	args := append([]string{"--create", dev, "--run", "--level=1", "--metadata=1.2", "--bitmap=internal", "--homehost=any", "--name=" + name,
		"--uuid=" + a.UUID, fmt.Sprintf("--raid-devices=%d", len(parts))}, parts...)
	if _, err := tools.Run(ctx, "mdadm", args...); err != nil {
		return err
	}
	m.Arrays = append(m.Arrays, a)
	return nil
}

func (m *Made) volumes(ctx context.Context, dev string, p job.Partition, tools Runner) error {
	m.LVM = true
	// LVM sees this device only: another disk may have a volume group of this name.
	for _, args := range [][]string{{"pvcreate", "--devices", dev, "-ff", "-y", dev}, {"vgcreate", "--devices", dev, "-y", VolumeGroup, dev}} {
		if _, err := tools.Run(ctx, "lvm", args...); err != nil {
			return err
		}
	}
	// The one that takes the rest comes last, whatever its place.
	vs := slices.Clone(p.Volumes)
	slices.SortStableFunc(vs, func(a, b job.Partition) int { return cmp.Compare(min(b.Size, 1), min(a.Size, 1)) })
	for _, v := range vs {
		size := []string{"-l", "100%FREE"}
		if v.Size > 0 {
			size = []string{"-L", fmt.Sprintf("%dm", v.Size/mib)}
		}
		args := append([]string{"lvcreate", "--devices", dev, "-y", "-W", "y", "-Z", "y", "-n", v.Name}, append(size, VolumeGroup)...)
		if _, err := tools.Run(ctx, "lvm", args...); err != nil {
			return err
		}
		if err := m.format(ctx, filepath.Join("/dev", VolumeGroup, v.Name), v, tools); err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// format makes a file system with an identifier made here.
func (m *Made) format(ctx context.Context, dev string, p job.Partition, tools Runner) error {
	v := Volume{Device: dev, FS: p.FileSystem(), Mount: p.MountPoint(), Use: p.Use, UUID: strings.ToLower(gpt.NewGUID().String())}
	var err error
	switch v.FS {
	case "ext4":
		_, err = tools.Run(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-U", v.UUID, "-L", label(p.Name, 16), "-E", "nodiscard", dev)
	case "xfs":
		_, err = tools.Run(ctx, "mkfs.xfs", "-q", "-f", "-K", "-m", "uuid="+v.UUID, "-L", label(p.Name, 12), dev)
	case "vfat":
		var id [4]byte
		rand.Read(id[:]) // never fails
		v.UUID = fmt.Sprintf("%02X%02X-%02X%02X", id[0], id[1], id[2], id[3])
		_, err = tools.Run(ctx, "mkfs.vfat", "-i", strings.ReplaceAll(v.UUID, "-", ""), "-n", strings.ToUpper(label(p.Name, 11)), dev)
	case "swap":
		err = makeSwap(dev, v.UUID, p.Name)
	}
	if err != nil {
		return err
	}
	m.Volumes = append(m.Volumes, v)
	return nil
}

func label(name string, most int) string { return name[:min(len(name), most)] }

const page = 4096

// makeSwap writes a swap area's header (union swap_header of the kernel's
// include/linux/swap.h), in 4 KiB pages.
func makeSwap(dev, uuid, name string) error {
	d, err := openDevice(dev)
	if err != nil {
		return err
	}
	defer d.Close()
	g, err := gpt.ParseGUID(strings.ToUpper(uuid))
	if err != nil {
		return err
	}
	b := make([]byte, page)
	binary.NativeEndian.PutUint32(b[1024:], 1)
	binary.NativeEndian.PutUint32(b[1028:], uint32(min(d.size/page-1, 1<<32-1)))
	u := g.Bytes()
	copy(b[1036:1052], u[:])
	copy(b[1052:1068], label(name, 15))
	copy(b[page-10:], "SWAPSPACE2")
	if _, err := d.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write the swap header of %s: %w", dev, err)
	}
	return d.Sync()
}

// Mount mounts the layout's file systems below dir, those above others first.
// The first of equal mount points (the first disk's ESP) is taken.
func (m *Made) Mount(dir string) ([]*Mounted, error) {
	vs := slices.Clone(m.Volumes)
	slices.SortStableFunc(vs, func(a, b Volume) int {
		return cmp.Compare(strings.Count(a.Mount, "/")+min(len(a.Mount), 2), strings.Count(b.Mount, "/")+min(len(b.Mount), 2))
	})
	var out []*Mounted
	done := map[string]bool{"": true}
	for _, v := range vs {
		if done[v.Mount] {
			continue
		}
		done[v.Mount] = true
		mm, err := Mount(v.Device, v.FS, filepath.Join(dir, v.Mount), 0)
		if err != nil {
			return out, err
		}
		out = append(out, mm)
	}
	return out, nil
}

// Fstab is the layout's fstab(5). A server does not wait for an ESP that is not
// there: with RAID1 it may be gone with its disk, while the other carries on.
func (m *Made) Fstab() string {
	var b strings.Builder
	b.WriteString("# Made by Gantry.\n")
	done := map[string]bool{}
	for _, v := range m.Volumes {
		options, pass := "defaults", 2
		switch {
		case v.FS == "swap":
			fmt.Fprintf(&b, "UUID=%s none swap sw 0 0\n", v.UUID)
			continue
		case v.Mount == "" || done[v.Mount]:
			continue
		case v.Mount == "/":
			pass = 1
		case v.Use == "esp":
			options = "umask=0077,nofail,x-systemd.device-timeout=10s"
		}
		done[v.Mount] = true
		fmt.Fprintf(&b, "UUID=%s %s %s %s 0 %d\n", v.UUID, v.Mount, v.FS, options, pass)
	}
	return b.String()
}
