run() {
    [ $# = 1 ] || fail "fetch takes one address" 2
    curl --silent --fail --max-time 10 --output "$scratch" "$1" || fail "cannot fetch $1 (curl status $?)" 3
    cat "$scratch"
}
