#!/bin/sh
# stub.sh [OUT]: assembles stub.S into OUT, stub.bin beside it if not given. Needs binutils.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
as --64 -o "$work/stub.o" "$here/stub.S"
ld -m elf_x86_64 -Ttext=0x100000 -e start --oformat binary -o "$work/stub.bin" "$work/stub.o"
mv "$work/stub.bin" "${1:-$here/stub.bin}"
