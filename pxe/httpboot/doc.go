// Package httpboot is what a booting machine talks to over HTTP: its boot
// script, the boot loaders and the netboot agent's kernel and initramfs, and
// whatever the caller mounts for images.
//
//	GET /boot/52-54-00-12-34-56.ipxe   the machine's script, as the Scripter plans it
//	GET /boot/loader/NAME              boot loaders, for UEFI HTTP boot
//	GET /boot/netboot/NAME             kernel and initramfs
//	    /images/...                    the caller's handler, at a limited rate
//
// It is plain HTTP, since firmware and iPXE speak nothing better: nothing here
// is secret but what the Scripter puts into a kernel's arguments for one
// machine. Files come with ranges, to GET and HEAD.
//
// What always holds: no value gets into a script that could end its line or
// have iPXE expand it; boot files are never slowed down for images; each
// client gets an equal share of the images' rate, however many connections it
// opens, and decisions about a script five times a second; a client that stops
// reading is dropped.
package httpboot
