#!/bin/sh
# A pipeline without a CI system, for cron or a systemd timer:
#
#   nightly.sh FOLDER [OPTIONS OF RUN]
#
# Each run goes to a folder of its own in FOLDER. The first one that passes becomes FOLDER/baseline,
# and every later one is compared with that. Remove the link to start from another. The exit code is
# that of `uintr-harness run`: 1 also if a latency is worse than in the baseline.
set -eu

folder=${1:?"name the folder for the runs"}
shift
run=$folder/$(date -u +%Y-%m-%dT%H%M%SZ)
mkdir -p "$folder"

if [ -e "$folder/baseline" ]; then
	set -- --baseline "$folder/baseline" "$@"
fi
code=0
"$(dirname "$0")/../ci/bootstrap" run --cpu exposed,hidden --smp 2 --out "$run" "$@" || code=$?
if [ "$code" = 0 ] && [ ! -e "$folder/baseline" ]; then
	ln -s "$(basename "$run")" "$folder/baseline"
fi
exit "$code"
