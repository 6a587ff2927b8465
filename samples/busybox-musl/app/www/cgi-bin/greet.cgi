#!/bin/sh
# Whatever lies in a folder is a greeting: nothing names them.
printf 'Content-Type: text/plain\r\n\r\n'
for greeting in /srv/app/greetings/*.sh; do . "$greeting"; done | sort | tr '[:lower:]' '[:upper:]'
printf 'notice <%s>\n' "${APP_NOTICE-unset}"
