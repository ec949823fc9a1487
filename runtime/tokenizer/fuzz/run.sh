#!/usr/bin/env bash
# Runs every fuzz target for some seconds (60 without an argument); ends with an error if one finds anything.
# Needs a nightly toolchain and `cargo install cargo-fuzz`.
set -euo pipefail
cd "$(dirname "$0")"
for target in tokenizer_json tiktoken encoder; do
    mkdir -p "corpus/$target"
    cargo +nightly fuzz run --fuzz-dir . "$target" "corpus/$target" "seeds/$target" -- -max_total_time="${1:-60}" -max_len=16384 -timeout=10
done
