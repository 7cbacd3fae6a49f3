#!/bin/bash
# run.sh WORKDIR [OUT.jsonl]: writes one disk image in our way and in the field's,
# by turns on the same loop device, and appends the ratios to OUT (default
# build/bench.jsonl). WORKDIR is on the disk that is measured.
# Every writer's result is durable when its time ends and is compared with the
# image. A ratio is the median of the rounds' ratios: a processor that is shared
# with strangers changes its speed between rounds more than within one.
# environment: ONLY=name for one figure, REPS (7), IMAGE (a raw image;
# build/images/debian-12.raw).
# image-write-vs-raw is taken on a disk that is bounded to DISK_RATE (500 MiB/s, a
# SATA SSD's): on a faster one the processors are what is measured, and that is
# image-write-vs-raw-unbounded, which has no goal.
# needs: zstd qemu-utils qemu-block-extra nginx-light fio curl (and root, for the loop device)
set -euo pipefail
mkdir -p "${1:?usage: run.sh WORKDIR [OUT.jsonl]}"
work=$(mktemp -d "$(realpath "$1")/run.XXXXXX")
out=${2:+$(realpath -m "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
image=$(realpath "${IMAGE:-build/images/debian-12.raw}")
out=${out:-build/bench.jsonl} reps=${REPS:-7}
port=$((20000 + $$ % 20000)) loop='' nginx='' group='' disk_rate=$((${DISK_RATE:-500} << 20))
finish() {
	[ -z "$loop" ] || losetup -d "$loop"
	[ -z "$nginx" ] || kill "$nginx"
	[ -z "$group" ] || rmdir "$group"
	rm -rf "$work"
}
trap finish EXIT

go build -o "$work/imgbench" ./images/bench/imgbench
mkdir "$work/root"
"$work/imgbench" pack "$image" "$work/root/ours" | tee "$work/pack"
payload=$(grep -o 'payload=[0-9]*' "$work/pack" | cut -d= -f2)
size=$(stat -c %s "$image")
zstd -q -3 -T0 "$image" -o "$work/root/img.zst"
qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd "$image" "$work/root/img.qcow2"
cat >"$work/nginx.conf" <<N
worker_processes 2; daemon off; pid $work/pid; error_log /dev/null; user root;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; server { listen 127.0.0.1:$port; root $work/root; } }
N
nginx -c "$work/nginx.conf" 2>/dev/null &
nginx=$!
url=http://127.0.0.1:$port
until curl -sf -o /dev/null -r 0-0 "$url/img.zst"; do kill -0 "$nginx"; sleep 0.05; done

fresh() {
	[ -z "$loop" ] || losetup -d "$loop"
	rm -f "$work/disk"
	truncate -s "$size" "$work/disk"
	loop=$(losetup -f --show --direct-io=on "$work/disk")
}

# The disk that WORKDIR is on, below partitions: what is made zero by command, and
# so is a hole in the loop device's file, is not written to it and does not count.
disk=$(findmnt -nvo SOURCE -T "$work")
[ "$(lsblk -ndo TYPE "$disk")" != part ] || disk=/dev/$(lsblk -ndo PKNAME "$disk")
number=$(lsblk -ndo MAJ:MIN "$disk" | tr -d ' ')

# bounded COMMAND: runs it in a control group that may write to the disk at
# disk_rate. The loop device writes in the group of who asked it to.
bounded() {
	if [ -d /sys/fs/cgroup/blkio ]; then
		group=/sys/fs/cgroup/blkio/gantry-bench-$$
		mkdir -p "$group"; echo "$number $disk_rate" >"$group/blkio.throttle.write_bps_device"
	else
		echo +io >/sys/fs/cgroup/cgroup.subtree_control
		group=/sys/fs/cgroup/gantry-bench-$$
		mkdir -p "$group"; echo "$number wbps=$disk_rate" >"$group/io.max"
	fi
	bash -c 'echo $$ >"$0/cgroup.procs"; eval "$1"' "$group" "$1"
}

# measure NAME COMMAND: appends "wall cpu" to $work/NAME. The CPU is the
# writer's, with its children; the server's and the kernel's own threads' is not.
# qemu-img over HTTP now and then stops for ever (its curl driver waits for an
# answer that it has); such a run is said and made again, it does not count.
measure() {
	local try status
	for try in $(seq 12); do
		fresh
		sync -f "$work"
		status=0
		TIMEFORMAT='%R %U %S' timeout 20 bash -c "time { ${2//%T/$loop} >$work/log 2>&1 && blockdev --flushbufs $loop && sync -f $work/root; }" 2>"$work/time" || status=$?
		[ $status = 124 ] || break
		echo "run.sh: $1 stood still for 20 s, made again" >&2
	done
	[ $status = 0 ] || { echo "run.sh: $1 failed ($status, try $try):" >&2; cat "$work/log" "$work/time" >&2; exit 1; }
	tail -1 "$work/time" | awk '{print $1, $2 + $3}' >>"$work/$1"
	cmp -s "$loop" "$image" || { echo "run.sh: $1 wrote something else" >&2; exit 1; }
}

# raw is the command that tells the disk's own direct sequential speed.
raw() {
	echo fio --name=raw --filename="$loop" --size="$payload" --rw=write --bs=1m --direct=1 --ioengine=libaio --iodepth=4 \
		--end_fsync=1 --output-format=terse --terse-version=3
}

for _ in $(seq "$reps"); do
	measure ours "$work/imgbench write $url/ours $work/root/ours %T"
	measure readback "$work/imgbench write -readback $url/ours $work/root/ours %T"
	measure zstd-dd "set -o pipefail; curl -s $url/img.zst | zstd -dcq | dd of=%T bs=4M iflag=fullblock oflag=direct conv=notrunc,fsync"
	measure qemu-img "qemu-img convert -n -W -m 16 -f qcow2 -O raw -t none $url/img.qcow2 %T"
	fresh
	eval "$(raw)" | awk -F';' '{print $48 / 1024, 0}' >>"$work/raw"
done
for _ in 1 2 3; do
	fresh
	bounded "$(raw)" | awk -F';' '{print $48 / 1024, 0}' >>"$work/raw-bounded"
	fresh
	TIMEFORMAT='%R'
	{ time bounded "$work/imgbench write $url/ours $work/root/ours $loop" >"$work/log" 2>&1; } 2>"$work/time"
	cmp -s "$loop" "$image" || { echo "run.sh: ours wrote something else" >&2; cat "$work/log" >&2; exit 1; }
	awk -v b="$payload" '{print b / $1 / 2 ^ 20, 0}' "$work/time" >>"$work/rate-bounded"
done

median() { sort -n | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
wall() { cut -d' ' -f1 "$work/$1" | median; }
cpu() { cut -d' ' -f2 "$work/$1" | median | awk -v b="$size" '{print $1 / b * 2 ^ 30}'; }
# pairs A B FIELD: the median of A's values over B's of the same round
pairs() { paste -d' ' "$work/$1" "$work/$2" | awk -v f="$3" '{print $f / $(f + 2)}' | median; }
# line NAME OURS PEER RATIO GOAL UNIT
line() {
	[ -z "${ONLY:-}" ] || [ "$ONLY" = "$1" ] || return 0
	awk -v n="$1" -v o="$2" -v p="$3" -v r="$4" -v g="$5" -v u="$6" \
		'BEGIN {printf "{\"name\":\"%s\",\"ours\":%.3f,\"peer\":%.3f,\"ratio\":%.3f,\"goal\":%s,\"unit\":\"%s\"}\n", n, o, p, r, g, u}' | tee -a "$out"
}
mkdir -p "$(dirname "$out")"
line image-write-vs-zstd-dd "$(wall ours)" "$(wall zstd-dd)" "$(pairs zstd-dd ours 1)" 3 s
line image-write-vs-qemu-img "$(wall ours)" "$(wall qemu-img)" "$(pairs qemu-img ours 1)" 1.8 s
line image-write-readback "$(wall readback)" "$(wall zstd-dd)" "$(pairs zstd-dd readback 1)" 1.5 s
awk -v b="$payload" '{print b / $1 / 2 ^ 20, 0}' "$work/ours" >"$work/rate"
line image-write-vs-raw "$(wall rate-bounded)" "$(wall raw-bounded)" "$(pairs rate-bounded raw-bounded 1)" 0.9 MiB/s
line image-write-vs-raw-unbounded "$(wall rate)" "$(wall raw)" "$(pairs rate raw 1)" 0 MiB/s
for peer in zstd-dd qemu-img; do
	line "image-write-cpu-vs-$peer" "$(cpu ours)" "$(cpu $peer)" "$(pairs ours $peer 2)" 1 'CPU s/GiB'
done
