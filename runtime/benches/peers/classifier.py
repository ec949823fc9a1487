"""fastText's side of `cargo bench -p cupola-curation --bench classifier`: trains and predicts once, prints a line of JSON.

pip install fasttext-wheel==0.9.2 (the package `fasttext` from source is the same code). Arguments: train file, test file, and fastText's options as JSON.
"""

import json
import sys
import time

import fasttext

train, test, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
start = time.perf_counter()
model = fasttext.train_supervised(train, thread=1, verbose=0, **options)
trained = time.perf_counter() - start

with open(test, encoding="utf-8") as file:
    pairs = [line.rstrip("\n").split(" ", 1) for line in file]
lines = [text + "\n" for _, text in pairs]
# The faster of its two ways: a list of lines, or a file that its C++ reads itself.
start = time.perf_counter()
_, labels = model.f.multilinePredict(lines, 1, 0.0, "strict")
listed = time.perf_counter() - start
start = time.perf_counter()
model.f.test(test, 1, 0.0)
read = time.perf_counter() - start
# Which of the two lists holds the labels depends on the version.
predictions = labels if isinstance(labels[0][0], str) else _
right = sum(found[0] == expected for found, (expected, _) in zip(predictions, pairs))
print(json.dumps({"train_secs": trained, "predict_secs": min(listed, read), "accuracy": right / len(pairs)}))
