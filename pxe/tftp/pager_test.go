package tftp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// halfway is a File of which a part is at hand at any time.
type halfway struct {
	*bytes.Reader
	hand func(want int) int
}

func (halfway) Close() error { return nil }

func (f halfway) ReadAtNow(p []byte, off int64) int {
	n, err := f.ReadAt(p[:f.hand(len(p))], off)
	if err != nil && err != io.EOF {
		return 0
	}
	return n
}

// TestPager: the packets are the file's whether its parts were waited for or not.
func TestPager(t *testing.T) {
	pool := sync.Pool{New: func() any { return new(pageBuf) }}
	r := rand.New(rand.NewPCG(1, 2))
	hands := map[string]func(int) int{
		"nothing at hand": func(int) int { return 0 },
		"all at hand":     func(want int) int { return want },
		"some at hand":    func(want int) int { return r.IntN(want + 1) },
		"now and then":    func(want int) int { return want * r.IntN(2) },
	}
	for name, hand := range hands {
		for _, size := range []int{0, 1, 511, 512, 513, 100_000, pageBytes / 516 * 512, 1_000_000} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(r.Uint32())
				}
				p := newPager(halfway{bytes.NewReader(data), hand}, 512, false, &pool)
				var got []byte
				block, waited, prompt := uint64(1), 0, 0
				for last := false; !last; {
					pg := p.fillNow()
					if pg != nil {
						prompt++
					} else {
						var err error
						if pg, err = p.fill(); err != nil {
							t.Fatal(err)
						}
						waited++
					}
					packets, n := pg.run(pg.first, int(pg.n), 516)
					if pg.first != block || uint64(n) != pg.n {
						t.Fatalf("page of %d packets from %d, want from %d", n, pg.first, block)
					}
					for ; n > 0; n, block = n-1, block+1 {
						packet := packets[:min(516, len(packets))]
						packets = packets[len(packet):]
						if op, b := binary.BigEndian.Uint16(packet), binary.BigEndian.Uint16(packet[2:]); op != opData || b != uint16(block) {
							t.Fatalf("packet %d has opcode %d and number %d", block, op, b)
						}
						got = append(got, packet[4:]...)
					}
					last = pg.final
					p.free(pg)
				}
				if !bytes.Equal(got, data) || block != uint64(size/512+2) {
					t.Errorf("got %d bytes in %d packets, want %d in %d, the same", len(got), block-1, size, size/512+1)
				}
				if name == "all at hand" && waited > 0 || name == "nothing at hand" && size > 0 && (waited == 0 || size%512 != 0 && prompt > 0) {
					t.Errorf("%d pages were waited for, %d not", waited, prompt)
				}
			})
		}
	}
}
