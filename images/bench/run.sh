#!/bin/bash
# run.sh WORKDIR [OUT.jsonl]: writes one disk image in our way and in the field's,
# by turns on the same loop device, and appends the ratios to OUT (default
# build/bench.jsonl). WORKDIR is on the disk that is measured.
# Every writer's result is durable when its time ends and is compared with the
# image. environment: ONLY=name for one figure, REPS (3), IMAGE (a raw image;
# build/images/debian-12.raw).
# needs: zstd qemu-utils qemu-block-extra nginx-light fio curl (and root, for the loop device)
set -euo pipefail
mkdir -p "${1:?usage: run.sh WORKDIR [OUT.jsonl]}"
work=$(mktemp -d "$(realpath "$1")/run.XXXXXX")
out=${2:+$(realpath -m "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
image=$(realpath "${IMAGE:-build/images/debian-12.raw}")
out=${out:-build/bench.jsonl} reps=${REPS:-3}
port=$((20000 + $$ % 20000)) loop='' nginx=''
finish() {
	[ -z "$loop" ] || losetup -d "$loop"
	[ -z "$nginx" ] || kill "$nginx"
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

# measure NAME COMMAND: appends "wall cpu" to $work/NAME. The CPU is the
# writer's, with its children; the server's and the kernel's own threads' is not.
measure() {
	fresh
	sync -f "$work"
	/usr/bin/env TIMEFORMAT='%R %U %S' bash -c "time { ${2//%T/$loop} >$work/log 2>&1 && blockdev --flushbufs $loop && sync -f $work/root; }" 2>"$work/time" ||
		{ echo "run.sh: $1 failed:" >&2; cat "$work/log" "$work/time" >&2; exit 1; }
	tail -1 "$work/time" | awk '{print $1, $2 + $3}' >>"$work/$1"
	cmp -s "$loop" "$image" || { echo "run.sh: $1 wrote something else" >&2; exit 1; }
}

for _ in $(seq "$reps"); do
	measure ours "$work/imgbench write $url/ours $work/root/ours %T"
	measure readback "$work/imgbench write -readback $url/ours $work/root/ours %T"
	measure zstd-dd "set -o pipefail; curl -s $url/img.zst | zstd -dcq | dd of=%T bs=4M iflag=fullblock oflag=direct conv=notrunc,fsync"
	measure qemu-img "qemu-img convert -n -W -m 16 -f qcow2 -O raw -t none $url/img.qcow2 %T"
	fresh
	fio --name=raw --filename="$loop" --size="$payload" --rw=write --bs=1m --direct=1 --ioengine=libaio --iodepth=4 \
		--end_fsync=1 --output-format=terse --terse-version=3 | awk -F';' '{print $48 / 1024}' >>"$work/raw"
done

median() { sort -n | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
wall() { cut -d' ' -f1 "$work/$1" | median; }
cpu() { cut -d' ' -f2 "$work/$1" | median | awk -v b="$size" '{print $1 / b * 2 ^ 30}'; }
# line NAME OURS PEER RATIO GOAL UNIT
line() {
	[ -z "${ONLY:-}" ] || [ "$ONLY" = "$1" ] || return 0
	awk -v n="$1" -v o="$2" -v p="$3" -v r="$4" -v g="$5" -v u="$6" \
		'BEGIN {printf "{\"name\":\"%s\",\"ours\":%.3f,\"peer\":%.3f,\"ratio\":%.3f,\"goal\":%s,\"unit\":\"%s\"}\n", n, o, p, r, g, u}' | tee -a "$out"
}
over() { awk -v a="$1" -v b="$2" 'BEGIN {print a / b}'; }
mkdir -p "$(dirname "$out")"
line image-write-vs-zstd-dd "$(wall ours)" "$(wall zstd-dd)" "$(over "$(wall zstd-dd)" "$(wall ours)")" 3 s
line image-write-vs-qemu-img "$(wall ours)" "$(wall qemu-img)" "$(over "$(wall qemu-img)" "$(wall ours)")" 1.8 s
line image-write-readback "$(wall readback)" "$(wall zstd-dd)" "$(over "$(wall zstd-dd)" "$(wall readback)")" 1.5 s
rate=$(awk -v b="$payload" -v s="$(wall ours)" 'BEGIN {print b / s / 2 ^ 20}')
line image-write-vs-raw "$rate" "$(median <"$work/raw")" "$(over "$rate" "$(median <"$work/raw")")" 0.9 MiB/s
for peer in zstd-dd qemu-img; do
	line "image-write-cpu-vs-$peer" "$(cpu ours)" "$(cpu $peer)" "$(over "$(cpu ours)" "$(cpu $peer)")" 1 'CPU s/GiB'
done
