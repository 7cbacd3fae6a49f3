// Gantry-driver-pdu-snmp drives power distribution units over SNMP. The
// appliance launches it; it is not to be run by hand.
package main

import (
	"github.com/gantry-pod/gantry/drivers/pdu/snmp"
	"github.com/gantry-pod/gantry/plugins/sdk"
)

func main() { sdk.Serve(snmp.Driver()) }
