# What every script here shares. Sourced, never run.
# shellcheck shell=bash

program=$(basename "$0")

# The top of the checkout, whatever directory the caller stands in.
# shellcheck disable=SC2034  # used by the scripts that source this file
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s: %s\n' "$program" "$*" >&2; }

# die MESSAGE [HINT]
die() {
    printf '%s: error: %s\n' "$program" "$1" >&2
    if [ $# -gt 1 ]; then printf '%s: hint: %s\n' "$program" "$2" >&2; fi
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "must be root to run: $*" "run it as root, or install sudo"
    fi
}

# A quiet command whose output is shown only when it fails: quietly LABEL COMMAND...
quietly() {
    local label=$1 log status=0
    shift
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        say "$label failed with status $status; its last lines:"
        tail -n 40 "$log" >&2
        rm -f "$log"
        return "$status"
    fi
    rm -f "$log"
}

# Only one process at a time past this line, by lock name, until the shell ends.
# The descriptor stays open on purpose; children that live on must close it (9>&-).
hold_lock() {
    local file="${TMPDIR:-/tmp}/docker-slim-dev.$(id -u).$1.lock"
    exec 9>"$file"
    flock 9
}

docker_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

need_docker() {
    docker_answers || die "no Docker Engine answers" "run scripts/start-docker"
}

image_exists() { docker image inspect "$1" >/dev/null 2>&1; }

# The value of an image's label, or nothing: image_label IMAGE LABEL
image_label() {
    docker image inspect --format "{{with .Config.Labels}}{{index . \"$2\"}}{{end}}" "$1" 2>/dev/null || true
}

# What identifies the machine's distribution: ID and VERSION_CODENAME, from os-release.
distribution_id() { (. /etc/os-release && printf '%s' "$ID"); }
distribution_codename() { (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}"); }
