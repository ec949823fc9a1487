"""FastWARC's side of the WARC bench: seconds, records and bytes of blocks of one file.

warc.py FILE            prints them for runtime/curation/benches/warc.rs, which runs this
warc.py --counts FILE…  prints the kinds of records that FastWARC and warcio find: the reference of runtime/curation/tests/read.rs
"""

import collections
import sys
import time

from fastwarc.warc import ArchiveIterator


def read(path):
    start = time.perf_counter()
    records = size = 0
    for record in ArchiveIterator(path, parse_http=False, inplace=True):
        records += 1
        size += len(record.reader.read())
    print(time.perf_counter() - start, records, size)


def kinds(records, kind):
    found = collections.Counter()
    try:
        for record in records:
            found[kind(record)] += 1
    except Exception as error:  # what a reader does not read is a part of the answer
        found[type(error).__name__] += 1
    return dict(sorted(found.items()))


def counts(paths):
    from warcio.archiveiterator import ArchiveIterator as Warcio

    for path in paths:
        with open(path, "rb") as stream:
            fast = kinds(ArchiveIterator(stream, parse_http=False), lambda r: str(r.record_type).split(".")[-1])
        with open(path, "rb") as stream:
            other = kinds(Warcio(stream), lambda r: r.rec_type)
        print(path, "fastwarc", fast, "warcio", other)


if sys.argv[1] == "--counts":
    counts(sys.argv[2:])
else:
    read(sys.argv[1])
