# rootfs.sh: a Debian root file system as a tar, for the test of declared
# layouts: kernel, initramfs-tools, mdadm, lvm2 and GRUB as any server's image
# has them, and an init that says on the serial console what is mounted. Modules
# that no emulated machine needs are left out, as emulation pays for each byte.

. "$here/full.sh" # its apt_lists, apt_date and apt_sources

rootfs_packages=linux-image-amd64,initramfs-tools,udev,kmod,mdadm,lvm2,xfsprogs,e2fsprogs,dosfstools,mount,grub2-common,grub-pc-bin,grub-efi-amd64-bin,efibootmgr,ifupdown,iproute2,zstd
rootfs_modules='virtio_pci virtio_blk nvme raid1 dm_mod ext4 xfs vfat nls_cp437 nls_ascii nls_utf8 crc32c_generic crc32c_intel efivarfs'

build_root() {
	local root=$1 key tar
	key=$({ echo "$rootfs_packages $rootfs_modules"; cat "$here/rootfs.sh" "$here"/rootfs/*; apt_lists; } | sha256sum | cut -c1-16)
	tar=$CACHE/rootfs-$key.tar
	if [ ! -s "$tar" ]; then
		rm -f "$CACHE"/rootfs-*.tar
		SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(apt_date)} mmdebstrap --quiet --format=tar --mode=root --variant=essential \
			--include="$rootfs_packages" --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
			--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
			--customize-hook="'$here/rootfs/customize.sh' \"\$1\" $rootfs_modules" bookworm "$tar.part" "$(apt_sources)"
		mv "$tar.part" "$tar"
	fi
	mkdir -p "$root"
	tar -C "$root" --xattrs --acls --numeric-owner -xpf "$tar"
}

# assemble_disk ROOT OUT: the tree in sorted order, nothing newer than the date.
assemble_disk() {
	settle_times "$1"
	tar -C "$1" --sort=name --numeric-owner --xattrs --acls --format=pax --pax-option=delete=atime,delete=ctime -cpf "$2" .
}
