# disk.sh: one GPT disk for BIOS and UEFI out of a root tree.
#
#   1  BIOS boot partition, 1 MiB    GRUB's core image (i386-pc)
#   2  EFI system partition          \EFI\BOOT\BOOTX64.EFI, GRUB (x86_64-efi)
#   3  root, ext4, label "root"      last, so that it can grow with the disk
#
# All identifiers are fixed per recipe: a deployment gives the disk new ones if
# it needs them, and nothing in the image refers to them.
# A recipe sets: disk_mib esp_mib uuid_root uuid_disk fat_id mke2fs_options

sectors_of() { sgdisk -i "$2" "$1" | awk -v k="$3" '$1 == k {print $3}'; }

# settle_times ROOT: nothing is newer than SOURCE_DATE_EPOCH.
settle_times() {
	find "$1" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0r touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
}

# sorted_copy FROM TO: the same tree, made in sorted order.
sorted_copy() {
	mkdir -p "$2"
	tar -C "$1" --sort=name --numeric-owner --xattrs --acls -cpf - . | tar -C "$2" --xattrs --acls --delay-directory-restore -xpf -
}

# make_ext4 ROOT OUT KIB: an ext4 whose every byte follows from its content.
# mke2fs copies the staging file system's change times, so they are set again.
make_ext4() {
	local epoch=$SOURCE_DATE_EPOCH
	truncate -s "$3K" "$2"
	E2FSPROGS_FAKE_TIME=$epoch mke2fs -q -t ext4 -b 4096 -L root -U "$uuid_root" -m 1 -d "$1" \
		-O ^orphan_file,^metadata_csum_seed $mke2fs_options \
		-E "hash_seed=$uuid_root,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard" "$2"
	inodes_in_use "$2" | awk -v t="@$epoch" '{
		print "set_inode_field <" $1 "> ctime " t; print "set_inode_field <" $1 "> ctime_extra 0"
		print "set_inode_field <" $1 "> atime " t; print "set_inode_field <" $1 "> atime_extra 0"
		print "set_inode_field <" $1 "> crtime " t; print "set_inode_field <" $1 "> crtime_extra 0"
		print "set_inode_field <" $1 "> mtime_extra 0"}' >"$2.times"
	E2FSPROGS_FAKE_TIME=$epoch debugfs -w -f "$2.times" "$2" >/dev/null 2>&1
	rm "$2.times"
	e2fsck -fn "$2" >/dev/null 2>&1 || { echo "disk.sh: e2fsck finds errors in the new file system" >&2; exit 1; }
}

# inodes_in_use IMAGE prints the numbers of inodes that files have.
inodes_in_use() {
	debugfs -R stats "$1" 2>/dev/null | awk '/Inode count/ {n = $3} /Free inodes/ && !f {f = $3} END {print n - f}' >"$1.count"
	seq 1 "$(cat "$1.count")"
	rm "$1.count"
}

# make_esp OUT KIB: FAT with the removable-media path, the one that any
# firmware starts without an entry of its own (UEFI 2.10, 3.5.1.1).
make_esp() {
	local img=$1
	# The root partition is on the disk that this very program was read from,
	# whatever else is plugged in.
	cat >"$work/efi.cfg" <<-'G'
		regexp --set=1:disk '^\(?([^,)]*)' $cmdpath
		set root=$disk,gpt3
		set prefix=($root)/boot/grub
		configfile $prefix/grub.cfg
	G
	grub-mkimage -O x86_64-efi -o "$work/BOOTX64.EFI" -p /EFI/BOOT -c "$work/efi.cfg" \
		part_gpt ext2 fat normal linux regexp configfile echo serial terminal test probe sleep reboot efi_gop
	touch --date="@$SOURCE_DATE_EPOCH" "$work/BOOTX64.EFI"
	truncate -s "$2K" "$img"
	mkfs.vfat --invariant -i "$fat_id" -n ESP "$img" >/dev/null
	mmd -i "$img" ::/EFI ::/EFI/BOOT
	mcopy -m -i "$img" "$work/BOOTX64.EFI" ::/EFI/BOOT/
}

# install_bios DISK START: GRUB's first sector and core image, as grub-bios-setup
# writes them (grub 2.06, util/setup.c): boot.img knows where the core begins
# (offset 0x5c), the core's first sector where the rest is (its last 12 bytes).
install_bios() {
	local disk=$1 start=$2 core=$work/core.img boot=$work/boot.img n
	# A prefix without a disk is on the disk that the BIOS started.
	printf 'set root=${root}\nconfigfile $prefix/grub.cfg\n' >"$work/bios.cfg"
	grub-mkimage -O i386-pc -o "$core" -p '(,gpt3)/boot/grub' -c "$work/bios.cfg" \
		biosdisk part_gpt ext2 normal linux configfile echo serial terminal test probe sleep reboot
	truncate -s %512 "$core"
	n=$(($(stat -c %s "$core") / 512))
	[ "$n" -lt 2048 ] || { echo "disk.sh: GRUB's core of $n sectors does not fit" >&2; exit 1; }
	le $((start + 1)) 8 | poke "$core" 500
	le $((n - 1)) 2 | poke "$core" 508
	le $((0x820)) 2 | poke "$core" 510
	cp /usr/lib/grub/i386-pc/boot.img "$boot"
	le "$start" 8 | poke "$boot" $((0x5c))
	le $((0x9090)) 2 | poke "$boot" $((0x66)) # the BIOS's drive number is right
	dd if="$boot" of="$disk" bs=440 count=1 conv=notrunc status=none
	dd if="$core" of="$disk" bs=512 seek="$start" conv=notrunc status=none
}

# le NUMBER BYTES prints it little endian.
le() {
	local n=$1 i
	for ((i = 0; i < $2; i++)); do printf "\\x$(printf %02x $((n >> (8 * i) & 255)))"; done
}

# poke FILE OFFSET writes standard input there.
poke() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

assemble_disk() {
	local tree=$1 disk=$2 root=$work/sorted
	settle_times "$tree"
	sorted_copy "$tree" "$root"
	rm -rf "$tree"
	truncate -s "${disk_mib}M" "$disk"
	sgdisk -U "$uuid_disk" \
		-n 1:2048:+1M -t 1:ef02 -c 1:bios -u "1:${uuid_disk%?}1" \
		-n "2:0:+${esp_mib}M" -t 2:ef00 -c 2:esp -u "2:${uuid_disk%?}2" \
		-n 3:0:0 -t 3:8304 -c 3:root -u "3:${uuid_disk%?}3" "$disk" >/dev/null
	local first last
	first=$(sectors_of "$disk" 3 First) last=$(sectors_of "$disk" 3 Last)
	make_ext4 "$root" "$work/ext4" $(((last - first + 1) / 8 * 4))
	dd if="$work/ext4" of="$disk" bs=1M seek=$((first / 2048)) conv=notrunc,sparse status=none
	make_esp "$work/esp" $((esp_mib * 1024))
	first=$(sectors_of "$disk" 2 First)
	dd if="$work/esp" of="$disk" bs=1M seek=$((first / 2048)) conv=notrunc,sparse status=none
	install_bios "$disk" "$(sectors_of "$disk" 1 First)"
}
