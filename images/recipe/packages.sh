# packages.sh: Debian packages by name, through the host's own apt, kept in
# $CACHE/debs. apt checks every package against the signed release file.

# kernel_package prints the real package behind Debian's kernel meta package.
kernel_package() {
	apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; found = 1; exit}
		END {if (!found) {print "packages.sh: apt knows no linux-image-amd64; run apt-get update" >"/dev/stderr"; exit 1}}'
}

# unpack_packages ROOT NAME... unpacks them without running their scripts.
unpack_packages() {
	local root=$1 name deb version
	shift
	mkdir -p "$root" "$CACHE/debs"
	for name; do
		version=$(apt-cache show --no-all-versions "$name" | awk '/^Version:/ {print $2; exit}')
		[ -n "$version" ] || { echo "packages.sh: apt knows no package $name; run apt-get update" >&2; exit 1; }
		deb=$CACHE/debs/${name}_${version//:/%3a}_amd64.deb
		[ -s "$deb" ] || (cd "$CACHE/debs" && apt-get -qq -o APT::Sandbox::User=root download "$name=$version")
		dpkg-deb -x "$deb" "$root"
		echo "$name $version" >>"$root.packages"
	done
}

# newest_package_date ROOT prints the kernel's build date in seconds: the one
# time stamp that is the same wherever the same packages are used.
newest_package_date() {
	local kernel
	kernel=$(ls "$1"/boot/vmlinuz-* | sort -V | tail -1)
	stat -c %Y "$kernel"
}
