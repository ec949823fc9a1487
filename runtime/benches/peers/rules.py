"""datatrove 0.10.1's side of `cargo bench -p cupola-curation --bench rules`, and the documents for both.

    rules.py prepare DOCS.jsonl              2 KB documents out of $CUPOLA_SHARED
    rules.py speed DOCS.jsonl COUNT          prints documents a second over the first COUNT
    rules.py decisions DOCS.jsonl COUNT      prints each filter's verdict, one JSON object a document

Needs: pip install datatrove==0.10.1 spacy
"""
import glob
import gzip
import json
import os
import sys
import time

SIZE = 2048


def cut(text, size):
    data = text.encode()
    for start in range(0, len(data), size):
        yield data[start:start + size].decode(errors="ignore")


def prepare(out):
    root = os.environ["CUPOLA_SHARED"] + "/data"
    documents = []
    for name in sorted(glob.glob(root + "/text/*.jsonl.gz")):
        with gzip.open(name, "rt") as lines:
            pieces = [piece for line in lines for piece in cut(json.loads(line)["text"], SIZE)]
        # As many of each set, over its whole length.
        documents += pieces[::max(1, len(pieces) // 1500)]
    for name in sorted(glob.glob(root + "/html/wcxb/*.json.gz")):
        truth = json.load(gzip.open(name))
        text = truth.get("main_content") or truth.get("ground_truth", {}).get("main_content") or ""
        documents += list(cut(text, SIZE))
    with open(root + "/html/scrapinghub/ground-truth.json") as truths:
        for truth in json.load(truths).values():
            documents += list(cut(truth["articleBody"], SIZE))
    with open(out, "w") as file:
        for text in documents:
            if text.strip():
                file.write(json.dumps({"text": text}) + "\n")


def filters():
    from datatrove.pipeline.filters import (
        C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter)
    return {"repetition": GopherRepetitionFilter(), "quality": GopherQualityFilter(),
            "c4": C4QualityFilter(), "fineweb": FineWebQualityFilter()}


def read(file, count):
    with open(file) as lines:
        return [json.loads(line)["text"] for _, line in zip(range(count), lines)]


def document(text):
    from datatrove.data import Document
    return Document(text=text, id="0")


def speed(file, count):
    from datatrove.utils.text import split_into_parts
    every = read(file, 10 ** 9)
    texts = every[::max(1, len(every) // count)][:count]
    stages = filters()
    for stage in stages.values():
        stage.filter(document("Some words to warm it up."))
    split_into_parts.cache_clear()
    start = time.perf_counter()
    for text in texts:
        one = document(text)
        # All four, as our side measures everything of every document.
        for stage in stages.values():
            try:
                stage.filter(one)
            except ZeroDivisionError:
                pass
    print(len(texts) / (time.perf_counter() - start))


def decisions(file, count):
    stages = filters()
    for text in read(file, count):
        verdict = {}
        for name, stage in stages.items():
            one = document(text)
            try:
                result = stage.filter(one)
                verdict[name] = None if result is True else result[1]
            except ZeroDivisionError:
                verdict[name] = "division by zero"
            if name == "c4":
                verdict["text"] = one.text
        print(json.dumps(verdict))


if __name__ == "__main__":
    mode, file = sys.argv[1:3]
    if mode == "prepare":
        prepare(file)
    else:
        {"speed": speed, "decisions": decisions}[mode](file, int(sys.argv[3]))
