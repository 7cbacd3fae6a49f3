#!/bin/sh
# Generates v1/*.pb.go from v1/*.proto with pinned generators.
#   generate.sh           writes the files
#   generate.sh --check   fails when the committed ones are out of date
# Needs protoc (Debian: protobuf-compiler) and Go.
set -eu
GEN_GO=google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GEN_GRPC=google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

cd "$(dirname "$0")"
command -v protoc >/dev/null || { echo "generate.sh: protoc is missing: apt-get install protobuf-compiler" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/out"
(cd "$work" && GOBIN="$work/bin" GOFLAGS=-mod=mod go install "$GEN_GO" && GOBIN="$work/bin" GOFLAGS=-mod=mod go install "$GEN_GRPC")

PATH="$work/bin:$PATH" protoc -I ../.. \
	--go_out="$work/out" --go_opt=paths=source_relative \
	--go-grpc_out="$work/out" --go-grpc_opt=paths=source_relative \
	plugins/proto/v1/plugin.proto plugins/proto/v1/pdu.proto
# The first comment names protoc's version, which differs between Debian
# releases and changes nothing.
sed -i -E 's|^(//.*protoc +)v[0-9.]+.*$|\1(any)|' "$work"/out/plugins/proto/v1/*.go

if [ "${1:-}" = --check ]; then
	for f in "$work"/out/plugins/proto/v1/*.go; do
		cmp -s "$f" "v1/$(basename "$f")" || { echo "plugins/proto/v1/$(basename "$f") is out of date: run plugins/proto/generate.sh" >&2; exit 1; }
	done
	exit 0
fi
cp "$work"/out/plugins/proto/v1/*.go v1/
