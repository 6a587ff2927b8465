#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
printf 'query %s as %s\n' "$QUERY_STRING" "$(id -u)"
