#!/bin/bash
# run.sh WORKDIR [OUT.jsonl]: measures booting and imaging beside the field's usual chain (see boot/main.go), as root, and
# appends a JSON object a line to OUT (default build/bench.jsonl). Environment: ONLY=name for one figure, REPS runs of
# each (3), MINI and FULL the images, BIN and NETBOOT what was built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${1:?usage: run.sh WORKDIR [OUT.jsonl]}
out=$(realpath -m "${2:-$here/../../build/bench.jsonl}")
mkdir -p "$work" "$(dirname "$out")"
work=$(cd "$work" && pwd)
cd "$here/../.."
mini=${MINI:-build/images/mini.raw} full=${FULL:-build/images/debian-12.raw}
"$here/boot/chain.sh" "$work/chain" "$mini" "$full"
go build -o "$work/bootbench" ./lab/bench/boot
exec "$work/bootbench" -work "$work" -out "$out" -peer "$work/chain" -bin "${BIN:-build/bin}" -netboot "${NETBOOT:-build/netboot}" \
	-image mini="$mini" -image full="$full" -reps "${REPS:-3}" -only "${ONLY:-}"
