// Package lab emulates a whole pod on one Linux machine: QEMU machines that
// live while their outlet is on, a PDU that really powers them and answers
// SNMP, and a layer-2 network of their own in which the appliance runs.
//
//	lab, err := lab.Up(ctx, lab.Config{Name: "demo", StateDir: dir, Machines: lab.Machines("demo", 2, "mixed")})
//	defer lab.Close(ctx)
//	lab.Outlet(1).Set(true)
//	lab.Machine("m1").Console().Wait(ctx, regexp.MustCompile("login:"))
//
// What always holds: at most one lab has a name, and whoever has it holds a
// lock that the kernel drops with the process. Every process that a lab starts
// dies with it, however it dies. What a killed lab leaves behind (namespaces,
// sockets, files) is known from its record, and the next [Up] of that name or
// [Sweep] removes it and nothing else.
//
// A lab needs root, and Debian's packages iproute2, nftables, qemu-system-x86
// and ovmf.
package lab
