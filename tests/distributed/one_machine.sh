#!/usr/bin/env bash
# A real Slurm on this machine, for tests: Debian's packages slurm-wlm and munge must be installed, and the user be root.
#
#   one_machine.sh start FOLDER   start munged, slurmctld and slurmd; all they write lies in FOLDER
#   one_machine.sh stop FOLDER    stop them
#
# Then: export SLURM_CONF=FOLDER/slurm.conf
set -euo pipefail
action=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
host=$(hostname -s)

stop() {
    if [ -f "$folder/slurmctld.pid" ]; then
        export SLURM_CONF="$folder/slurm.conf"
        timeout 10 scancel --user=root || true
        for _ in $(seq 20); do
            if [ -z "$(timeout 10 squeue --noheader)" ]; then break; fi
            sleep 1
        done
    fi
    for name in slurmd slurmctld munged; do
        if [ -f "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" 2>/dev/null || true; fi
    done
}

start() {
    chmod 755 "$folder"
    mkdir -p "$folder/state" "$folder/spool"
    head -c 1024 /dev/urandom > "$folder/munge.key"
    chmod 600 "$folder/munge.key"
    munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" --force
    # Neither systemd nor cgroups are needed: processes are found through /proc and bound to nothing.
    cat > "$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURM_TEST_PORT:-16817}
SlurmdPort=$((${SLURM_TEST_PORT:-16817} + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=20
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=3
MinJobAge=3600
JobRequeue=1
SchedulerParameters=sched_interval=1
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF="$folder/slurm.conf"
    slurmctld -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF" -N "$host" || { cat "$folder/slurmd.log" >&2; exit 1; }
    for _ in $(seq 300); do
        if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then exit 0; fi
        sleep 1
    done
    tail -n 20 "$folder/slurmctld.log" "$folder/slurmd.log" >&2
    stop
    exit 1
}

case $action in
    start) start ;;
    stop) stop ;;
    *) echo "start or stop?" >&2; exit 2 ;;
esac
