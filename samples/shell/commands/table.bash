run() {
    [ $# = 2 ] || fail "table takes two fields" 2
    jq --raw-output --arg one "$1" --arg two "$2" '[.[$one], .[$two]] | @tsv' >"$scratch"
    paste -d '|' <(cut -f 1 "$scratch") <(cut -f 2 "$scratch")
}
