# How start-docker and stop-docker know a dockerd again. Sourced, never run.
# shellcheck shell=bash

dockerd_state=/var/lib/docker-slim-dev
# shellcheck disable=SC2034  # used by the scripts that source this file
dockerd_log=$dockerd_state/dockerd.log
dockerd_note=$dockerd_state/dockerd.pid

# A process is the same only with the same start time in the same boot; the number alone comes round again.
process_identity() {
    local pid=$1 stat
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 0
    # The command name may hold spaces; start time is the 20th field after it. A zombie has ended.
    stat=${stat##*) }
    if [ "${stat%% *}" = Z ]; then return 0; fi
    printf '%s %s %s\n' "$pid" "$(awk '{print $20}' <<<"$stat")" "$(cat /proc/sys/kernel/random/boot_id)"
}

note_dockerd() { process_identity "$1" >"$dockerd_note"; }

# The process id of the noted dockerd, or nothing when it is gone.
noted_dockerd() {
    local noted pid
    noted=$(cat "$dockerd_note" 2>/dev/null) || return 0
    pid=${noted%% *}
    if [ -n "$pid" ] && [ "$(process_identity "$pid")" = "$noted" ]; then printf '%s\n' "$pid"; fi
}
