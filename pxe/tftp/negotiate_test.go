package tftp

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNegotiate(t *testing.T) {
	b := bounds{block: 1468, window: 64, bytes: pageBytes, size: 5000}
	ascii := b
	ascii.size = -1
	jumbo := b
	jumbo.block = maxBlock
	plain := terms{block: 512, window: 1}
	for _, tc := range []struct {
		name    string
		bounds  bounds
		options []option
		want    terms
	}{
		{"none", b, nil, plain},
		{"unknown", b, []option{{"multicast", ""}}, plain},
		{"blksize", b, []option{{"blksize", "1024"}}, terms{block: 1024, window: 1, accept: []option{{"blksize", "1024"}}}},
		{"blksize over one frame", b, []option{{"blksize", "65464"}},
			terms{block: 1468, window: 1, capped: true, accept: []option{{"blksize", "1468"}}}},
		{"blksize 0", b, []option{{"blksize", "0"}}, plain},
		{"blksize 7", b, []option{{"blksize", "7"}}, plain},
		{"blksize 8", b, []option{{"blksize", "8"}}, terms{block: 8, window: 1, accept: []option{{"blksize", "8"}}}},
		{"blksize 65465", b, []option{{"blksize", "65465"}}, plain},
		{"blksize negative", b, []option{{"blksize", "-512"}}, plain},
		{"blksize overflow", b, []option{{"blksize", "18446744073709552128"}}, plain},
		{"blksize no number", b, []option{{"blksize", "512x"}}, plain},
		{"windowsize", b, []option{{"windowsize", "4"}}, terms{block: 512, window: 4, accept: []option{{"windowsize", "4"}}}},
		{"windowsize 0", b, []option{{"windowsize", "0"}}, plain},
		{"windowsize 65536", b, []option{{"windowsize", "65536"}}, plain},
		{"windowsize over ours", b, []option{{"windowsize", "65535"}}, terms{block: 512, window: 64, accept: []option{{"windowsize", "64"}}}},
		{"windowsize over a page", jumbo, []option{{"windowsize", "64"}, {"blksize", "65464"}},
			terms{block: 65464, window: 2, accept: []option{{"blksize", "65464"}, {"windowsize", "2"}}}},
		{"timeout", b, []option{{"timeout", "3"}}, terms{block: 512, window: 1, timeout: 3 * time.Second, accept: []option{{"timeout", "3"}}}},
		{"timeout 0", b, []option{{"timeout", "0"}}, plain},
		{"timeout 256", b, []option{{"timeout", "256"}}, plain},
		{"tsize", b, []option{{"tsize", "0"}}, terms{block: 512, window: 1, accept: []option{{"tsize", "5000"}}}},
		{"tsize of unknown size", ascii, []option{{"tsize", "0"}}, plain},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := negotiate(tc.options, tc.bounds)
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(terms{}, option{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSender(t *testing.T) {
	type step struct {
		ack    uint16
		want   verdict
		first  uint64 // what may be sent next
		blocks int
	}
	for _, tc := range []struct {
		name   string
		sender sender // sent and high are what is out
		steps  []step
	}{
		{"lock-step", sender{window: 1, sent: 1, high: 1, last: 2}, []step{
			{1, advance, 2, 1}, {1, ignore, 3, 0}, {2, finished, 3, 0}}},
		{"lock-step ignores duplicates", sender{window: 1, acked: 6, sent: 7, high: 7, last: 9}, []step{
			{6, ignore, 8, 0}, {6, ignore, 8, 0}, {7, advance, 8, 1}}},
		{"the future is ignored", sender{window: 4, acked: 4, sent: 8, high: 8, last: 100}, []step{
			{9, ignore, 9, 0}, {60000, ignore, 9, 0}, {8, advance, 9, 4}}},
		{"gap in a window", sender{window: 4, acked: 4, sent: 8, high: 8, last: 100}, []step{
			{6, advance, 7, 4}}},
		{"gap at a window's start, once", sender{window: 4, acked: 4, sent: 8, high: 8, last: 100}, []step{
			{4, resend, 5, 4}, {4, ignore, 9, 0}, {8, advance, 9, 4}, {8, resend, 9, 4}}},
		{"the end cuts the window", sender{window: 4, acked: 4, sent: 8, high: 8, last: 10}, []step{
			{8, advance, 9, 2}, {10, finished, 11, 0}}},
		{"rollover", sender{window: 4, acked: 65534, sent: 65538, high: 65538, last: 70000}, []step{
			{0, advance, 65537, 4}, {65535, ignore, 65541, 0}, {4, advance, 65541, 4}}},
		{"after a retransmission an older ACK still counts", sender{window: 4, acked: 4, sent: 5, high: 8, last: 100}, []step{
			{8, advance, 9, 4}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.sender
			for i, st := range tc.steps {
				if got := s.ack(st.ack); got != st.want {
					t.Fatalf("step %d: ACK %d gives %d, want %d", i, st.ack, got, st.want)
				}
				first, n := s.next()
				if st.want != finished && (first != st.first || n != st.blocks) {
					t.Fatalf("step %d: next is %d blocks from %d, want %d from %d", i, n, first, st.blocks, st.first)
				}
				s.out(n)
			}
		})
	}
}
