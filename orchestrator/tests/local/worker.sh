#!/bin/sh
# A worker that speaks the contract: `worker.sh job.json`. What it does is in the step's name:
# `ok` writes its output; `slow` takes ten beats of 0.1 s and saves one checkpoint a beat; `flaky` fails its first attempt;
# `broken` fails as the user's fault; `greedy` takes 256 MB at once, and 256 MB over 2^n where its micro-batch is halved n times. A step's output is its inputs' outputs, in order, and its name.
job=$1
field() { sed -n "s/^  \"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$job"; }
step=$(field step) staging=$(field staging) events=$(field events) checkpoints=$(field checkpoints)
say() { printf '{"at_millis":1,"event":%s}\n' "$1" >> "$events"; }
say "\"started\",\"token\":\"$(field token)\",\"pid\":$$,\"version\":\"0\""
stop() { say '"failed","class":"transient","code":"cancelled","message":"asked to stop","hint":""'; exit 1; }
trap stop TERM
mkdir -p "$checkpoints"
case $step in
  *slow*)
    beat=$(cat "$checkpoints/beat" 2>/dev/null || echo 0)
    while [ "$beat" -lt 10 ]; do
      sleep 0.1
      beat=$((beat + 1))
      echo "$beat" > "$checkpoints/beat"
      say "\"checkpoint\",\"step\":$beat,\"data_cursor\":$beat,\"file\":\"beat\",\"blake3\":\"\",\"size_bytes\":1"
      say "\"metric\",\"name\":\"loss\",\"step\":$beat,\"value\":$beat.5"
    done ;;
  *flaky*)
    if [ ! -e "$checkpoints/tried" ]; then
      touch "$checkpoints/tried"
      say '"failed","class":"transient","code":"network","message":"try again","hint":""'
      exit 1
    fi ;;
  *greedy*)
    halvings=$(sed -n 's/^  "micro_batch_halvings": \([0-9]*\).*/\1/p' "$job")
    # A program that does not get its memory says so as Rust's allocator does, and aborts.
    if ! dd if=/dev/zero of=/dev/null bs="$((256000000 >> halvings))" count=1 2>/dev/null; then
      echo "memory allocation of $((256000000 >> halvings)) bytes failed" >&2
      kill -ABRT $$
    fi ;;
  *broken*)
    say '"failed","class":"user","code":"bad_input","message":"no such thing","hint":"mend it"'
    exit 2 ;;
esac
for path in $(sed -n 's/^ *"path": "\(.*\)",$/\1/p' "$job"); do cat "$path/out" >> "$staging/out"; done
echo "$step" >> "$staging/out"
say '"finished","summary":{"lines":1}'
