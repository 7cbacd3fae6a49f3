#!/bin/bash
# build.sh full|mini OUT.raw, build.sh rootfs OUT.tar
#
# Builds a bootable disk image, for BIOS and for UEFI, out of Debian 12's
# packages and nothing else. It needs root (mmdebstrap, a tmpfs of its own) but
# neither a loop device nor a mounted image, so it runs in containers and on
# kernels without a partition parser.
#
#   full   Debian 12 with systemd, cloud-init and OpenSSH; 2 GiB
#   mini   kernel, busybox and dropbear on ext4, for tests; 96 MiB
#   rootfs Debian with mdadm, lvm2 and GRUB as a tar, for tests of layouts
#
# The same package versions give the same bytes. environment:
#   CACHE              where packages are kept     (build/cache of this tree)
#   SOURCE_DATE_EPOCH  every time stamp, seconds   (the kernel package's date)
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() { sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
kind=$1
case $kind in full | mini | rootfs) ;; *) usage ;; esac
out=$(realpath -m "$2")
export CACHE=$(realpath -m "${CACHE:-$here/../../build/cache}")

# A file system's directory order depends on the file system that it was staged
# on; a fresh tmpfs, filled in sorted order, always has the same one. It lives
# in a mount namespace of its own, so it is gone however this script ends.
if [ "${GANTRY_RECIPE_NS:-}" != $$ ]; then
	export GANTRY_RECIPE_NS=$$
	exec unshare --mount --propagation private "$BASH" "$0" "$kind" "$out"
fi
work=$(mktemp -d)
trap 'umount "$work" && rmdir "$work"' EXIT
mount -t tmpfs -o mode=755 gantry-recipe "$work"
mkdir -p "$CACHE" "$(dirname "$out")"

. "$here/need.sh"
. "$here/packages.sh"
. "$here/disk.sh"
. "$here/$kind.sh"

need_tools
build_root "$work/root"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(newest_package_date "$work/root")}
assemble_disk "$work/root" "$work/disk"
cp --sparse=always "$work/disk" "$out.part"
sync "$out.part"
mv "$out.part" "$out"
