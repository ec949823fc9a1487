#!/bin/sh
# A worker that speaks the contract. Of the files beside this script, `slow` names the step that takes as long as that file stays, and
# `broken` the one that fails.
job=$1 here=$(dirname "$0")
field() { sed -n "s/^  \"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$job"; }
step=$(field step) staging=$(field staging) events=$(field events)
say() { printf '{"at_millis":1,"event":%s}\n' "$1" >> "$events"; }
say "\"started\",\"token\":\"$(field token)\",\"pid\":$$,\"version\":\"0\""
while [ "$(cat "$here/slow" 2>/dev/null)" = "$step" ]; do sleep 0.05; done
[ "$(cat "$here/broken" 2>/dev/null)" = "$step" ] && exit 1
echo "{\"made_by\": \"$(field fingerprint)\"}" > "$staging/config.json"
echo "{}" > "$staging/tokenizer.json"
say '"finished","summary":{}'
