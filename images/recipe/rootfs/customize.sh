#!/bin/bash
# customize.sh ROOT MODULE...: makes a fresh Debian tree the test's image.
set -euo pipefail
root=$(realpath "$1")
[ "$root" != / ] || { echo "customize.sh: refuses to work on this host itself" >&2; exit 1; }
shift
version=$(basename "$root"/lib/modules/*)
install -m 755 "$(dirname "${BASH_SOURCE[0]}")/init" "$root/sbin/init"

# Only these modules, and what they depend on.
from=$root/lib/modules/$version
modprobe -d "$root" -S "$version" --show-depends -a "$@" 2>/dev/null | awk '$1 == "insmod" {print $2}' | sort -u >"$root/tmp/keep"
find "$from/kernel" -name '*.ko' | sort | comm -23 - "$root/tmp/keep" | xargs -r rm
depmod -b "$root" "$version"

# What a server's administrator would set: a serial console, no menu.
mkdir -p "$root/etc/default"
cat >"$root/etc/default/grub" <<'G'
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX="console=ttyS0,115200 quiet panic=10"
GRUB_TERMINAL="console serial"
G
printf 'MODULES=list\n' >"$root/etc/initramfs-tools/conf.d/modules"
printf 'COMPRESS=zstd\nCOMPRESSLEVEL=1\n' >"$root/etc/initramfs-tools/conf.d/compress"
printf '%s\n' "$@" >"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u -k all >/dev/null

: >"$root/etc/machine-id"
echo rootfs >"$root/etc/hostname"
mkdir -p "$root/boot/grub"
# mmdebstrap keeps its apt.conf in /tmp: without it, its last steps would empty
# the package lists of this host instead of the tree's. It removes it itself.
find "$root/tmp" -mindepth 1 -maxdepth 1 ! -name 'mmdebstrap.*' -exec rm -rf {} +
# What neither starts the system nor installs its boot loader.
lib=$root/usr/lib/x86_64-linux-gnu
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/*/* "$root"/var/log/* "$root"/run/* "$root"/etc/*- "$root"/var/lib/dpkg/info \
	"$root"/usr/share/{locale,i18n,zoneinfo,doc,man,info,bash-completion,lintian,perl,python3,common-licenses,gcc,gdb} "$root"/usr/include \
	"$root"/usr/bin/{python*,cpan*,perl5.36*,sqlite3,grub-{mkrescue,fstest,render-label,glue-efi,mknetdir,mkstandalone,menulst2cfg}} \
	"$root"/usr/sbin/{grub-macbless,xfs_scrub*} "$root"/usr/lib/python3* "$root"/usr/lib/apt "$root"/usr/lib/valgrind \
	"$lib"/{gconv,perl,perl5,libicu*,libperl*,libsqlite3*,libapt-*,libdb-5*,libkrb5*,libstdc++*,libmvec*} \
	"$root"/usr/lib/udev/{hwdb.bin,hwdb.d} "$root"/usr/lib/grub/x86_64-efi/monolithic "$root"/usr/lib/grub/*/*.module
