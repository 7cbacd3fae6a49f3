// Package plugins is the home of the driver contract: proto/v1 defines it,
// device speaks it in Go, sdk is what a vendor imports, host launches and
// supervises drivers for the appliance, and conformance is the kit that every
// driver passes. Nothing here imports any other part of Gantry.
package plugins
