// Package device is the vocabulary that both sides of the driver contract
// speak in Go: what a vendor's driver returns and what the appliance gets.
// It holds plain values and their translation to and from gantry.plugin.v1,
// and nothing that acts.
package device
