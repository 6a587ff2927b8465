# What the tests in guests of scripts/qemu share: lines as TAP has them, counted. Sourced, never run.
# shellcheck shell=bash

count=0
failures=0

ok() {
    count=$((count + 1))
    printf 'ok %d - %s\n' "$count" "$1"
}

# not_ok NAME [DETAIL]
not_ok() {
    count=$((count + 1))
    failures=$((failures + 1))
    printf 'not ok %d - %s\n' "$count" "$1"
    if [ $# -gt 1 ]; then printf '%s\n' "$2" | tail -n 40 | sed 's/^/    /'; fi
}

# equal NAME EXPECTED ACTUAL
equal() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected: $2"$'\n'"actual:   $3"; fi
}

# contains NAME FRAGMENT TEXT
contains() {
    if [[ "$3" == *"$2"* ]]; then ok "$1"; else not_ok "$1" "no '$2' in: $3"; fi
}

# nothing NAME TEXT
nothing() {
    if [ -z "$2" ]; then ok "$1"; else not_ok "$1" "$2"; fi
}

# The body of an answer, as soon as there is one: answer_of URL
answer_of() {
    curl --silent --fail --max-time 30 --retry 60 --retry-all-errors --retry-delay 1 "$1"
}

# Ends the script: with success where everything held.
finish() {
    printf '1..%d\n# %d assertions, %d failed, %s s after the start of the machine\n' \
        "$count" "$count" "$failures" "$(cut -d' ' -f1 /proc/uptime)"
    [ "$failures" = 0 ] && [ "$count" -gt 0 ]
    exit
}
