package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// load is one run.
type load struct {
	o        options
	fd       int
	in       *batch
	out      *batch
	template [packetLen]byte
	epoch    uint32
	sent     []int64 // by exchange, nanoseconds since the start; negative once acknowledged
	took     []float64
	r        result
	start    time.Time
}

const (
	packetLen = 300
	batchLen  = 128
)

func newLoad(o options) (*load, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(o.relay.Port()), Addr: o.relay.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("bind %v: %w", o.relay, err)
	}
	l := &load{o: o, fd: fd, in: newBatch(batchLen, nil), out: newBatch(batchLen, &o.server), epoch: rand.Uint32()}
	l.sent = make([]int64, int(float64(o.rate)*o.period.Seconds())+batchLen)
	l.took = make([]float64, 0, len(l.sent))
	l.r.Rate = o.rate
	giaddr := o.relay.Addr().As4()
	t := l.template[:]
	t[0], t[1], t[2], t[3] = 1, 1, 6, 1
	copy(t[24:], giaddr[:])
	copy(t[236:], []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 1})
	return l, nil
}

// run begins exchanges on schedule and answers what comes, until the period and
// the wait are over.
func (l *load) run() (result, error) {
	l.start = time.Now()
	period, end := l.o.period.Nanoseconds(), (l.o.period + l.o.wait).Nanoseconds()
	total := int(float64(l.o.rate) * l.o.period.Seconds())
	begun := 0
	for {
		now := time.Since(l.start).Nanoseconds()
		if now >= end || begun == total && l.r.Completed+l.r.Refused == total {
			break
		}
		if due := min(total, int(float64(l.o.rate)*float64(now)/1e9)); now < period && begun < due {
			n := min(due-begun, batchLen)
			for i := range n {
				l.discover(l.out.slot(i), begun+i, now)
			}
			if err := l.out.send(l.fd, n); err != nil {
				return l.r, err
			}
			begun += n
		}
		n, err := l.in.receive(l.fd)
		if err != nil {
			return l.r, err
		}
		if n > 0 {
			if err := l.answer(n, now < period); err != nil {
				return l.r, err
			}
			continue
		}
		if begun >= int(float64(l.o.rate)*float64(now)/1e9) {
			time.Sleep(100 * time.Microsecond)
		}
	}
	l.r.Begun = begun
	l.account(total)
	return l.r, nil
}

func (l *load) account(total int) {
	r := &l.r
	r.PerSecond = float64(r.InTime) / l.o.period.Seconds()
	if r.Begun > 0 {
		r.Lost = 1 - float64(r.Completed)/float64(r.Begun)
	}
	r.Behind = 1 - float64(r.Begun)/float64(max(total, 1))
	slices.Sort(l.took)
	if n := len(l.took); n > 0 {
		r.P50, r.P99 = l.took[n/2], l.took[n*99/100]
	}
}

// discover writes the first packet of exchange i.
func (l *load) discover(b []byte, i int, now int64) {
	copy(b, l.template[:])
	binary.BigEndian.PutUint32(b[4:], l.epoch+uint32(i))
	id := uint32((i + l.o.first) % l.o.clients)
	b[28], b[29] = 0x02, 0x64
	binary.BigEndian.PutUint32(b[30:], id)
	b[243] = 255
	l.sent[i] = now
}

// answer takes n packets: an OFFER is answered, an ACK counted.
func (l *load) answer(n int, inTime bool) error {
	now := time.Since(l.start).Nanoseconds()
	k := 0
	for i := range n {
		b := l.in.packet(i)
		if len(b) < 243 || b[0] != 2 {
			continue
		}
		x := int(binary.BigEndian.Uint32(b[4:]) - l.epoch)
		if x < 0 || x >= len(l.sent) {
			continue
		}
		typ, server := replyOptions(b[240:])
		switch typ {
		case 2:
			l.r.Offered++
			l.request(l.out.slot(k), b, server)
			k++
		case 5:
			if l.sent[x] < 0 {
				continue
			}
			l.took = append(l.took, float64(now-l.sent[x])/1e6)
			l.sent[x] = -1
			l.r.Completed++
			if inTime {
				l.r.InTime++
			}
		case 6:
			l.r.Refused++
		}
	}
	return l.out.send(l.fd, k)
}

// request writes the answer to an offer.
func (l *load) request(b, offer []byte, server []byte) {
	copy(b, l.template[:])
	copy(b[4:8], offer[4:8])
	copy(b[28:34], offer[28:34])
	b[242] = 3
	o := append(b[243:243], 50, 4)
	o = append(o, offer[16:20]...)
	o = append(o, 54, 4)
	o = append(o, server...)
	_ = append(o, 255)
}

// replyOptions returns the message type and the server identifier.
func replyOptions(b []byte) (typ byte, server []byte) {
	for len(b) > 1 && b[0] != 255 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		if len(b) < 2+int(b[1]) {
			return typ, server
		}
		v := b[2 : 2+int(b[1])]
		switch b[0] {
		case 53:
			typ = v[0]
		case 54:
			server = v
		}
		b = b[2+len(v):]
	}
	return typ, server
}
