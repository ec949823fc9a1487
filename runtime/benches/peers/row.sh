#!/usr/bin/env bash
# One row of BENCHMARKS.md: installs the peers of the row in .venv-peers/ROW, and runs both sides by turns. Nothing else should run on the machine.
#
#   CUPOLA_SHARED=FOLDER runtime/benches/peers/row.sh ROW
#
# Rows: extraction, rules, minhash, warc, classifier, training, encoding, ids; and, of our own alone: decontamination, pii, memory.
set -euo pipefail
cd "$(dirname "$0")/../../.."
: "${CUPOLA_SHARED:?says where the shared data are}"
row=${1:?the row to measure}
peers=runtime/benches/peers

# Makes the row's environment, unless it holds just these packages already, and sets `python`.
install() { # PACKAGE…
    local folder=.venv-peers/$row
    python=$PWD/$folder/bin/python
    [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$*" ] && return
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
    echo "$*" > "$folder/.stamp"
}

bench() { # CRATE BENCH ARGUMENT…
    local crate=$1 name=$2
    shift 2
    cargo bench --locked --quiet -p "$crate" --bench "$name" -- "$@"
}

case $row in
extraction)
    install trafilatura==2.3.1 lxml_html_clean==0.4.6 resiliparse==2.0.1
    CARGO_TARGET_DIR=$PWD/.venv-peers/target cargo build --quiet --release --locked --manifest-path $peers/extraction-rust/Cargo.toml
    rust=$PWD/.venv-peers/target/release/extraction-peers
    bench cupola-curation extraction --rounds 5 \
        --peer "trafilatura-crate=$rust trafilatura" --peer "rs-trafilatura=$rust rs-trafilatura" \
        --peer "trafilatura=$python $PWD/$peers/extraction.py trafilatura" --peer "resiliparse=$python $PWD/$peers/extraction.py resiliparse"
    ;;
rules)
    install "datatrove[processing]==0.10.1" spacy==3.8.18
    documents=$PWD/.venv-peers/documents.jsonl
    "$python" $peers/rules.py prepare "$documents"
    bench cupola-curation rules speed "$documents" "$python"
    bench cupola-curation rules decisions "$documents" "$python"
    ;;
minhash)
    install "datatrove[processing]==0.10.1" spacy==3.8.18 rensa==0.5.0 datasketch==2.0.0
    bench cupola-curation minhash peers "$python"
    bench cupola-curation minhash recall 20000
    bench cupola-curation minhash corpus
    ;;
warc)
    install fastwarc==2.0.1
    bench cupola-curation warc "$python" 5
    ;;
classifier)
    install fasttext-wheel==0.9.2
    bench cupola-curation classifier compare --python "$python" --pairs 5
    bench cupola-curation classifier quality
    ;;
training)
    install tokenizers==0.23.3 rustbpe==0.1.0 gigatoken==0.10.0
    RAYON_NUM_THREADS=1 bench cupola-tokenizer train --python "$python" --peers gigatoken --rounds 7
    RAYON_NUM_THREADS=1 bench cupola-tokenizer train --python "$python" --peers rustbpe,huggingface --rounds 3
    ;;
encoding | ids)
    install tokenizers==1.0.0rc3 tiktoken==0.14.0 gigatoken==0.10.0
    export PEERS_PYTHON=$python
    if [ "$row" = ids ]; then bench cupola-tokenizer encode ids; else bench cupola-tokenizer encode speed 5; fi
    ;;
decontamination) bench cupola-curation decontaminate 3 ;;
pii) bench cupola-curation pii 3 ;;
memory) bench cupola-tests curation 10 ;;
*)
    echo "there is no row \`$row\`; rows: extraction rules minhash warc classifier training encoding ids decontamination pii memory" >&2
    exit 2
    ;;
esac
