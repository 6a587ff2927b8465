run() {
    [ $# = 1 ] || fail "top takes one field" 2
    jq --raw-output --arg field "$1" '.[$field] // empty' | sort | uniq -c | sort -k1,1nr -k2 | sed -E 's/^ +//'
}
