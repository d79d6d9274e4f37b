#!/usr/bin/env bash
# A Slurm of one machine in the folder $1 (needs root, slurm-wlm and munge); prints what to export. Stop: stop.sh $1
set -euo pipefail
where=$1
name=$(hostname)
mkdir -p "$where"/{state,spool} /run/munge /var/log/munge /var/lib/munge /etc/munge
chown munge: /run/munge /var/log/munge /var/lib/munge /etc/munge
chmod 755 /run/munge
[ -s /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none; }
chown munge: /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged
cat >"$where/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$name(127.0.0.1)
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$where/state
SlurmdSpoolDir=$where/spool
SlurmctldLogFile=$where/slurmctld.log
SlurmdLogFile=$where/slurmd.log
SlurmctldPidFile=$where/slurmctld.pid
SlurmdPidFile=$where/slurmd.pid
SlurmctldPort=$((20000 + $$ % 10000))
SlurmdPort=$((30000 + $$ % 10000))
ReturnToService=2
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=$name Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$where/slurm.conf
slurmctld
slurmd
for _ in $(seq 60); do
  [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && exit 0
  sleep 0.5
done
sinfo >&2
exit 1
