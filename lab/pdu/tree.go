package pdu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gosnmp/gosnmp"
)

// value is an object's value as the encoder takes it.
type value struct {
	kind gosnmp.Asn1BER
	data any
}

// leaf is one object instance. Without set it is read only; check says whether
// a value may be set.
type leaf struct {
	get   func() value
	check func(int) bool
	set   func(int) gosnmp.SNMPError
}

type node struct {
	oid []uint32
	leaf
}

// tree is all object instances in the order of their identifiers.
type tree []node

// treeBuilder collects objects; its first error is kept.
type treeBuilder struct {
	nodes tree
	err   error
}

func (b *treeBuilder) add(oid string, l leaf) {
	parsed, err := parseOID(oid)
	if err != nil && b.err == nil {
		b.err = err
	}
	b.nodes = append(b.nodes, node{parsed, l})
}

func (b *treeBuilder) text(oid, s string) {
	b.add(oid, leaf{get: func() value { return value{gosnmp.OctetString, s} }})
}

func (b *treeBuilder) number(oid string, n int) {
	b.add(oid, leaf{get: func() value { return value{gosnmp.Integer, n} }})
}

func (b *treeBuilder) tree() (tree, error) {
	slices.SortFunc(b.nodes, func(x, y node) int { return slices.Compare(x.oid, y.oid) })
	return b.nodes, b.err
}

// parseOID reads a dotted object identifier, with or without the first dot.
func parseOID(s string) ([]uint32, error) {
	parts := strings.Split(strings.TrimPrefix(s, "."), ".")
	oid := make([]uint32, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("object identifier %q: %w", s, err)
		}
		oid[i] = uint32(n)
	}
	return oid, nil
}

func formatOID(oid []uint32) string {
	var b strings.Builder
	for _, n := range oid {
		b.WriteByte('.')
		b.WriteString(strconv.FormatUint(uint64(n), 10))
	}
	return b.String()
}

// at returns the object with this identifier.
func (t tree) at(oid []uint32) (node, bool) {
	i, found := slices.BinarySearchFunc(t, oid, compareNode)
	if !found {
		return node{}, false
	}
	return t[i], true
}

// next returns the first object after this identifier.
func (t tree) next(oid []uint32) (node, bool) {
	i, found := slices.BinarySearchFunc(t, oid, compareNode)
	if found {
		i++
	}
	if i >= len(t) {
		return node{}, false
	}
	return t[i], true
}

// column says whether any object has the identifier's column: what makes the
// difference between noSuchInstance and noSuchObject.
func (t tree) column(oid []uint32) bool {
	if len(oid) < 2 {
		return false
	}
	n, ok := t.next(oid[:len(oid)-1])
	return ok && slices.Equal(n.oid[:min(len(n.oid), len(oid)-1)], oid[:len(oid)-1])
}

func compareNode(n node, oid []uint32) int { return slices.Compare(n.oid, oid) }

func (n node) variable() gosnmp.SnmpPDU {
	v := n.get()
	return gosnmp.SnmpPDU{Name: formatOID(n.oid), Type: v.kind, Value: v.data}
}
