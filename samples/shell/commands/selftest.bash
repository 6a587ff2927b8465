# Calls every command as a user does, failures included, in processes of their own.
run() {
    local records='{"name":"Ada","age":36}
{"name":"Grace","age":85}'
    local self=/usr/local/bin/records address=http://127.0.0.1:9/
    "$self" help >/dev/null
    "$self" count <<<"$records"
    "$self" pick name <<<"$records"
    "$self" sum age <<<"$records"
    "$self" top name <<<"$records"
    "$self" shout <<<"äpfel"
    "$self" table name age <<<"$records"
    "$self" digest <<<"$records"
    "$self" fetch "file://$commands/count.bash"
    if "$self" fetch "$address" 2>/dev/null; then fail "something answers on $address"; fi
    if "$self" pick name <<<'no JSON' 2>/dev/null; then fail "bad records were taken"; fi
    if "$self" nothing 2>/dev/null; then fail "an unknown command was taken"; fi
    echo "selftest: all as expected"
}
