"""The Python peers of the extraction bench: `python extraction.py trafilatura|resiliparse FOLDER OUT`.

Needs trafilatura 2.3.1 (with lxml_html_clean) and resiliparse 2.0.1. FOLDER holds `scrapinghub` and `wcxb`; OUT gets `{"seconds": s, "pages": {name: text}}`.
The seconds are those of extraction from decompressed text in memory, on one thread. Comments are left out, as the sets' texts have none.
"""
import glob
import gzip
import json
import os
import sys
import time


def pages(folder):
    """Names and HTML of all pages."""
    for path in sorted(glob.glob(f"{folder}/scrapinghub/*.html.gz")) + sorted(glob.glob(f"{folder}/wcxb/*.html.gz")):
        name = os.path.basename(path).removesuffix(".html.gz")
        yield ("s/" if "scrapinghub" in path else "w/") + name, gzip.open(path).read().decode("utf-8", "replace")


def extractor(name):
    """The peer's function from HTML to text."""
    if name == "trafilatura":
        import trafilatura

        return lambda html: trafilatura.extract(html, include_comments=False) or ""
    from resiliparse.extract.html2text import extract_plain_text

    return lambda html: extract_plain_text(html, main_content=True, alt_texts=False)


def main():
    name, folder, out = sys.argv[1:4]
    extract = extractor(name)
    every = list(pages(folder))
    start = time.perf_counter()
    answers = {}
    for page, html in every:
        try:
            answers[page] = extract(html)
        except Exception as error:  # noqa: BLE001: a peer's failure on a page is an empty answer
            print(f"{name}: {page}: {error}", file=sys.stderr)
            answers[page] = ""
    seconds = time.perf_counter() - start
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"seconds": seconds, "pages": answers}, file)


if __name__ == "__main__":
    main()
