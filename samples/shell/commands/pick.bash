run() {
    [ $# = 1 ] || fail "pick takes one field" 2
    jq --raw-output --arg field "$1" '.[$field] // empty'
}
