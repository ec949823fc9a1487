"""datatrove's PIIFormatter (e-mail and IP only) for benches/pii.rs: reads texts once, then makes one pass for each line on stdin.

usage: python pii.py TEXTS.jsonl.gz
"""

import gzip
import json
import sys
import time

from datatrove.pipeline.formatters import PIIFormatter


def main() -> None:
    with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    formatter = PIIFormatter(email_replacement="<EMAIL>", ip_replacement="<IP>")
    for _ in sys.stdin:
        started = time.perf_counter()
        finds = sum(formatter.format(text).count("<EMAIL>") for text in texts)
        print(time.perf_counter() - started, finds, flush=True)


main()
