#!/bin/bash
# run.sh WORKDIR [OUT.jsonl] measures our TFTP server beside Debian's, in one run, and appends one JSON object a line
# ({"name","ours","peer","ratio","goal","unit"}) to OUT.jsonl (default build/bench.jsonl):
#   tftp             100 MB at blksize 1468 in lock-step, MB/s, over the best of tftpd-hpa, dnsmasq and atftpd
#   tftp-windowsize  100 MB with windowsize 64 and each ACK held back 0.2 ms, MB/s, over atftpd (the others have no windows)
#   tftp-small       64 clients of a 30 kB file, requests/s, over dnsmasq
# Each server has a network namespace of its own and is idle while another is measured; the rounds alternate
# between servers, so that a machine that slows down slows all of them, and the best round of each counts (medians
# are printed too). Environment: ONLY=name for one of them, REPS rounds (5), SIZE megabytes (100), SMALL requests (10000).
# Server and client each run in a scheduler group of their own with a high priority, so that other load matters little.
# Needs root; packages tftpd-hpa dnsmasq-base iproute2 and, unpacked into the work directory because it conflicts with
# tftpd-hpa, atftpd.
set -eu
here=$(cd "$(dirname "$0")" && pwd); top=$(cd "$here/../../.." && pwd)
out=$(realpath -m "${2:-$top/build/bench.jsonl}"); reps=${REPS:-5}; size=${SIZE:-100}; requests=${SMALL:-10000}
mkdir -p "$(dirname "$out")"
mkdir -p "${1:?usage: run.sh WORKDIR [OUT.jsonl]}"
work=$(mktemp -d "$(realpath "$1")/run.XXXXXX"); name=gtb$$; pids=()
cleanup() {
  for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
  wait 2>/dev/null || true
  ip netns list | awk -v n="$name-" 'index($1, n) == 1 {print $1}' | while read -r ns; do ip netns del "$ns"; done
  rm -rf "$work"
}
trap cleanup EXIT
(cd "$top" && go build -o "$work/" ./pxe/tftp/bench/tftpserve ./pxe/tftp/bench/tftpget)
(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download atftpd && dpkg-deb -x atftpd_*.deb atftpd)
root=$work/root; mkdir "$root"
head -c "${size}000000" /dev/urandom >"$root/large"; head -c 30000 /dev/urandom >"$root/small"
chmod -R a+rX "$work"

prio() { exec setsid bash -c '{ echo -19 >/proc/self/autogroup; } 2>/dev/null; exec nice -n -19 "$@"' _ "$@"; }

# start SERVER NUMBER COMMAND...: the server in its namespace at 10.66.NUMBER.1, its client in another at 10.66.NUMBER.2
start() {
  local server=$1 i=$2 s=$name-$1 c=$name-$1-c; shift 2
  ip netns add "$s"; ip netns add "$c"
  ip -n "$s" link add gs type veth peer name gc netns "$c"
  ip -n "$s" addr add "10.66.$i.1/24" dev gs; ip -n "$c" addr add "10.66.$i.2/24" dev gc
  ip -n "$s" link set lo up; ip -n "$s" link set gs up; ip -n "$c" link set gc up
  prio ip netns exec "$s" "$@" >"$work/$server.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 100); do
    [ -n "$(ip netns exec "$s" ss -Hlun 'sport = 69')" ] && break
    kill -0 $! || { cat "$work/$server.log" >&2; exit 1; }
    sleep 0.1
  done
}
start ours 1 "$work/tftpserve" -root "$root"
start dnsmasq 2 dnsmasq -k --conf-file=/dev/null --port=0 --enable-tftp --tftp-root="$root" --user=root --tftp-max=200 --pid-file=
start hpa 3 in.tftpd -L -4 -s "$root"
start atftpd 4 "$work/atftpd/usr/sbin/atftpd" --daemon --no-fork --user root --group root --maxthread 200 --verbose=1 --logfile /dev/null "$root"

# get SERVER NUMBER KEY FLAGS...: one client run, adds KEY's value to SERVER.TEST's results
get() {
  local server=$1 i=$2 key=$3 result; shift 3
  result=$(prio ip netns exec "$name-$server-c" "$work/tftpget" -addr "10.66.$i.1:69" -blk 1468 "$@" 2>&1 | tail -1)
  case " $result " in *" errs=0 "*) ;; *) echo "$server $*: $result" >&2; exit 1 ;; esac
  echo "$result" | tr ' ' '\n' | sed -n "s/^$key=//p"
}
wanted() { [ -z "${ONLY:-}" ] || [ "$ONLY" = "$1" ]; }
lock() {
  get ours 1 MBps -file large >>"$work/lock.ours"
  get dnsmasq 2 MBps -file large >>"$work/lock.dnsmasq"
  get hpa 3 MBps -file large >>"$work/lock.hpa"
  get atftpd 4 MBps -file large >>"$work/lock.atftpd"
}
windows() {
  get ours 1 MBps -file large -win 64 -delay 200us >>"$work/win.ours"
  get atftpd 4 MBps -file large -win 64 -delay 200us >>"$work/win.atftpd"
}
small() {
  get ours 1 reqps -file small -c 64 -n "$requests" >>"$work/small.ours"
  get dnsmasq 2 reqps -file small -c 64 -n "$requests" >>"$work/small.dnsmasq"
}
for _ in $(seq "$reps"); do
  if wanted tftp; then lock; fi
  if wanted tftp-windowsize; then windows; fi
  if wanted tftp-small; then small; fi
done
shopt -s nullglob
best() { sort -g "$1" | tail -1; }
median() { sort -g "$1" | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
for f in "$work"/lock.* "$work"/win.* "$work"/small.*; do
  echo "$(basename "$f"): best $(best "$f"), median $(median "$f")"
done
# report NAME UNIT GOAL OURS PEER...
report() {
  local n=$1 unit=$2 goal=$3 ours peer=0 p; ours=$(best "$work/$4"); shift 4
  for p; do peer=$(printf '%s\n%s\n' "$peer" "$(best "$work/$p")" | sort -g | tail -1); done
  awk -v n="$n" -v o="$ours" -v p="$peer" -v g="$goal" -v u="$unit" \
    'BEGIN {printf "{\"name\":\"%s\",\"ours\":%s,\"peer\":%s,\"ratio\":%.2f,\"goal\":%s,\"unit\":\"%s\"}\n", n, o, p, o/p, g, u}' | tee -a "$out"
}
if wanted tftp; then report tftp MB/s 1 lock.ours lock.dnsmasq lock.hpa lock.atftpd; fi
if wanted tftp-windowsize; then report tftp-windowsize MB/s 2 win.ours win.atftpd; fi
if wanted tftp-small; then report tftp-small requests/s 1 small.ours small.dnsmasq; fi
