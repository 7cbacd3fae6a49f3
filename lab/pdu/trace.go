package pdu

import (
	"net"
	"time"
)

// Event is one SNMP message that asked for something.
type Event struct {
	Time    time.Time
	From    net.Addr
	Version string // 1, 2c, 3
	Op      string // get, get-next, get-bulk, set
	// Admitted is false if the community, user or right was refused.
	Admitted bool
	Vars     []Var
}

// Var is one variable asked for or set.
type Var struct {
	OID   string // without the first dot
	Value any    // what is to be set; nil in a read
}
