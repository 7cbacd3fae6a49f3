# need.sh: names the Debian package of every missing program at once.

need_tools() {
	local missing=() tool package
	while read -r tool package; do
		command -v "$tool" >/dev/null || [ -e "$tool" ] || missing+=("$package")
	done <<-'T'
		apt-get apt
		cpio cpio
		debugfs e2fsprogs
		depmod kmod
		grub-mkimage grub-common
		mcopy mtools
		mke2fs e2fsprogs
		mkfs.vfat dosfstools
		mmdebstrap mmdebstrap
		sgdisk gdisk
		zstd zstd
		/usr/lib/grub/i386-pc/boot.img grub-pc-bin
		/usr/lib/grub/x86_64-efi/modinfo.sh grub-efi-amd64-bin
	T
	if [ ${#missing[@]} -gt 0 ]; then
		echo "build.sh: install these first: apt-get install ${missing[*]}" >&2
		exit 1
	fi
}
