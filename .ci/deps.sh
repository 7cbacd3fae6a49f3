#!/bin/bash
# deps.sh PACKAGE...   Install those Debian packages that are missing, as root or
# with sudo, and start none of their servers: they are programs to build, test and
# compare with, not services of this machine. It is quick when nothing is missing.
set -euo pipefail
# Tests set these two; nobody else needs to.
policy=${GANTRY_POLICY:-/usr/sbin/policy-rc.d} lists=${GANTRY_APT_LISTS:-/var/lib/apt/lists}
mark='# made by .ci/deps.sh of Gantry while it installs packages'

installed() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' | awk '$1 == "installed" {print $2}' | sort; }

# install_all PACKAGE... is the part that needs root.
install_all() {
	apt-get update -qq
	[ $# -gt 0 ] || return 0
	# invoke-rc.d and deb-systemd-invoke ask this file before they start anything:
	# 101 is no. Whoever has one of his own keeps it. One that says it is ours was
	# left by an install that was killed.
	if [ ! -e "$policy" ] || grep -qsF "$mark" "$policy"; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
		chmod 755 "$policy"
	fi
	before=$(installed)
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
	# Nor at the next boot. Without systemd nothing is started at boot anyway.
	[ -d "${GANTRY_SYSTEMD:-/run/systemd/system}" ] || return 0
	comm -13 <(echo "$before") <(installed) | xargs -r dpkg -L |
		sed -n 's,^\(/usr\)\?/lib/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$,\2,p' | sort -u | xargs -r systemctl disable -q
}

if [ "$1" = --install ]; then
	shift
	install_all "$@"
	exit
fi
have=$(installed)
missing=$(comm -23 <(printf '%s\n' "$@" | sort -u) <(echo "$have"))
ls "$lists"/*_Packages* >/dev/null 2>&1 && [ -z "$missing" ] && exit 0
echo "deps: installing" ${missing:-package lists}
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
mkdir -p build
exec 9>build/deps.lock # `make` in two terminals
flock 9
# shellcheck disable=SC2086 # names without spaces
$sudo "$0" --install $missing >build/deps.log 2>&1 || {
	tail -20 build/deps.log >&2
	echo "deps: the packages could not be installed; see build/deps.log" >&2
	exit 1
}
