run() {
    [ $# = 1 ] || fail "sum takes one field" 2
    jq --raw-output --arg field "$1" '.[$field] // 0' >"$scratch"
    awk '{ sum += $1 } END { printf "%g\n", sum }' "$scratch"
}
