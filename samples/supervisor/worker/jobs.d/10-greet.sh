printf "%s, %s!\n" "$WORKER_GREETING" "$(id -un)" >greeting.txt; printf "<%s>\n" "${WORKER_EMPTY-unset}" >empty.txt
