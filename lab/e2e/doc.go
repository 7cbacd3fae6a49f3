// Package e2e holds the tests of the whole thing on the real thing: real
// firmware, real disks and real protocols, an appliance that is the program that
// is shipped, and a PDU that really switches the machines. It has no code of its
// own. `make test` runs it after `make build`.
package e2e
