package snmp

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/gantry-pod/gantry/plugins/device"
)

//go:embed schema.json
var schema []byte

// snmpPort is where agents listen, RFC 3417 section 3.2.
const snmpPort = 161

// config is a target's configuration; schema.json documents it.
type config struct {
	Version        string `json:"version"`
	Community      string `json:"community"`
	WriteCommunity string `json:"write_community"`
	User           string `json:"user"`
	AuthProtocol   string `json:"auth_protocol"`
	AuthPassword   string `json:"auth_password"`
	PrivProtocol   string `json:"priv_protocol"`
	PrivPassword   string `json:"priv_password"`
	Context        string `json:"context"`
	TimeoutMS      int    `json:"timeout_ms"`
	Retries        int    `json:"retries"`
	SettleMS       int    `json:"settle_ms"`

	host string
	port uint16
}

// parseTarget reads a target's address and configuration. Its errors quote no
// value of the configuration.
func parseTarget(t device.Target) (config, error) {
	c := config{Version: "2c", AuthProtocol: "SHA", PrivProtocol: "AES", TimeoutMS: 1000, Retries: 2, SettleMS: 1500}
	if len(t.Config) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(t.Config))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&c); err != nil {
			return config{}, fmt.Errorf("not a configuration: %w", hideValues(err))
		}
	}
	if err := c.check(); err != nil {
		return config{}, err
	}
	if c.WriteCommunity == "" {
		c.WriteCommunity = c.Community
	}
	return c, c.setAddress(t.Address)
}

// hideValues keeps a JSON error from quoting what it met.
func hideValues(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("key %q must be a %s", e.Field, e.Type)
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("not JSON")
	}
	return err // an unknown key, by name
}

func (c *config) check() error {
	switch c.Version {
	case "1", "2c":
		if c.Community == "" {
			return errors.New("a community is needed for SNMP version " + c.Version)
		}
	case "3":
		if c.User == "" {
			return errors.New("a user is needed for SNMP version 3")
		}
	default:
		return errors.New("version must be 1, 2c or 3")
	}
	if c.PrivPassword != "" && c.AuthPassword == "" {
		return errors.New("encryption needs authentication: set auth_password")
	}
	if authProtocols()[c.AuthProtocol] == 0 || privProtocols()[c.PrivProtocol] == 0 {
		return errors.New("unknown auth_protocol or priv_protocol")
	}
	if len(c.Community) > 120 || len(c.WriteCommunity) > 120 {
		return errors.New("a community may have 120 characters")
	}
	if c.TimeoutMS < 50 || c.TimeoutMS > 10000 || c.Retries < 0 || c.Retries > 10 || c.SettleMS < 0 || c.SettleMS > 60000 {
		return errors.New("timeout_ms, retries or settle_ms is out of range")
	}
	return nil
}

func (c *config) setAddress(address string) error {
	c.host, c.port = address, snmpPort
	if host, port, err := net.SplitHostPort(address); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("address %q: not a port", address)
		}
		c.host, c.port = host, uint16(n)
	}
	if c.host == "" {
		return fmt.Errorf("address %q: a host is needed", address)
	}
	return nil
}

func (c *config) settle() time.Duration { return time.Duration(c.SettleMS) * time.Millisecond }

// client makes a gosnmp client that is not connected yet.
func (c *config) client() *gosnmp.GoSNMP {
	g := &gosnmp.GoSNMP{
		Target: c.host, Port: c.port, Community: c.Community, Version: gosnmp.Version2c,
		Timeout: time.Duration(c.TimeoutMS) * time.Millisecond, Retries: c.Retries, MaxOids: maxVars,
	}
	switch c.Version {
	case "1":
		g.Version = gosnmp.Version1
	case "3":
		c.secure(g)
	}
	return g
}

// secure sets up the user-based security model, RFC 3414.
func (c *config) secure(g *gosnmp.GoSNMP) {
	usm := &gosnmp.UsmSecurityParameters{UserName: c.User, AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv}
	g.Version, g.SecurityModel, g.ContextName, g.MsgFlags = gosnmp.Version3, gosnmp.UserSecurityModel, c.Context, gosnmp.NoAuthNoPriv
	if c.AuthPassword != "" {
		g.MsgFlags = gosnmp.AuthNoPriv
		usm.AuthenticationProtocol, usm.AuthenticationPassphrase = authProtocols()[c.AuthProtocol], c.AuthPassword
	}
	if c.PrivPassword != "" {
		g.MsgFlags = gosnmp.AuthPriv
		usm.PrivacyProtocol, usm.PrivacyPassphrase = privProtocols()[c.PrivProtocol], c.PrivPassword
	}
	g.SecurityParameters = usm
}

func authProtocols() map[string]gosnmp.SnmpV3AuthProtocol {
	return map[string]gosnmp.SnmpV3AuthProtocol{"MD5": gosnmp.MD5, "SHA": gosnmp.SHA, "SHA224": gosnmp.SHA224,
		"SHA256": gosnmp.SHA256, "SHA384": gosnmp.SHA384, "SHA512": gosnmp.SHA512}
}

func privProtocols() map[string]gosnmp.SnmpV3PrivProtocol {
	return map[string]gosnmp.SnmpV3PrivProtocol{"DES": gosnmp.DES, "AES": gosnmp.AES, "AES192": gosnmp.AES192,
		"AES256": gosnmp.AES256, "AES192C": gosnmp.AES192C, "AES256C": gosnmp.AES256C}
}
