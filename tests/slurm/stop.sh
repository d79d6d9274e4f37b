#!/usr/bin/env bash
# Ends the Slurm that start.sh began in the folder $1.
for daemon in slurmd slurmctld; do
  [ -s "$1/$daemon.pid" ] && kill "$(cat "$1/$daemon.pid")"
done
exit 0
