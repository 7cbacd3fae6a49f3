package dhcp

import "encoding/binary"

// Reply sizes in bytes, UDP payload.
const (
	minReply  = 300      // BOOTP's, which old relays and ROMs insist on (RFC 1542, section 2.1)
	safeReply = 576 - 28 // what every client takes (RFC 2131, section 2)
	maxReply  = 1500 - 28
)

// writer builds one reply in a buffer of maxReply bytes. An option for which
// there is no room is left out, so the important ones come first; room for the
// echoed relay option is kept from the start, as it has to be the last.
type writer struct {
	b     []byte
	n     int
	limit int
	relay []byte
}

// reply starts the answer to m: a fixed header that copies what has to be
// copied (RFC 2131, table 3).
func (w *writer) reply(buf []byte, m *message, typ byte) {
	b := buf[:offOpts]
	clear(b)
	b[offOp], b[offHtype], b[offHlen] = opReply, 1, 6
	copy(b[offXid:offSecs], m.raw[offXid:offSecs])
	copy(b[offFlags:offCiaddr], m.raw[offFlags:offCiaddr])
	copy(b[offGiaddr:offSname], m.raw[offGiaddr:offSname])
	binary.BigEndian.PutUint32(b[offCookie:], magicCookie)

	limit := safeReply
	if m.maxSize > 576 {
		limit = min(m.maxSize-28, maxReply)
	}
	*w = writer{b: buf, n: offOpts, limit: limit - 1, relay: m.relay}
	if m.relay != nil {
		w.limit -= 2 + len(m.relay)
	}
	w.byte(optType, typ)
}

// space returns the value of a new option to be filled in, or nil where there
// is no room.
func (w *writer) space(code byte, n int) []byte {
	if n > 255 || w.n+2+n > w.limit {
		return nil
	}
	w.b[w.n], w.b[w.n+1] = code, byte(n)
	v := w.b[w.n+2 : w.n+2+n]
	w.n += 2 + n
	return v
}

func (w *writer) byte(code, v byte) {
	if s := w.space(code, 1); s != nil {
		s[0] = v
	}
}

func (w *writer) u32(code byte, v uint32) {
	if s := w.space(code, 4); s != nil {
		binary.BigEndian.PutUint32(s, v)
	}
}

func (w *writer) bytes(code byte, v []byte) { copy(w.space(code, len(v)), v) }
func (w *writer) text(code byte, v string)  { copy(w.space(code, len(v)), v) }

// bootFile names the boot file in its header field, where all firmware looks,
// and in option 67 if it is longer than that field.
func (w *writer) bootFile(name string) {
	if len(name) < offCookie-offFile {
		copy(w.b[offFile:offCookie], name)
		return
	}
	w.text(optBootFile, name)
}

func (w *writer) put32(off int, v uint32) { binary.BigEndian.PutUint32(w.b[off:], v) }

// finish ends the options, relay's last (RFC 3046, section 2.2), and returns
// the reply's length. A relay option that no reply could hold is left out, as
// that section permits.
func (w *writer) finish() int {
	if w.relay != nil {
		w.limit += 2 + len(w.relay)
		w.bytes(optRelay, w.relay)
	}
	w.b[w.n] = optEnd
	w.n++
	if w.n < minReply {
		clear(w.b[w.n:minReply])
		w.n = minReply
	}
	return w.n
}
