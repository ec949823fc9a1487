#!/bin/sh
# A worker that speaks the contract and makes what a gate looks at: every step writes the same few files, and the eval step the report that
# lies beside this script. A file `slow` there makes the steps named in it take as long as that file stays.
job=$1 here=$(dirname "$0")
field() { sed -n "s/^  \"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$job"; }
step=$(field step) staging=$(field staging) events=$(field events)
say() { printf '{"at_millis":1,"event":%s}\n' "$1" >> "$events"; }
say "\"started\",\"token\":\"$(field token)\",\"pid\":$$,\"version\":\"0\""
while [ "$(cat "$here/slow" 2>/dev/null)" = "$step" ]; do sleep 0.05; done
echo "{\"made_by\": \"$(field fingerprint)\"}" > "$staging/config.json"
echo "{}" > "$staging/tokenizer.json"
[ "$step" = report ] && cp "$here/report.json" "$staging/report.json"
say '"finished","summary":{}'
