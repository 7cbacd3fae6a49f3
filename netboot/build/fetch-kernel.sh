#!/bin/sh
# fetch-kernel.sh DIR: unpack Debian's stock kernel (linux-image-amd64) into DIR/root,
# as dpkg-deb -x does; nothing is installed on this machine. It does nothing when the
# version that apt would install is there already, and is safe to run twice at once.
set -eu
dir=${1:?usage: fetch-kernel.sh DIR}
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock 9
pkg=$(apt-cache depends --important linux-image-amd64 | awk '/Depends: linux-image-/{print $2; exit}')
# While another apt-get update runs apt may know nothing: what was fetched will do.
[ -n "$pkg" ] || [ ! -s "$dir/version" ] || exit 0
[ -n "$pkg" ] || { echo "fetch-kernel: apt knows no linux-image-amd64; run apt-get update" >&2; exit 1; }
version=$(apt-cache policy "$pkg" | awk '/Candidate:/{print $2}')
[ "$(cat "$dir/version" 2>/dev/null)" = "$pkg $version" ] && exit 0
rm -rf "$dir/root" "$dir/version" "$dir/deb"
mkdir "$dir/deb"
(cd "$dir/deb" && apt-get -qq -o APT::Sandbox::User=root download "$pkg=$version")
dpkg-deb -x "$dir"/deb/*.deb "$dir/root.new"
rm -rf "$dir/deb"
mv "$dir/root.new" "$dir/root"
echo "$pkg $version" >"$dir/version"
