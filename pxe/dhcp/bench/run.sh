#!/bin/sh
# run.sh WORKDIR [OUT.jsonl]: measures the DHCP server beside Kea on this machine,
# as root, and appends a JSON object a line to OUT (default build/bench.jsonl).
# Environment: ONLY=name for one figure.
# Needs the Debian packages kea-dhcp4-server and iproute2, and util-linux.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=${1:?usage: run.sh WORKDIR [OUT.jsonl]}
out=$(realpath -m "${2:-$root/build/bench.jsonl}")
mkdir -p "$work" "$(dirname "$out")"
work=$(cd "$work" && pwd)
cd "$root"
go build -o "$work/server" ./pxe/dhcp/bench/server
go build -o "$work/dhcpload" ./pxe/dhcp/bench/dhcpload
go build -o "$work/measure" ./pxe/dhcp/bench/measure
exec "$work/measure" -work "$work" -out "$out" -only "${ONLY:-}"
