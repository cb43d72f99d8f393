# Sourced: a Slurm of two nodes on this machine, all of it in one folder, as root, without systemd or
# cgroups. cluster_up DIR; cluster_down.

# Debian's Open MPI works with Slurm through PMIx only.
cluster_missing() {
    local tool PATH=$PATH:/usr/sbin
    for tool in slurmctld slurmd munged srun sbatch scontrol mpirun; do
        command -v "$tool" >/dev/null ||
            { echo "$tool not found (apt install slurmctld slurmd slurm-client munge)" && return; }
    done
    [ "$(id -u)" -eq 0 ] || { echo "needs root, for slurmd" && return; }
    [ -n "$(find /usr/lib* -path '*slurm*' -name 'mpi_pmix*.so' -print -quit)" ] || echo "this Slurm has no PMIx"
}

cluster_config() {
    local host=$1 cores i
    cores=$(nproc)
    cat <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$cluster_port
AuthType=auth/munge
AuthInfo=socket=$cluster/run/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool/%n
TmpFS=$cluster/tmp/%n
SlurmctldPidFile=$cluster/run/slurmctld.pid
SlurmdPidFile=$cluster/run/slurmd.%n.pid
SlurmctldLogFile=$cluster/log/slurmctld.log
SlurmdLogFile=$cluster/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MpiDefault=pmix
MpiParams=ports=$((cluster_port + 100))-$((cluster_port + 200))
ReturnToService=2
SlurmdTimeout=20
KillWait=10
CONF
    for i in 1 2; do
        echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((cluster_port + i))" \
            "CPUs=$cores CoresPerSocket=$cores Sockets=1 ThreadsPerCore=1 RealMemory=2000"
    done
    echo "PartitionName=main Nodes=n[1-2] Default=YES PriorityTier=10 PreemptMode=REQUEUE GraceTime=4"
    echo "PartitionName=urgent Nodes=n[1-2] PriorityTier=100 PreemptMode=OFF"
}

cluster_up() {
    cluster=$1 cluster_port=17800
    export SLURM_CONF=$cluster/slurm.conf PATH=$PATH:/usr/sbin
    mkdir -p "$cluster"/{log,state,run,spool/n1,spool/n2,tmp/n1,tmp/n2}
    chmod 755 "$cluster"
    dd if=/dev/urandom of="$cluster/munge.key" bs=1024 count=1 status=none
    chmod 600 "$cluster/munge.key"
    munged --force --socket="$cluster/run/munge.sock" --key-file="$cluster/munge.key" \
        --pid-file="$cluster/run/munged.pid" --log-file="$cluster/log/munged.log" \
        --seed-file="$cluster/run/munged.seed" || return
    cluster_config "$(hostname -s)" >"$SLURM_CONF"
    slurmctld -c || return
    cluster_node_up n1 && cluster_node_up n2
}

# Starts a node and waits until it can take jobs.
cluster_node_up() {
    local i
    slurmd -c -N "$1" || return
    for i in $(seq 300); do
        [ "$(sinfo -h -n "$1" -o %t 2>/dev/null | head -n 1)" = idle ] && return
        sleep 0.1
    done
    echo "node $1 does not come up" >&2
    return 1
}

# As if its power was cut: the daemon, what it runs, and nothing else.
cluster_node_kill() {
    local daemon pid
    daemon=$(cat "$cluster/run/slurmd.$1.pid")
    # Steps of the node know its spool folder; their tasks are their children.
    for pid in $(pgrep -x slurmstepd); do
        grep -qz "SLURMD_NODENAME=$1" "/proc/$pid/environ" 2>/dev/null ||
            tr '\0' '\n' <"/proc/$pid/cmdline" | grep -q "\[.*\]" || continue
        for task in $(pgrep -P "$pid"); do
            grep -qz "SLURMD_NODENAME=$1" "/proc/$task/environ" 2>/dev/null && kill -KILL "$task" "$pid"
        done
    done
    kill -KILL "$daemon"
    rm -rf "$cluster/spool/$1"/* "$cluster/tmp/$1"/* # a stale socket of PMIx would stop the next step
}

cluster_down() {
    local file
    scancel -u root 2>/dev/null
    sleep 1
    for file in "$cluster"/run/slurmd.*.pid "$cluster/run/slurmctld.pid" "$cluster/run/munged.pid"; do
        [ -f "$file" ] && kill "$(cat "$file")" 2>/dev/null
    done
    for file in $(seq 50); do
        kill -0 "$(cat "$cluster/run/slurmctld.pid" 2>/dev/null)" 2>/dev/null || break
        sleep 0.1
    done
}
