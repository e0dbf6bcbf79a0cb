#!/usr/bin/env bash
# Runs a program as ranks of two hosts that are joined by a network alone: two network namespaces with names of their
# own and a virtual cable between them. Ranks talk through TCP, inside a host too; nothing else lies between them.
#
#   two_hosts.sh K PROGRAM [ARG…]      K ranks on each host
#
# Ends with the exit code of mpirun, after saying on the standard error how many bytes went over the cable; with 77 and
# a message where this cannot be done (no root, no iproute2, no namespaces, no mpirun). Leaves nothing behind.
set -euo pipefail

cannot() {
  printf 'two_hosts: %s\n' "$*" >&2
  exit 77
}

(($# >= 2)) || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
readonly ranks="$1"
shift
[[ "$ranks" =~ ^[1-9][0-9]*$ ]] || { echo "two_hosts: K is a whole number from 1, not '$ranks'" >&2; exit 2; }
((EUID == 0)) || cannot "network namespaces need root"
for tool in ip mpirun unshare; do
  command -v "$tool" > /dev/null || cannot "$tool is missing; install iproute2, openmpi-bin and util-linux"
done

# Names of this process, so that several of these can run at once.
readonly a="hosta-$$" b="hostb-$$" cable_a="ca$$" cable_b="cb$$"
readonly subnet="10.$(($$ / 250 % 250 + 1)).$(($$ % 250 + 1))"
scratch="$(mktemp -d)"
readonly scratch

clean_up() {
  local host
  for host in "$a" "$b"; do
    ip netns pids "$host" 2> /dev/null | xargs -r kill -9 2> /dev/null || true
    ip netns del "$host" 2> /dev/null || true
  done
  rm -rf "$scratch" "/tmp/ompi.$a.$EUID" "/tmp/ompi.$b.$EUID"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

ip netns add "$a" 2> "$scratch/why" || cannot "no network namespaces here: $(< "$scratch/why")"
ip netns add "$b"
ip link add "$cable_a" netns "$a" type veth peer name "$cable_b" netns "$b" 2> "$scratch/why" ||
  cannot "no virtual cables here: $(< "$scratch/why")"
ip -n "$a" addr add "$subnet.1/24" dev "$cable_a"
ip -n "$b" addr add "$subnet.2/24" dev "$cable_b"
ip -n "$a" link set lo up && ip -n "$a" link set "$cable_a" up
ip -n "$b" link set lo up && ip -n "$b" link set "$cable_b" up

# What mpirun takes for ssh: AGENT HOST COMMAND…
cat > "$scratch/agent" << AGENT
#!/bin/sh
shift
exec ip netns exec "$b" unshare --uts sh -c 'hostname "\$1"; exec sh -c "\$2"' sh "$b" "\$*"
AGENT
chmod +x "$scratch/agent"

code=0
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
  ip netns exec "$a" unshare --uts sh -c 'hostname "$1"; shift; exec "$@"' sh "$a" \
  mpirun --host "$subnet.1:$ranks,$subnet.2:$ranks" -n "$((2 * ranks))" --bind-to none \
  --mca plm rsh --mca plm_rsh_agent "$scratch/agent" --mca oob_tcp_if_include "$subnet.0/24" \
  --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include "$subnet.0/24" "$@" || code=$?

bytes="$(ip netns exec "$a" cat "/sys/class/net/$cable_a/statistics/tx_bytes")"
printf 'two_hosts: %s bytes went from the first host to the second\n' "$bytes" >&2
exit "$code"
