#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
head -c "${CONTENT_LENGTH:-0}" | tee "/tmp/body.$$" | sha256sum | awk '{ print $1 }'
gzip -c "/tmp/body.$$" | gunzip | wc -c
rm "/tmp/body.$$"
