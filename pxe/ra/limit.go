package ra

import "time"

// Answers a second: to one address (iPXE asks a few times at most), and in all.
const (
	perAsker = 4
	inTotal  = 200
)

// limit counts answers within a second. It is used by one goroutine.
type limit struct {
	now    func() time.Time
	second int64
	total  int
	askers map[[6]byte]int // never more than inTotal
}

func newLimit(now func() time.Time) *limit { return &limit{now: now, askers: map[[6]byte]int{}} }

// allow reports whether mac may be answered, and counts it if so.
func (l *limit) allow(mac [6]byte) bool {
	if s := l.now().Unix(); s != l.second {
		l.second, l.total = s, 0
		clear(l.askers)
	}
	if l.total >= inTotal || l.askers[mac] >= perAsker {
		return false
	}
	l.total++
	l.askers[mac]++
	return true
}
