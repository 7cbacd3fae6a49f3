package pdu

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/gosnmp/gosnmp"
)

// The counters of SNMP-USER-BASED-SM-MIB (RFC 3414 section 5) that a report
// names.
const (
	unsupportedSecLevels = ".1.3.6.1.6.3.15.1.1.1.0"
	notInTimeWindows     = ".1.3.6.1.6.3.15.1.1.2.0"
	unknownUserNames     = ".1.3.6.1.6.3.15.1.1.3.0"
	unknownEngineIDs     = ".1.3.6.1.6.3.15.1.1.4.0"
	wrongDigests         = ".1.3.6.1.6.3.15.1.1.5.0"
)

// timeWindow is how far the asker's clock may be off, RFC 3414 section 2.2.3.
const timeWindow = 150

// usm is the user-based security model of one engine.
type usm struct {
	engine string
	boots  uint32
	start  time.Time
	users  map[string]usmUser
	salt   atomic.Uint64
	counts map[string]*atomic.Uint32
}

type usmUser struct {
	level    gosnmp.SnmpV3MsgFlags
	readOnly bool
	params   *gosnmp.UsmSecurityParameters // with the keys made
}

func newUSM(users []User, boots uint32, start time.Time) (*usm, error) {
	seed := make([]byte, 16)
	if _, err := rand.Read(seed); err != nil {
		return nil, fmt.Errorf("make an engine ID: %w", err)
	}
	u := &usm{
		// RFC 3411 section 5: the enterprise, APC's 318, with the first bit
		// set; 5 says that bytes of our own choice follow.
		engine: string(append([]byte{0x80, 0x00, 0x01, 0x3e, 5}, seed[:8]...)),
		boots:  boots, start: start, users: map[string]usmUser{}, counts: map[string]*atomic.Uint32{},
	}
	u.salt.Store(binary.BigEndian.Uint64(seed[8:]))
	for _, name := range []string{unsupportedSecLevels, notInTimeWindows, unknownUserNames, unknownEngineIDs, wrongDigests} {
		u.counts[name] = &atomic.Uint32{}
	}
	for _, user := range users {
		prepared, err := u.prepare(user)
		if err != nil {
			return nil, fmt.Errorf("SNMPv3 user %q: %w", user.Name, err)
		}
		u.users[user.Name] = prepared
	}
	return u, nil
}

func (u *usm) prepare(user User) (usmUser, error) {
	p := &gosnmp.UsmSecurityParameters{UserName: user.Name, AuthoritativeEngineID: u.engine,
		AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv}
	level := gosnmp.NoAuthNoPriv
	switch {
	case user.Name == "":
		return usmUser{}, errors.New("a name is needed")
	case user.PrivPassword != "" && user.AuthPassword == "":
		return usmUser{}, errors.New("privacy needs authentication")
	case user.AuthPassword != "" && len(user.AuthPassword) < 8, user.PrivPassword != "" && len(user.PrivPassword) < 8:
		return usmUser{}, errors.New("a password needs 8 characters (RFC 3414 section 11.2)")
	}
	if user.AuthPassword != "" {
		level = gosnmp.AuthNoPriv
		p.AuthenticationProtocol, p.AuthenticationPassphrase = gosnmp.SHA, user.AuthPassword
	}
	if user.PrivPassword != "" {
		level = gosnmp.AuthPriv
		p.PrivacyProtocol, p.PrivacyPassphrase = gosnmp.AES, user.PrivPassword
	}
	return usmUser{level: level, readOnly: user.ReadOnly, params: p}, p.InitSecurityKeys()
}

// now is snmpEngineTime.
func (u *usm) now() uint32 { return uint32(time.Since(u.start) / time.Second) }

// seal makes the security parameters of an answer to a user.
func (u *usm) seal(user usmUser) *gosnmp.UsmSecurityParameters {
	p := user.params.Copy().(*gosnmp.UsmSecurityParameters)
	p.AuthoritativeEngineBoots, p.AuthoritativeEngineTime = u.boots, u.now()
	p.PrivacyParameters = binary.BigEndian.AppendUint64(nil, u.salt.Add(1))
	return p
}

// report makes a report PDU, RFC 3414 section 3.2: the asker learns what is
// wrong, and our engine's ID and time with it. Only notInTimeWindows is
// authenticated.
func (u *usm) report(asked *gosnmp.SnmpPacket, counter string, user *usmUser) *gosnmp.SnmpPacket {
	r := &gosnmp.SnmpPacket{
		Version: gosnmp.Version3, SecurityModel: gosnmp.UserSecurityModel, MsgID: asked.MsgID, RequestID: asked.RequestID,
		PDUType: gosnmp.Report, ContextEngineID: u.engine, MsgFlags: gosnmp.NoAuthNoPriv,
		SecurityParameters: &gosnmp.UsmSecurityParameters{AuthoritativeEngineID: u.engine, AuthoritativeEngineBoots: u.boots,
			AuthoritativeEngineTime: u.now(), AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv},
		Variables: []gosnmp.SnmpPDU{{Name: counter, Type: gosnmp.Counter32, Value: u.counts[counter].Add(1)}},
	}
	if user != nil {
		r.MsgFlags = user.level & gosnmp.AuthNoPriv
		r.SecurityParameters = u.seal(*user)
	}
	return r
}

// answerV3 admits a version 3 message by RFC 3414 section 3.2 and answers it.
// header is the message as far as it could be read without keys.
func (a *Agent) answerV3(from net.Addr, datagram []byte, header *gosnmp.SnmpPacket) (reply []byte, isSet bool) {
	claimed, ok := header.SecurityParameters.(*gosnmp.UsmSecurityParameters)
	if !ok || header.SecurityModel != gosnmp.UserSecurityModel {
		return nil, false
	}
	refuse := func(counter string) ([]byte, bool) {
		if discovery := counter == unknownEngineIDs && claimed.UserName == ""; !discovery {
			a.trace(from, header, false)
		}
		return a.fit(header, a.usm.report(header, counter, nil)), false
	}
	if claimed.AuthoritativeEngineID != a.usm.engine {
		return refuse(unknownEngineIDs)
	}
	user, known := a.usm.users[claimed.UserName]
	if !known {
		return refuse(unknownUserNames)
	}
	if header.MsgFlags&gosnmp.AuthPriv != user.level {
		return refuse(unsupportedSecLevels)
	}
	packet := header
	if user.level != gosnmp.NoAuthNoPriv {
		opener := &gosnmp.GoSNMP{Version: gosnmp.Version3, SecurityModel: gosnmp.UserSecurityModel, MsgFlags: user.level, SecurityParameters: user.params.Copy()}
		// The name is of its first use: it opens any message by its own
		// flags, with the digest checked before anything is decrypted.
		opened, err := opener.UnmarshalTrap(append([]byte(nil), datagram...), true)
		if err != nil {
			return refuse(wrongDigests)
		}
		packet = opened
		if !a.usm.inWindow(claimed) {
			a.trace(from, packet, false)
			return a.fit(packet, a.usm.report(packet, notInTimeWindows, &user)), false
		}
	}
	a.trace(from, packet, true)
	response := a.respond(request{packet, !user.readOnly})
	if response == nil {
		return nil, false
	}
	response.MsgID, response.MsgFlags, response.SecurityModel = packet.MsgID, user.level, gosnmp.UserSecurityModel
	response.ContextEngineID, response.ContextName = a.usm.engine, packet.ContextName
	response.SecurityParameters = a.usm.seal(user)
	return a.fit(packet, response), packet.PDUType == gosnmp.SetRequest
}

// inWindow is RFC 3414 section 3.2 (7a).
func (u *usm) inWindow(claimed *gosnmp.UsmSecurityParameters) bool {
	off := int64(u.now()) - int64(claimed.AuthoritativeEngineTime)
	return claimed.AuthoritativeEngineBoots == u.boots && off >= -timeWindow && off <= timeWindow
}
