"""MinHash signatures from raw text by a peer: seconds, documents and bands, as one line of JSON.

    pip install "datatrove[processing]==0.10.1" rensa datasketch
    python minhash.py {datatrove,rensa,datasketch} DOCS.jsonl

DOCS.jsonl holds one JSON string a line. Each peer makes 14 x 8 = 112 values over word 5-grams. datatrove normalises and splits as it does
in its pipeline; rensa and datasketch bring no normalisation, so they get lower case and runs of word characters, which is less work.
"""

import json
import re
import sys
import time

BANDS, ROWS, NGRAM = 14, 8, 5
WORD = re.compile(r"\w+")


def shingles(text):
    words = WORD.findall(text.lower())
    return [" ".join(words[at : at + NGRAM]) for at in range(len(words) - NGRAM + 1)]


def datatrove():
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature("/tmp", MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS))
    return lambda text: step.get_signature(step.get_shingles(text))


def rensa():
    from rensa import RMinHash

    def signature(text):
        sketch = RMinHash(num_perm=BANDS * ROWS, seed=1)
        sketch.update(shingles(text))
        return sketch.digest()

    return signature


def datasketch():
    from datasketch import MinHash

    def signature(text):
        sketch = MinHash(num_perm=BANDS * ROWS)
        sketch.update_batch([shingle.encode() for shingle in shingles(text)])
        return sketch.hashvalues

    return signature


def main():
    peer, path = sys.argv[1:]
    with open(path, encoding="utf-8") as lines:
        texts = [json.loads(line) for line in lines]
    signature = {"datatrove": datatrove, "rensa": rensa, "datasketch": datasketch}[peer]()
    signature(texts[0])
    start = time.perf_counter()
    for text in texts:
        signature(text)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "documents": len(texts), "bytes": sum(len(t.encode()) for t in texts)}))


if __name__ == "__main__":
    main()
