package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/goccy/go-yaml"

	"github.com/gantry-pod/gantry/lab/wire"
)

// secrets are a lab's own, made once for a state directory.
type secrets struct {
	ReadCommunity  string `json:"read_community"`
	WriteCommunity string `json:"write_community"`
}

// loadSecrets reads the secrets, or makes and keeps new ones.
func loadSecrets(path string) (s secrets, err error) {
	err = readJSON(path, &s)
	if errors.Is(err, os.ErrNotExist) {
		s = secrets{ReadCommunity: rand.Text(), WriteCommunity: rand.Text()}
		err = writeJSON(path, s)
	}
	return s, err
}

// The names that the inventory gives to things.
const (
	pduName   = "pdu1"
	pduDriver = "pdu-snmp"
	owner     = "gantry"
)

// inventory is the pod's assets in the form that the appliance imports.
type inventory struct {
	PDUs     []inventoryPDU     `json:"pdus"`
	Machines []inventoryMachine `json:"machines"`
}

type inventoryPDU struct {
	Name    string            `json:"name"`
	Driver  string            `json:"driver"`
	Address string            `json:"address"`
	Config  map[string]string `json:"config"`
}

type inventoryMachine struct {
	Name  string          `json:"name"`
	UUID  string          `json:"uuid"`
	MACs  []string        `json:"macs"`
	Power []inventoryFeed `json:"power"`
	Owner string          `json:"owner"`
}

type inventoryFeed struct {
	PDU    string `json:"pdu"`
	Outlet string `json:"outlet"`
}

// newInventory lists a lab's assets.
func newInventory(cfg Config, s secrets) inventory {
	inv := inventory{PDUs: []inventoryPDU{{
		Name: pduName, Driver: pduDriver, Address: pduEndpoint(),
		Config: map[string]string{
			"version": "2c", "community": s.ReadCommunity, "write_community": s.WriteCommunity,
		},
	}}}
	for _, m := range cfg.Machines {
		entry := inventoryMachine{Name: m.Name, UUID: m.UUID, Owner: owner}
		for _, nic := range m.NICs {
			entry.MACs = append(entry.MACs, nic.MAC)
		}
		for _, outlet := range m.Outlets {
			entry.Power = append(entry.Power, inventoryFeed{PDU: pduName, Outlet: strconv.Itoa(outlet)})
		}
		inv.Machines = append(inv.Machines, entry)
	}
	return inv
}

// pduEndpoint is the PDU's address and SNMP's port.
func pduEndpoint() string {
	ip, _, _ := net.ParseCIDR(wire.PDUAddr) // a constant
	return net.JoinHostPort(ip.String(), "161")
}

// InventoryPath is the inventory file that a lab writes, with its PDU's
// communities.
func (l *Lab) InventoryPath() string { return l.path("pod.yaml") }

// writeFiles writes what the appliance reads, and what the lab was asked for.
func (l *Lab) writeFiles() error {
	if err := os.MkdirAll(l.path("appliance"), 0o750); err != nil {
		return err
	}
	return errors.Join(
		writeYAML(l.InventoryPath(), newInventory(l.cfg, l.secrets)),
		writeYAML(askedPath(l.cfg.StateDir), l.asked),
		os.WriteFile(l.ApplianceConfigPath(), []byte(applianceConfig(l.applianceParams())), 0o600),
	)
}

// askedPath is where a lab keeps the configuration that it was brought up with.
func askedPath(stateDir string) string { return filepath.Join(stateDir, "lab.yaml") }

// AskedConfig reads the configuration that the lab in a state directory was
// brought up with.
func AskedConfig(stateDir string) (Config, error) {
	f, err := os.Open(askedPath(stateDir))
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	return DecodeConfig(f)
}

func writeYAML(path string, v any) error {
	text, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o600)
}
