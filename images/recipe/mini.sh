# mini.sh: the smallest system that can be deployed, configured and logged in to
# like any other: kernel, busybox and dropbear on an ext4 root file system.
# images/DESIGN.md says which files a configurator writes.

disk_mib=96 esp_mib=4
uuid_disk=6d696e69-0000-4000-8000-67616e747230
uuid_root=6d696e69-0000-4000-8000-67616e7472ff
fat_id=6d696e69
mke2fs_options='-J size=4 -N 2048'

# What a machine needs to find its root, and what it needs to be on the network.
mini_disk_modules='virtio_pci virtio_blk virtio_scsi nvme ahci ata_piix sd_mod ext4 crc32c_generic crc32c_intel raid1'
mini_net_modules='virtio_net virtio_rng e1000 e1000e igb ixgbe tg3 r8169 8021q af_packet'

build_root() {
	local root=$1 src=$work/packages kernel version
	kernel=$(kernel_package)
	unpack_packages "$src" "$kernel" busybox-static dropbear-bin \
		libc6 libcrypt1 libtomcrypt1 libtommath1 zlib1g libgmp10
	version=${kernel#linux-image-}
	depmod -b "$src" "$version"

	mkdir -p "$root"/{bin,sbin,lib64,lib/x86_64-linux-gnu,usr/bin,usr/sbin,boot/grub,proc,sys,dev,run,tmp,mnt,home,root/.ssh,var/log,var/lib}
	chmod 1777 "$root/tmp"; chmod 700 "$root/root" "$root/root/.ssh"
	cp -a "$here/mini/etc" "$root/etc"
	mkdir -p "$root"/etc/{dropbear,ssh,network/if-{pre-up,up,down,post-down}.d}
	ln -s ../run "$root/var/run"
	mini_busybox "$src" "$root"
	mini_dropbear "$src" "$root"
	mini_modules "$src" "$root" "$version" $mini_disk_modules $mini_net_modules
	cp "$src.packages" "$root/var/lib/packages"
	cp -p "$src/boot/vmlinuz-$version" "$root/boot/"
	ln -s "boot/vmlinuz-$version" "$root/vmlinuz"
	cp "$here/mini/grub.cfg" "$root/boot/grub/"
	SOURCE_DATE_EPOCH=$(newest_package_date "$root") mini_initrd "$src" "$root/boot/initrd" "$version"
	ln -s boot/initrd "$root/initrd.img"
	chown -R 0:0 "$root"
	chmod 600 "$root/etc/shadow"
	rm -rf "$src"
}

# mini_busybox SRC ROOT: busybox and a link for each of its applets.
mini_busybox() {
	local applet
	cp -p "$1/bin/busybox" "$2/bin/busybox"
	for applet in $("$1/bin/busybox" --list-full); do
		mkdir -p "$2/$(dirname "$applet")"
		[ -e "$2/$applet" ] || ln -s /bin/busybox "$2/$applet"
	done
	[ -e "$2/bin/sh" ] || ln -s busybox "$2/bin/sh"
	[ -e "$2/sbin/init" ] || ln -s /bin/busybox "$2/sbin/init"
}

# mini_dropbear SRC ROOT: the server, its key tools and the libraries they name.
mini_dropbear() {
	local src=$1 root=$2 lib
	cp -p "$src/usr/sbin/dropbear" "$root/usr/sbin/"
	cp -p "$src"/usr/bin/dropbear{key,convert} "$root/usr/bin/"
	cp -pL "$src/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$root/lib64/"
	for lib in libc.so.6 libcrypt.so.1 libtomcrypt.so.1 libtommath.so.1 libz.so.1 libgmp.so.10; do
		cp -pL "$(find "$src" -name "$lib" | head -1)" "$root/lib/x86_64-linux-gnu/$lib"
	done
}

# mini_modules SRC DEST VERSION MODULE...: the modules with all they depend on.
# One that is built in has no file, which is as good.
mini_modules() {
	local src=$1 dest=$2 version=$3 from=$1/lib/modules/$3 to=$2/lib/modules/$3 file
	shift 3
	mkdir -p "$to"
	modprobe -d "$src" -S "$version" --show-depends -a "$@" 2>/dev/null |
		awk '$1 == "insmod" {print $2}' | sort -u | while read -r file; do
		install -D -m 644 "$file" "$to/${file#"$from"/}"
	done
	cp "$from"/modules.{order,builtin,builtin.modinfo} "$to/"
	depmod -b "$dest" "$version"
}

# mini_initrd SRC OUT VERSION: finds the disk, mounts its root and gives way.
mini_initrd() {
	local src=$1 out=$2 version=$3 r=$work/initrd
	mkdir -p "$r"/{bin,sbin,proc,sys,dev,root}
	cp "$src/bin/busybox" "$r/bin/"
	ln -s busybox "$r/bin/sh"
	ln -s /bin/busybox "$r/sbin/modprobe"
	install -m 755 "$here/mini/init" "$r/init"
	mini_modules "$src" "$r" "$version" $mini_disk_modules
	find "$r" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
	(cd "$r" && find . | sort | cpio --quiet --reproducible -R 0:0 -o -H newc | zstd -q -19 -T1) >"$out"
	rm -rf "$r"
}
