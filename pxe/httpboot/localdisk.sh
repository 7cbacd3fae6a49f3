#!/bin/sh
# localdisk.sh OUT.efi: make the EFI program that starts the operating system of
# a machine's own disk: GRUB, with nothing to do but to find the first disk with
# a boot loader at the path that every firmware knows, and start it. It is not
# signed: with Secure Boot iPXE leaves the choice to the firmware instead.
# Needs the packages grub-common and grub-efi-amd64-bin.
set -eu
out=${1:?usage: localdisk.sh OUT.efi}
config=$(mktemp)
trap 'rm -f "$config"' EXIT
cat >"$config" <<'EOF'
search --no-floppy --file --set=root /EFI/BOOT/BOOTX64.EFI
chainloader /EFI/BOOT/BOOTX64.EFI
boot
EOF
grub-mkimage -O x86_64-efi -o "$out" -c "$config" -p / part_gpt part_msdos fat search search_fs_file chain boot
