// Package appliance runs a pod: it serves DHCP, TFTP and HTTP boot, keeps the
// inventory and the image library, and carries change requests out on the pod's
// machines. [Run] is the daemon; wire.go builds it in one straight line.
//
// The appliance needs nobody else: with its uplink cut, machines boot, are
// deployed, restarted and released. Everything that must survive is in its state
// directory, synced before it is acknowledged, and work that was in progress
// when it stopped is resumed when it starts.
package appliance
