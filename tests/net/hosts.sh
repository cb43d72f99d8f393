# Sourced: two hosts on this machine, each a network namespace with a name of its own, joined by a
# bridge in a third one, where a link is cut without either host noticing. No other addresses than
# theirs and loopback. hosts_up DIR, or with a slow cable hosts_up DIR DELAY_MS MBIT LOSS_PER_MILLION;
# hosts_second ...; hosts_down; on_host N COMMAND...; hosts_mpirun ARGS...

hosts_missing() {
    command -v ip >/dev/null || { echo "ip not found (apt install iproute2)" && return; }
    command -v mpirun >/dev/null || { echo "mpirun not found" && return; }
    unshare -n -u -m true 2>/dev/null || { echo "needs the right to make network namespaces" && return; }
    ip netns add "nvt$$" 2>/dev/null || { echo "ip netns cannot make a namespace" && return; }
    ip netns del "nvt$$"
}

# veth0 of both hosts, joined at a bridge.
hosts_join() {
    local i
    switch=nv$$s
    ip netns add "$switch"
    ip -n "$switch" link add br0 type bridge
    ip -n "$switch" link set br0 up
    for i in 1 2; do
        ip link add veth0 netns "nv$$h$i" type veth peer name "p$i" netns "$switch"
        ip -n "$switch" link set "p$i" master br0 up
    done
}

# DEVICE of both hosts, joined by the program wire.
# hosts_wire DEVICE DELAY_MS MBIT LOSS_PER_MILLION [BYTES_MAX]
hosts_wire() {
    local i device=$1
    shift
    cc -O2 -D_GNU_SOURCE -o "$hosts/wire" "$(dirname "${BASH_SOURCE[0]}")/wire.c" || return
    rm -f "$hosts/wire.out"
    "$hosts/wire" "nv$$a" "nv$$b" "$@" >"$hosts/wire.out" 2>&1 &
    wire=$!
    for i in $(seq 50); do
        grep -qs ready "$hosts/wire.out" && break
        sleep 0.1
    done
    i=0
    for tap in "nv$$a" "nv$$b"; do
        i=$((i + 1))
        ip link set "$tap" mtu 9000 netns "nv$$h$i"
        ip -n "nv$$h$i" link set "$tap" name "$device"
    done
}

# hosts_address DEVICE NET: both hosts get the address 10.NET.0.N.
hosts_address() {
    local i
    for i in 1 2; do
        ip -n "nv$$h$i" addr add "10.$2.0.$i/24" dev "$1"
        ip -n "nv$$h$i" link set "$1" up
    done
}

# A second network between both, 10.78.0.N; arguments of wire.
hosts_second() { hosts_wire wire1 "$@" && hosts_address wire1 78; }

hosts_up() {
    local i
    hosts=$1 wire=
    shift
    for i in 1 2; do
        ip netns add "nv$$h$i"
    done
    if [ $# -gt 0 ]; then hosts_wire veth0 "$@"; else hosts_join; fi || return
    ip -n "nv$$h1" link set lo up && ip -n "nv$$h2" link set lo up && hosts_address veth0 77 || return
    # What mpirun calls instead of ssh: AGENT HOST COMMAND...
    cat >"$hosts/agent" <<AGENT
#!/bin/bash
while [ "\${1#-}" != "\$1" ]; do shift; done
host=\${1##*.}
shift
exec ip netns exec nv$$h\$host unshare -u bash -c "hostname h\$host; exec bash -c \"\\\$0\"" "\$*"
AGENT
    chmod +x "$hosts/agent"
}

hosts_down() {
    local i pid
    [ -z "$wire" ] || kill "$wire" 2>/dev/null
    for i in "h1" "h2" s; do
        for pid in $(ip netns pids "nv$$$i" 2>/dev/null); do kill -KILL "$pid"; done
        ip netns del "nv$$$i" 2>/dev/null
    done
}

on_host() {
    local host=$1
    shift
    ip netns exec "nv$$h$host" unshare -u bash -c 'hostname h'"$host"'; exec "$@"' host "$@"
}

# mpirun on host 1, one rank on each host; the launcher notices a lost host after 25 s.
hosts_mpirun() {
    on_host 1 mpirun -q --mca plm_rsh_agent "$hosts/agent" --host 10.77.0.1:1,10.77.0.2:1 \
        --mca btl tcp,self --bind-to none --mca mpi_yield_when_idle 1 \
        --mca oob_tcp_if_include 10.77.0.0/24 --mca oob_tcp_keepalive_time 10 \
        --mca oob_tcp_keepalive_intvl 5 --mca oob_tcp_keepalive_probes 3 -np 2 "$@"
}

# down or up: the cable of host 2, at the switch.
hosts_cable() { ip -n "$switch" link set p2 "$1"; }
# Of the slow cable, one way for ever: USR1 what goes to host 2, USR2 what comes from it.
hosts_cut_way() { kill "-$1" "$wire"; }
# What comes in on the ports FIRST-LAST is dropped, on both hosts.
hosts_block() {
    local i
    for i in 1 2; do
        ip -n "nv$$h$i" rule add pref 10 lookup local
        ip -n "nv$$h$i" rule del pref 0
        ip -n "nv$$h$i" rule add pref 5 iif veth0 ipproto tcp dport "$1" blackhole
    done
}
# Every connection of host 2's ranks is reset, as by a firewall that forgot them.
hosts_reset() {
    local port
    for port in $(on_host 2 ss -tnpH | sed -n '/"nvfp4_ppl/s/^[^ ]* *[^ ]* *[^ ]* *[^ ]*:\([0-9]*\) .*/\1/p'); do
        on_host 2 ss -K "sport = :$port" >/dev/null 2>&1
    done
}
# Does host 2 answer host 1? After a cut that takes a moment.
hosts_linked() { [[ $(on_host 1 bash -c 'exec 3<>/dev/tcp/10.77.0.2/9' 2>&1) == *refused* ]]; }
# The ranks that are left on a host.
hosts_ranks() { ip netns pids "nv$$h$1" | xargs -r ps -o comm= -p | grep -c '^nvfp4_ppl' || true; }
