#!/bin/sh
# A worker that speaks the contract. Beside it lie the orders: with a file `broken` the step `base` fails as the user's fault; the file
# `bpb` holds the value that the step `report` measures, plus and minus 0.04. The corpus has a validation part that never changes.
job=$1
orders=$(dirname "$0")
field() { sed -n "s/^  \"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$job"; }
step=$(field step) staging=$(field staging) events=$(field events)
say() { printf '{"at_millis":1,"event":%s}\n' "$1" >> "$events"; }
say "\"started\",\"token\":\"$(field token)\",\"pid\":$$,\"version\":\"0\""
case $step in
  corpus)
    mkdir -p "$staging/validation"
    echo same > "$staging/validation/part-0.jsonl.zst" ;;
  base)
    if [ -e "$orders/broken" ]; then
      say '"failed","class":"user","code":"bad_input","message":"no such thing","hint":"mend it"'
      exit 2
    fi ;;
  report)
    bpb=$(cat "$orders/bpb")
    low=$(awk "BEGIN { print $bpb - 0.04 }") high=$(awk "BEGIN { print $bpb + 0.04 }")
    cat > "$staging/report.json" <<REPORT
{ "models": ["base"], "samples": [], "rows": [
  { "suite": "perplexity", "model": "base", "metric": "bpb", "value": $bpb, "stderr": 0.02, "low": $low, "high": $high, "n": 200,
    "method": "", "chance": null, "higher_is_better": false },
  { "suite": "perplexity", "model": "ngram3", "metric": "bpb", "value": $bpb, "stderr": 0.02, "low": $low, "high": $high, "n": 200,
    "method": "", "chance": null, "higher_is_better": false } ] }
REPORT
    ;;
esac
echo "$step" > "$staging/out"
say '"finished","summary":{}'
