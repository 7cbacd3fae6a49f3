package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Operation codes, RFC 1350 section 5 and RFC 2347.
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOAck  = 6
)

// ErrorCode is the code of an ERROR packet (RFC 1350 section 5, RFC 2347).
type ErrorCode uint16

// The codes that this server sends.
const (
	CodeUndefined   ErrorCode = 0
	CodeNotFound    ErrorCode = 1
	CodeAccess      ErrorCode = 2
	CodeIllegal     ErrorCode = 4
	CodeNegotiation ErrorCode = 8
)

// headerLen is the length of a DATA or ACK header: operation and block.
const headerLen = 4

// maxRequest is the longest request packet (RFC 2347, "Packet Formats").
const maxRequest = 512

// Error is a refusal that is sent to the client as an ERROR packet.
type Error struct {
	Code    ErrorCode
	Message string // what the person at the machine's console reads
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("tftp error %d: %s", e.Code, e.Message) }

// errNotRequest marks a packet to the listening port that is no request and
// deserves no answer: answering ERRORs or ACKs would let two servers talk to
// each other for ever.
var errNotRequest = errors.New("not a request")

// option is one name and value of a request, name in lower case.
type option struct{ name, value string }

// request is a parsed read request.
type request struct {
	name    string
	ascii   bool // netascii rather than octet
	options []option
}

// parseRequest reads a packet that came to the listening port. The error is an
// *Error if the client is to be told, and wraps errNotRequest if not.
func parseRequest(p []byte) (request, error) {
	var r request
	if len(p) < 2 {
		return r, fmt.Errorf("%d bytes: %w", len(p), errNotRequest)
	}
	switch op := binary.BigEndian.Uint16(p); op {
	case opRead:
	case opWrite:
		return r, &Error{CodeAccess, "this server is read-only"}
	default:
		return r, fmt.Errorf("operation %d: %w", op, errNotRequest)
	}
	if len(p) > maxRequest {
		return r, &Error{CodeIllegal, "request longer than 512 bytes"}
	}
	fields, err := splitFields(p[2:])
	if err != nil {
		return r, err
	}
	if len(fields) < 2 || fields[0] == "" {
		return r, &Error{CodeIllegal, "request without a file name and mode"}
	}
	r.name = fields[0]
	switch mode := strings.ToLower(fields[1]); mode {
	case "octet":
	case "netascii":
		r.ascii = true
	default:
		return r, &Error{CodeIllegal, "transfer mode is neither octet nor netascii"}
	}
	r.options, err = pairOptions(fields[2:])
	return r, err
}

// splitFields cuts the NUL-terminated strings of a request apart.
func splitFields(p []byte) ([]string, error) {
	if len(p) == 0 || p[len(p)-1] != 0 {
		return nil, &Error{CodeIllegal, "request not terminated"}
	}
	parts := bytes.Split(p[:len(p)-1], []byte{0})
	fields := make([]string, len(parts))
	for i, f := range parts {
		fields[i] = string(f)
	}
	return fields, nil
}

// pairOptions turns name, value, name, value … into options. A name may come
// once (RFC 2347: "An option can only be specified once"). Firmware that pads
// its request with NULs is forgiven: an empty name ends the options.
func pairOptions(fields []string) ([]option, error) {
	var options []option
	for i := 0; i < len(fields) && fields[i] != ""; i += 2 {
		if i+1 == len(fields) {
			return nil, &Error{CodeNegotiation, "option without a value"}
		}
		o := option{strings.ToLower(fields[i]), fields[i+1]}
		for _, seen := range options {
			if seen.name == o.name {
				return nil, &Error{CodeNegotiation, "option given twice"}
			}
		}
		options = append(options, o)
	}
	return options, nil
}

// appendOAck appends an option acknowledgement (RFC 2347).
func appendOAck(b []byte, options []option) []byte {
	b = binary.BigEndian.AppendUint16(b, opOAck)
	for _, o := range options {
		b = append(append(b, o.name...), 0)
		b = append(append(b, o.value...), 0)
	}
	return b
}

// appendError appends an ERROR packet.
func appendError(b []byte, e *Error) []byte {
	b = binary.BigEndian.AppendUint16(b, opError)
	b = binary.BigEndian.AppendUint16(b, uint16(e.Code))
	return append(append(b, e.Message...), 0)
}
