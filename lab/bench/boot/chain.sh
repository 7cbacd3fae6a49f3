#!/bin/bash
# chain.sh DIR MINI.raw FULL.raw: makes the files of the field's usual chain in DIR: Debian's cloud kernel (the smallest
# that Debian has, unpacked and not installed), a busybox initramfs that fetches, decompresses and writes the image as
# wget | zstd | dd, the iPXE script, loaders, and the images compressed. What is there and newer is kept.
# needs: busybox-static zstd kmod cpio ipxe dpkg and apt
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
mkdir -p "$dir/http" "$dir/tftp"
cp -u /usr/lib/ipxe/{undionly.kpxe,snponly.efi} "$dir/tftp/"
i=2
for name in mini full; do
	image=${!i:-}; i=$((i + 1))
	[ -n "$image" ] && [ -e "$image" ] || continue
	[ "$dir/$name.raw.zst" -nt "$image" ] || { zstd -q -f -3 -T0 "$image" -o "$dir/$name.raw.zst"; touch "$dir/$name.raw.zst"; }
done
[ ! "$dir/http/initrd" -nt "$0" ] || exit 0

deb=$(apt-cache depends --important linux-image-cloud-amd64 | awk '/Depends: linux-image-/{print $2; exit}')
[ -n "$deb" ] || { echo "chain.sh: apt knows no linux-image-cloud-amd64; run apt-get update" >&2; exit 1; }
rm -rf "$dir/kernel"
mkdir "$dir/kernel"
(cd "$dir/kernel" && apt-get -qq -o APT::Sandbox::User=root download "$deb" && dpkg-deb -x ./*.deb root)
version=$(ls "$dir/kernel/root/lib/modules")
depmod -b "$dir/kernel/root" "$version"
cp "$dir/kernel/root/boot/vmlinuz-$version" "$dir/http/vmlinuz"

root=$dir/root
rm -rf "$root"
mkdir -p "$root"/{bin,etc,proc,sys,dev,lib/modules,tmp}
cp /bin/busybox "$root/bin/"
for a in $(busybox --list); do [ -e "$root/bin/$a" ] || ln -s busybox "$root/bin/$a"; done
cp "$(command -v zstd)" "$root/bin/zstd"
for l in $(ldd "$(command -v zstd)" | grep -o '/[^ ]*'); do mkdir -p "$root$(dirname "$l")"; cp -L "$l" "$root$l"; done
n=0
for m in virtio_pci virtio_net virtio_blk; do modprobe -d "$dir/kernel/root" -S "$version" --show-depends $m; done |
	awk '/^insmod/ && !seen[$2]++ {print $2}' | while read -r m; do
	n=$((n + 1))
	cp "$m" "$root/lib/modules/$(printf %02d $n)-$(basename "$m")"
done
printf '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip addr add $ip/24 dev $interface\n' >"$root/etc/udhcpc"
cat >"$root/init" <<'I'
#!/bin/sh
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
echo "CHAIN: start"
for m in /lib/modules/*.ko; do insmod $m; done; ip link set lo up; ip link set eth0 up
udhcpc -i eth0 -s /etc/udhcpc -q -n -t 20 -T 1 >/dev/null; echo "CHAIN: network"
wget -q -O - http://10.77.0.1/img.raw.zst | zstd -dcq | dd of=/dev/vda bs=4M iflag=fullblock conv=fsync 2>/dev/null && echo "CHAIN: written"
poweroff -f
I
chmod +x "$root/init" "$root/etc/udhcpc"
printf '#!ipxe\nkernel http://10.77.0.1/vmlinuz console=ttyS0,115200 quiet loglevel=4 initrd=initrd\ninitrd --name initrd http://10.77.0.1/initrd\nboot\n' >"$dir/http/boot.ipxe"
(cd "$root" && find . | cpio -o -H newc --quiet | zstd -q -9) >"$dir/http/initrd"
rm -rf "$root"
