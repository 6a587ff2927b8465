run() {
    cat <<'TEXT'
records COMMAND [ARGUMENTS...] <records

  count                 how many records there are
  pick FIELD            the values of one field, a line each
  sum FIELD             the sum of one field
  top FIELD             the values of one field, most frequent first
  shout                 the text on stdin in capitals
  table FIELD FIELD     two fields as columns
  fetch URL             what is at the address
  digest                the SHA-256 of stdin
  selftest              calls every command
TEXT
}
