# What every sample's functional check shares. Sourced, never run.
#
# A check looks at the program from outside only, so that it works on an image with no shell in it. Assertions are
# counted and go on after a failure; `finish` turns the count into the exit status.
# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

# How many times longer everything may take: emulated machines are slow.
patience=${CHECK_PATIENCE:-1}
answer_limit=$((10 * patience))
check_count=0
check_failures=0
check_containers=()
check_directory=$(mktemp -d)
container='' # the id of the container under test
address=''   # its own address, where no proxy accepts for it

if [ $# -lt 1 ]; then
    printf 'usage: %s IMAGE [docker run options...]\n' "$0" >&2
    exit 2
fi
# shellcheck disable=SC2034  # used by the checks
image=$1
shift
# shellcheck disable=SC2034
run_options=("$@")

# Engines sometimes cannot remove a container at once: something of it is busy, or it is being removed already.
remove_container() {
    local attempt
    for attempt in 1 2 3; do
        if docker rm --force --volumes "$1" >/dev/null 2>"$check_directory/error"; then return 0; fi
        if ! docker container inspect "$1" >/dev/null 2>&1; then return 0; fi
        sleep "$attempt"
    done
    cat "$check_directory/error" >&2
}

clean_up() {
    local id
    for id in "${check_containers[@]}"; do
        remove_container "$id"
    done
    rm -rf "$check_directory"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Starts a container of the image in the background, as `docker run -P` does, and finds its address.
# start_container [docker run options...] IMAGE [arguments...]
start_container() {
    local file="$check_directory/container" failed=''
    # A container that could be made but not started is there all the same: the file names it.
    docker run --detach --publish-all --cidfile "$file" "$@" >/dev/null 2>"$check_directory/error" || failed=yes
    container=$(cat "$file" 2>/dev/null || true)
    rm -f "$file"
    if [ -n "$container" ]; then check_containers+=("$container"); fi
    if [ -n "$failed" ]; then
        not_ok "the container starts" "$(cat "$check_directory/error")"
        finish
    fi
    find_address
}

find_address() {
    # A container that ended has no address; docker prints "invalid IP" on some versions.
    address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$container" | awk '{print $1}')
    case $address in
        '' | invalid) address=127.0.0.1 ;;
        *) ;;
    esac
}

is_running() { [ "$(docker inspect --format '{{.State.Running}}' "$container" 2>/dev/null)" = true ]; }

# Waits until the command succeeds: wait_until SECONDS WHAT COMMAND...
wait_until() {
    local limit=$1 what=$2 deadline
    shift 2
    deadline=$((SECONDS + limit * patience))
    until "$@" >/dev/null 2>&1; do
        if ! is_running; then
            not_ok "$what" "the container ended with status $(docker inspect --format '{{.State.ExitCode}}' "$container")"
            finish
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            not_ok "$what" "not within $limit s"
            finish
        fi
        sleep 0.1
    done
    ok "$what"
}

ok() {
    check_count=$((check_count + 1))
    printf 'ok %d - %s\n' "$check_count" "$1"
}

# not_ok NAME [DETAIL]
not_ok() {
    check_count=$((check_count + 1))
    check_failures=$((check_failures + 1))
    printf 'not ok %d - %s\n' "$check_count" "$1"
    if [ $# -gt 1 ]; then printf '%s\n' "$2" | head -n 20 | sed 's/^/    /'; fi
}

# equal NAME EXPECTED ACTUAL
equal() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected: $2"$'\n'"actual:   $3"; fi
}

# contains NAME FRAGMENT TEXT
contains() {
    if [[ "$3" == *"$2"* ]]; then ok "$1"; else not_ok "$1" "no '$2' in: $3"; fi
}

# succeeds NAME COMMAND...
succeeds() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$* failed: $output"; fi
}

# The body of an answer; nothing when there is none: fetch URL [curl options...]
fetch() {
    local url=$1
    shift
    curl --silent --max-time "$answer_limit" "$@" "$url" || true
}

# The status code of an answer: status_of URL [curl options...]
status_of() {
    local url=$1
    shift
    curl --silent --max-time "$answer_limit" --output /dev/null --write-out '%{http_code}' "$@" "$url" || true
}

# One header of an answer, by lower-case name: header_of NAME URL [curl options...]
header_of() {
    local name=$1 url=$2
    shift 2
    curl --silent --max-time "$answer_limit" --output /dev/null --dump-header - "$@" "$url" |
        tr -d '\r' | awk -F': ' -v name="$name" 'tolower($1) == name { print $2; exit }' || true
}

# Whether an answer has the same bytes as a file: same_bytes NAME FILE URL [curl options...]
same_bytes() {
    local name=$1 file=$2 url=$3
    shift 3
    curl --silent --max-time "$answer_limit" --output "$check_directory/body" "$@" "$url" || true
    if cmp -s "$file" "$check_directory/body"; then ok "$name"; else not_ok "$name" "$url differs from $file"; fi
    rm -f "$check_directory/body"
}

# The numeric users of the container's processes whose command line has a word, and not another one (a health check's, which
# is not the container's user), each once: uids_of WORD [BUT]
# (docker top shows the host's names, which say nothing of the image's.)
uids_of() {
    docker top "$container" -eo pid,uid,args 2>/dev/null |
        awk -v word="$1" -v but="${2:-}" 'NR > 1 && index($0, word) && (but == "" || !index($0, but)) { print $2 }' |
        sort -nu | paste -sd ' ' || true
}

# `docker stop` must end the program by its own signal handling, well before the engine kills it.
stops_by_itself() {
    local name=$1 expected=$2 code
    docker stop --time "$answer_limit" "$container" >/dev/null 2>&1 || true
    code=$(docker inspect --format '{{.State.ExitCode}}' "$container" 2>/dev/null || true)
    equal "$name" "$expected" "$code"
}

# Prints the sum, with the container's log when anything failed, and exits.
finish() {
    if [ "$check_failures" != 0 ]; then
        if [ -n "$container" ]; then
            printf '# last log lines of the container:\n'
            docker logs --tail 30 "$container" 2>&1 | sed 's/^/#   /' || true
        fi
        printf '# %d of %d assertions failed on %s\n' "$check_failures" "$check_count" "$image"
        exit 1
    fi
    printf '1..%d\n' "$check_count"
    exit 0
}
