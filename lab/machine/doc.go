// Package machine emulates one physical computer with QEMU: a [Machine] has
// feeds instead of a start button. While at least one feed is on, a QEMU runs;
// when the last one goes off, it is killed at once, as by a pulled plug, and
// what it had written to its disks stays.
//
// A machine whose guest powers off stays off, and one whose QEMU dies stays
// failed, until its power is cut and comes back. A guest's reboot is QEMU's own
// affair and keeps the process.
package machine
