#!/usr/bin/env bash
# Runs every fuzz target for a while on the toolchain that builds the product, beginning with what the tests read. It ends with the first crash.
#
#   cargo install cargo-fuzz --locked
#   CUPOLA_SHARED=… runtime/benches/fuzz.sh [SECONDS a target, 60] [TARGET…]
#
# Coverage instrumentation is a stable flag of the compiler and there is no sanitizer (the product has no unsafe code), so no nightly is needed;
# RUSTC_BOOTSTRAP lets cargo-fuzz pass its other flags. Corpora and crashes are in runtime/*/fuzz/{corpus,artifacts}, which git ignores.
set -euo pipefail
cd "$(dirname "$0")/.."
secs=${1:-60}
shift || true
export RUSTC_BOOTSTRAP=1

# Copies files of at most 256 KiB as seeds, unpacked where the second argument says so.
seed() { # CORPUS unpack|as-is FILE…
    local corpus=$1 how=$2 file
    shift 2
    mkdir -p "$corpus"
    for file in "$@"; do
        [ -f "$file" ] || continue
        local to
        to="$corpus/seed-$(basename "$file" .gz)"
        [ -e "$to" ] && continue
        if [ "$how" = unpack ]; then gzip -dc "$file" > "$to"; else cp "$file" "$to"; chmod u+w "$to"; fi
        [ "$(stat -c %s "$to")" -le 262144 ] || rm "$to"
    done
}

seeds() { # FOLDER TARGET
    local corpus=$1/corpus/$2 data=${CUPOLA_SHARED:-}/data
    mkdir -p "$corpus"
    seed "$corpus" as-is "$1/seeds/$2"/*
    if [ "$2" = tokenizer_json ]; then seed "$corpus" as-is "$1"/../src/unigram/fixtures/{ours,theirs}.json; fi
    if [ -z "${CUPOLA_SHARED:-}" ]; then
        echo "CUPOLA_SHARED is not set: $2 begins with the seeds of its own alone"
        return
    fi
    case $2 in
        warc) seed "$corpus" as-is "$data"/warc/*.gz "$data"/warc/warcio/* ;;
        html) seed "$corpus" unpack "$data"/html/scrapinghub/0*.html.gz "$data"/html/wcxb/00*.html.gz ;;
    esac
    # What a crate's own tests read.
    if [ -d "$1/../tests/fixtures" ]; then
        find "$1/../tests/fixtures" -type f -size -256k -exec cp -n {} "$corpus" \;
    fi
}

for folder in curation/fuzz tokenizer/fuzz; do
    [ -d "$folder" ] || continue
    for file in "$folder"/fuzz_targets/*.rs; do
        target=$(basename "$file" .rs)
        if [ $# -gt 0 ] && [[ " $* " != *" $target "* ]]; then continue; fi
        seeds "$folder" "$target"
        echo "== $target, $secs s"
        (cd "$(dirname "$folder")" && cargo fuzz run --sanitizer none "$target" -- \
            -max_total_time="$secs" -timeout=20 -rss_limit_mb=2048 -max_len=262144 -print_final_stats=1)
    done
done
echo "no crash"
