#!/bin/bash
# all.sh: runs every measurement, or with ONLY=name the one that yields it, and prints a table. Each line of
# build/bench.jsonl is {"name","ours","peer","ratio","goal","unit"}; a run replaces it, and with ONLY that name's line.
# The goals of the names in at_most are upper bounds, all others lower ones; a goal of 0 is none.
# Needs root, and what `make build images` makes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
at_most="dhcp-cpu boot-script power-on-to-imaged power-on-to-imaged-full image-write-cpu-vs-zstd-dd image-write-cpu-vs-qemu-img"

# runner NAME: the script that yields the figure.
runner() {
	case $1 in
	dhcp-*) echo pxe/dhcp/bench/run.sh ;;
	tftp*) echo pxe/tftp/bench/run.sh ;;
	image-write-*) echo images/bench/run.sh ;;
	boot-script | power-on-to-*) echo lab/bench/run.sh ;;
	*) echo "all.sh: no figure is called $1" >&2; exit 2 ;;
	esac
}

work=$(mktemp -d "${TMPDIR:-/var/tmp}/gantry-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p build
export ONLY=${ONLY:-}
runners=(images/bench/run.sh pxe/tftp/bench/run.sh pxe/dhcp/bench/run.sh lab/bench/run.sh)
[ -z "$ONLY" ] || runners=("$(runner "$ONLY")")

failed=0
for r in "${runners[@]}"; do
	echo "== $r (load $(cut -d' ' -f1 /proc/loadavg))"
	"$r" "$work/$(dirname "$(dirname "$r")" | tr / -)" "$work/new.jsonl" || { echo "all.sh: $r failed" >&2; failed=1; }
done
touch "$work/new.jsonl"
# Lines of other names stay, those of new ones go.
if [ -n "$ONLY" ] && [ -e build/bench.jsonl ]; then
	names=$(sed -n 's/.*"name":"\([^"]*\)".*/\1/p' "$work/new.jsonl" | paste -sd'|')
	grep -vE "\"name\":\"(${names:-none})\"" build/bench.jsonl >"$work/all.jsonl" || true
fi
cat "$work/new.jsonl" >>"$work/all.jsonl"
cp "$work/all.jsonl" build/bench.jsonl

printf '\n%-30s %12s %12s %8s %8s  %-14s %s\n' name ours peer ratio goal unit ''
sed -E 's/[{}"]//g; s/(name|ours|peer|ratio|goal|unit)://g' "$work/new.jsonl" |
	awk -F, -v at_most=" $at_most " '{
		verdict = "-"
		if ($5 > 0) verdict = (index(at_most, " " $1 " ") ? $4 <= $5 : $4 >= $5) ? "met" : "NOT MET"
		printf "%-30s %12.2f %12.2f %8.3f %8.2f  %-14s %s\n", $1, $2, $3, $4, $5, $6, verdict
	}'
exit $failed
