#!/bin/bash
# demo.sh       The main job of a pod, on this machine, with the real thing: an
#               appliance, a PDU that switches QEMU machines, their firmware,
#               their disks. `demo.sh down` ends it and leaves nothing behind.
# Each step is a command that you could type yourself; it is shown first.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/build/bin
name=demo
state=$PWD/build/lab/$name
socket=/run/gantry-lab/$name/appliance.sock
key=$state/id_ed25519
ssh_port=2221 page_port=7480

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '\033[2m$ %s\033[0m\n' "${*//$PWD\//}" >&2; "$@"; } # also where a pipe takes what it prints
gantry() { run "$bin/gantry" "$@"; }

if [ "${1:-}" = down ]; then
	[ ! -x "$bin/gantry" ] || "$bin/gantry" lab down --name $name
	exit 0
fi

# Whoever called us with sudo gets the key to log in with; all else of the lab is
# root's, and what is printed says so.
sudo=
[ -z "${SUDO_UID:-}" ] || sudo="sudo "
mkdir -p build/lab
chmod 755 build/lab
hand_over() {
	[ -n "${SUDO_UID:-}" ] || return 0
	chown ":$SUDO_GID" "$state" # to pass, not to write
	chown "$SUDO_UID:$SUDO_GID" "$key" "$key.pub" "$state/known_hosts"
}

began=$SECONDS
"$bin/gantry" lab down --name $name >/dev/null 2>&1 || true # an earlier demo
trap '[ $? = 0 ] || { echo; echo "The demo failed. The lab is left up to look at: ${sudo}build/bin/gantry lab status --name demo; log: build/lab/demo/appliance.log; end it with: make demo-down" >&2; }' EXIT

say "1. A pod comes up: a switch, a PDU, an appliance, and a machine with an empty disk that is off"
gantry lab up --name $name --state "$state" --machines 1 --firmware bios --disk 8 --appliance "$bin/gantry-appliance" --ssh-port $ssh_port --api-port $page_port
export GANTRY_SOCKET=$socket
ssh-keygen -q -t ed25519 -N '' -C gantry-demo -f "$key"
gantry status
echo "Watch it in a browser: http://127.0.0.1:$page_port/"

say "2. The library gets an image: Debian 12"
gantry image import build/images/debian-12.raw --name debian-12 --version 12 --os debian --os-version 12

say "3. The technician vouches for the machine: it is switched on through its outlet, boots from the network and is inspected"
gantry machine accept m1
gantry machine show m1

say "4. Debian is written to its disk, configured and verified; the machine restarts from its own disk and proves who it is"
gantry machine deploy m1 --image debian-12 --hostname web1 --ssh-key "$key.pub"

say "5. It answers SSH with the key that was asked for"
login=(ssh -q -i "$key" -p $ssh_port -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$state/known_hosts" admin@127.0.0.1)
"$bin/gantry" machine show m1 -o json | sed -n 's/^ *"\(ssh-ed25519 [^" ]*\).*/[127.0.0.1]:'$ssh_port' \1/p' >"$state/known_hosts"
run "${login[@]}" 'echo "Hello from $(hostname), $(. /etc/os-release; echo $PRETTY_NAME), kernel $(uname -r), up $(cut -d. -f1 /proc/uptime) s"; df -h / | tail -1'

say "6. It is power-cycled through the PDU: off, poll, on, poll"
gantry machine restart m1

say "7. It is released: its disk is wiped and read back, and it is available again"
gantry machine release m1
gantry machine show m1 | grep -E '^(state|wiped)'

say "8. And deployed again, so that there is something to log in to"
gantry machine deploy m1 --image debian-12 --hostname web1 --ssh-key "$key.pub"
"$bin/gantry" machine show m1 -o json | sed -n 's/^ *"\(ssh-ed25519 [^" ]*\).*/[127.0.0.1]:'$ssh_port' \1/p' >"$state/known_hosts"
hand_over

say "Done in $((SECONDS - began)) s. The pod goes on until: make demo-down"
cat <<TEXT
  log in         ${login[*]//$PWD\//}
  status page    http://127.0.0.1:$page_port/
  metrics        http://127.0.0.1:$page_port/metrics
  commands       ${sudo}build/bin/gantry --socket $socket machine list
  console        ${sudo}build/bin/gantry --socket $socket machine console m1
TEXT
