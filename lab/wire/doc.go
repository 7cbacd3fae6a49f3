// Package wire is the cabling and the switch of an emulated pod: two network
// namespaces of the kernel, real layer-2 bridges between real Ethernet devices.
//
//	gl-NAME-wire                                gl-NAME-app
//	  t1n0 ─┐                                     prov0  (the appliance's)
//	  t2n0 ─┼─ bridge prov ── app-prov ═ veth ═══╝
//	        │
//	        └  bridge mgmt ── app-mgmt ═ veth ═══ mgmt0 10.78.0.1/24
//	           10.78.0.10/24 (the PDU's)
//
// So broadcasts, ARP, timeouts and a pulled cable are the kernel's own, and
// nothing of the host's network is touched: the two namespaces have no way out.
// A [Wire] owns both; closing it removes them with all that is in them.
package wire

// The addresses of a pod's two networks. Every lab has the same ones, since
// each is alone in its namespaces.
const (
	// ProvisioningNet is where machines boot; the appliance has [ApplianceProv].
	ProvisioningNet = "10.77.0.0/24"
	ApplianceProv   = "10.77.0.1/24"
	// ManagementNet is where the devices are; the appliance has [ApplianceMgmt].
	ManagementNet = "10.78.0.0/24"
	ApplianceMgmt = "10.78.0.1/24"
	// PDUAddr is the PDU's address in the management network.
	PDUAddr = "10.78.0.10/24"
)

// The names of the devices inside the namespaces.
const (
	// Prov and Mgmt are the bridges in the wire's namespace.
	Prov = "prov"
	Mgmt = "mgmt"
	// AppProv and AppMgmt are the appliance's interfaces in its namespace.
	AppProv = "prov0"
	AppMgmt = "mgmt0"
)
