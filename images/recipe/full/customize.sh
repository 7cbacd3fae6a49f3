#!/bin/bash
# customize.sh ROOT: what makes a fresh Debian tree an image: no identity, no
# password, no key; a boot entry that follows kernel upgrades; lean cloud-init.
set -euo pipefail
root=$(realpath "$1")
[ "$root" != / ] || { echo "customize.sh: refuses to work on this host itself" >&2; exit 1; }

# Identity is made on the machine.
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
: >"$root/etc/machine-id"
echo debian >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
echo 'LABEL=root / ext4 defaults,discard 0 1' >"$root/etc/fstab"

# Host keys for whoever boots the image without a configurator; cloud-init
# keeps those that are there.
cat >"$root/etc/systemd/system/ssh-host-keys.service" <<'U'
[Unit]
Description=Make SSH host keys that are missing
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
[Install]
WantedBy=multi-user.target
U
mkdir -p "$root/etc/ssh/sshd_config.d"
printf 'PasswordAuthentication no\nPermitRootLogin prohibit-password\n' >"$root/etc/ssh/sshd_config.d/10-image.conf"

# Without a configuration every NIC asks for DHCP. Files of the configurator
# sort before this one.
mkdir -p "$root/etc/systemd/network" "$root/var/lib/cloud/seed/nocloud"
printf '[Match]\nType=ether\n[Network]\nDHCP=yes\n[DHCP]\nUseDomains=yes\n' >"$root/etc/systemd/network/90-dhcp.network"
printf '[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=30\n' |
	install -D -m 644 /dev/stdin "$root/etc/systemd/system/systemd-networkd-wait-online.service.d/any.conf"

# The one locale that needs no generating; cloud-init's default, en_US.UTF-8, is
# not made here, and its module would fail. A seed may ask for another.
echo 'LANG=C.UTF-8' >"$root/etc/default/locale"

# cloud-init looks at the seed and nowhere else, and changes only what a seed
# asks for: looking for clouds is most of its time.
printf 'datasource_list: [ NoCloud, None ]\n' >"$root/etc/cloud/cloud.cfg.d/90_datasource.cfg"
printf 'instance-id: image\n' >"$root/var/lib/cloud/seed/nocloud/meta-data"
printf '#cloud-config\n{}\n' >"$root/var/lib/cloud/seed/nocloud/user-data"
cat >"$root/etc/cloud/cloud.cfg.d/91_image.cfg" <<'C'
network: {config: disabled}
locale: false
ssh_deletekeys: false
ssh_genkeytypes: [ed25519]
disable_root: false
users: []
apt: {preserve_sources_list: true}
manage_etc_hosts: false
cloud_init_modules: [seed_random, bootcmd, write_files, set_hostname, update_hostname, users_groups, ssh]
cloud_config_modules: [ssh_import_id, locale, set_passwords, apt_configure, ntp, timezone, runcmd]
cloud_final_modules: [package_update_upgrade_install, scripts_per_once, scripts_per_boot, scripts_per_instance, scripts_user, final_message, power_state_change]
C

# /vmlinuz and /initrd.img follow the newest kernel (linux-base), so this needs
# no update-grub.
mkdir -p "$root/boot/grub"
cat >"$root/boot/grub/grub.cfg" <<'G'
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
probe --set=uuid --fs-uuid ($root)
linux /vmlinuz root=UUID=$uuid ro console=tty0 console=ttyS0,115200
initrd /initrd.img
boot
G

# The initramfs has the drivers of every machine, compressed for speed; it is
# made again so that its time stamps are fixed.
echo 'MODULES=most' >"$root/etc/initramfs-tools/conf.d/modules"
echo 'COMPRESS=zstd' >"$root/etc/initramfs-tools/conf.d/compress"
chroot "$root" update-initramfs -u -k all >/dev/null
chroot "$root" systemctl -q enable systemd-networkd systemd-resolved ssh ssh-host-keys serial-getty@ttyS0 fstrim.timer
chroot "$root" passwd -q -l root

# What differs from one build to the next and is made again when it is needed.
# Python's compiled files stay: without them cloud-init compiles itself first.
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/{apt,debconf,ldconfig,man,cracklib,fontconfig}/* \
	"$root"/var/log/* "$root"/run/* "$root"/etc/*- "$root"/root/.cache "$root"/root/.bash_history
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
# mmdebstrap keeps its apt.conf there: without it, its last steps would empty the
# package lists of this host instead of the tree's. It removes it itself.
find "$root/tmp" -mindepth 1 -maxdepth 1 ! -name 'mmdebstrap.*' -exec rm -rf {} +
