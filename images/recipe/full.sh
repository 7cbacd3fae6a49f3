# full.sh: Debian 12 for servers. Any machine's disk and network drivers are in
# it; cloud-init reads a NoCloud seed that the configurator writes; the root
# partition is the last one, so it can grow with the disk.

disk_mib=2048 esp_mib=64
uuid_disk=66756c6c-0000-4000-8000-67616e747230
uuid_root=66756c6c-0000-4000-8000-67616e7472ff
fat_id=66756c6c
mke2fs_options='-J size=32'

full_packages=linux-image-amd64,systemd-sysv,udev,dbus,libpam-systemd,systemd-resolved,systemd-timesyncd,cloud-init,cloud-guest-utils,netplan.io,openssh-server,sudo,e2fsprogs,xfsprogs,mdadm,lvm2,gdisk,dosfstools,efibootmgr,iproute2,iputils-ping,netbase,ca-certificates,curl,less,vim-tiny,nftables,zstd,bash-completion,locales,apt-utils,unattended-upgrades

# build_root ROOT: the tree comes from mmdebstrap and is kept as a tar, since
# making it takes minutes; a change of the package lists makes a new one.
build_root() {
	local root=$1 key tar
	key=$({ echo "$full_packages"; cat "$here/full.sh" "$here/full/customize.sh"; apt_lists; } | sha256sum | cut -c1-16)
	tar=$CACHE/full-$key.tar
	if [ ! -s "$tar" ]; then
		rm -f "$CACHE"/full-*.tar
		SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(apt_date)} mmdebstrap --quiet --format=tar --mode=root --variant=minbase \
			--include="$full_packages" --aptopt='Acquire::Languages "none"' \
			--customize-hook="'$here/full/customize.sh' \"\$1\"" bookworm "$tar.part" "$(apt_sources)"
		mv "$tar.part" "$tar"
	fi
	mkdir -p "$root"
	tar -C "$root" --xattrs --acls --numeric-owner -xpf "$tar"
}

# apt_lists prints what identifies the state of the archive.
apt_lists() { sha256sum /var/lib/apt/lists/*_InRelease | cut -d' ' -f1; }

# apt_date is the newest release file's own date.
apt_date() {
	local f newest=0 d
	for f in /var/lib/apt/lists/*_InRelease; do
		d=$(date -d "$(awk '/^Date:/ {sub(/^Date: /, ""); print; exit}' "$f")" +%s)
		[ "$d" -gt "$newest" ] && newest=$d
	done
	echo "$newest"
}

# apt_sources is where the host itself gets its packages from.
apt_sources() {
	local f
	for f in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
		[ -s "$f" ] && { echo "$f"; return; }
	done
	echo "full.sh: this host has neither debian.sources nor sources.list" >&2
	exit 1
}
