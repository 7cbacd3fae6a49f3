package machine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// monitorTimeout bounds one command to QEMU, in wall time; a QEMU that is
// starved of CPU by its neighbours answers late.
const monitorTimeout = 20 * time.Second

// SetUnplugged pulls the network cables, or puts them back: the guest sees its
// links go down. The lab cuts the taps as well, which holds without a QEMU.
func (m *Machine) SetUnplugged(ctx context.Context, unplugged bool) error {
	m.update(func() { m.status.Unplugged = unplugged })
	return m.impose(ctx)
}

// SetDiskSpeed holds each disk to that many bytes a second, reads and writes
// together; 0 lets go. It holds at once and after every power-on.
func (m *Machine) SetDiskSpeed(ctx context.Context, bytesPerSecond int64) error {
	if bytesPerSecond < 0 {
		return fmt.Errorf("disk speed %d: want 0 or more bytes a second", bytesPerSecond)
	}
	m.update(func() { m.status.DiskBytesPerSecond = bytesPerSecond })
	return m.impose(ctx)
}

// SetHang makes the firmware hang from the next power-on on: QEMU starts with
// its processors stopped. Letting go does not revive a machine that hangs; its
// power must be cut, as in life.
func (m *Machine) SetHang(hang bool) {
	m.update(func() { m.status.Hang = hang })
}

// impose brings the running QEMU in line with the faults that are set. One that
// does not run, or not yet, gets them when it starts.
func (m *Machine) impose(ctx context.Context) error {
	m.mu.Lock()
	conn, want := m.qmp, m.status
	m.mu.Unlock()
	if conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, monitorTimeout)
	defer cancel()
	var errs []error
	for i := range m.spec.NICs {
		errs = append(errs, conn.Execute(ctx, "set_link", map[string]any{
			"name": fmt.Sprintf("nic%d", i), "up": !want.Unplugged,
		}, nil))
	}
	for i := range m.spec.Disks {
		errs = append(errs, conn.Execute(ctx, "block_set_io_throttle", map[string]any{
			"device": driveID(i), "bps": want.DiskBytesPerSecond, "bps_rd": 0, "bps_wr": 0,
			"iops": 0, "iops_rd": 0, "iops_wr": 0,
		}, nil))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("machine %s: %w", m.spec.Name, err)
	}
	return nil
}

// DiskSpeeds asks QEMU what each disk is held to, in bytes a second, 0 for no
// bound. It fails for a machine that does not run.
func (m *Machine) DiskSpeeds(ctx context.Context) ([]int64, error) {
	m.mu.Lock()
	conn := m.qmp
	m.mu.Unlock()
	if conn == nil {
		return nil, fmt.Errorf("machine %s has no monitor now", m.spec.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, monitorTimeout)
	defer cancel()
	var blocks []struct {
		Device   string
		Inserted struct{ BPS int64 }
	}
	if err := conn.Execute(ctx, "query-block", nil, &blocks); err != nil {
		return nil, fmt.Errorf("machine %s: %w", m.spec.Name, err)
	}
	speeds := make([]int64, len(m.spec.Disks))
	for i := range speeds {
		for _, b := range blocks {
			if b.Device == driveID(i) {
				speeds[i] = b.Inserted.BPS
			}
		}
	}
	return speeds, nil
}
