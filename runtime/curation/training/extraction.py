"""Trains the three tables of boosted trees beside `runtime/curation/src/html/model.rs` and says how they do on hosts they have not seen.

    CUPOLA_SHARED=... cargo bench -p cupola-curation --bench extraction -- --dump /tmp/blocks
    python training/extraction.py /tmp/blocks $CUPOLA_SHARED/data/html [--write src/html]

Needs lightgbm 4.7, numpy and rapidfuzz 3. One thread, fixed seeds: the same pages give the same tables.

A block's label is the share of its words that the page's true text has, in order (longest common subsequence of words). Pages weigh alike. Every figure is of
ten-fold cross-validation over hosts: the second stage is trained on what first stages said of hosts that they had not seen. The last table is of page types.
"""
import collections
import glob
import gzip
import hashlib
import json
import re
import sys
from urllib.parse import urlparse

import lightgbm
import numpy as np
from rapidfuzz.distance import LCSseq

WORD = re.compile(r"\w+")
KINDS = ["article", "forum", "product", "collection", "listing", "documentation", "service"]
FOLDS = 10
BASE = dict(objective="cross_entropy", verbose=-1, num_threads=1, seed=7, deterministic=True, force_col_wise=True, max_bin=127,
            bagging_fraction=0.8, bagging_freq=1, lambda_l2=5.0)
FIRST = dict(BASE, learning_rate=0.08, num_leaves=16, max_depth=8, min_data_in_leaf=40, feature_fraction=0.4)
SECOND = dict(BASE, learning_rate=0.08, num_leaves=10, max_depth=6, min_data_in_leaf=60, feature_fraction=0.5)
FIRST_TREES, SECOND_TREES = 110, 70
KIND = dict(objective="multiclass", num_class=len(KINDS), verbose=-1, num_threads=1, seed=7, deterministic=True, learning_rate=0.1, num_leaves=5,
            min_data_in_leaf=8, feature_fraction=0.5, lambda_l2=5.0)
KIND_ROUNDS = 25
NEWS_WEIGHT = 3.0  # of a Scrapinghub page: they are a fifth of the pages and a set of their own, whose truths are stricter


def truths(root):
    """The true text, the host and the kind of each page."""
    out = {}
    for name, entry in json.load(open(f"{root}/scrapinghub/ground-truth.json")).items():
        out["s/" + name] = (entry["articleBody"], urlparse(entry["url"]).hostname or name, "article")
    for path in sorted(glob.glob(f"{root}/wcxb/*.json.gz")):
        entry = json.load(gzip.open(path))
        host = urlparse(entry["url"] or "").hostname or entry["file_id"]
        out["w/" + entry["file_id"]] = (entry["ground_truth"]["main_content"], host, entry["_internal"]["page_type"]["primary"])
    return out


def labels_of(blocks, truth):
    """The share of each block's words that the truth has."""
    words = [WORD.findall(block.lower()) for block in blocks]
    wanted = WORD.findall(truth.lower())
    numbers = {}
    number = lambda word: numbers.setdefault(word, len(numbers))
    ours = [number(word) for block in words for word in block]
    theirs = [number(word) for word in wanted]
    ours_cut = ours[: max(1, int(12e9 / max(1, len(theirs))))]
    hits = np.zeros(len(ours) + 1)
    if ours and theirs:
        for step in LCSseq.opcodes(ours_cut, theirs):
            if step.tag == "equal":
                hits[step.src_start : step.src_end] = 1
    runs = {tuple(wanted[at : at + 4]) for at in range(len(wanted) - 3)}
    out, start = [], 0
    for block in words:
        share = hits[start : start + len(block)].mean() if block else 0.0
        start += len(block)
        if len(block) >= 8:
            known = np.mean([tuple(block[at : at + 4]) in runs for at in range(len(block) - 3)])
            share = max(share if share > 0.6 or len(block) < 12 else 0.0, known)
        out.append(share)
    return out


class Data:
    """All blocks of all pages."""

    def __init__(self, folder, root):
        self.truth = truths(root)
        self.names = open(f"{folder}/names.txt").read().split("\n")
        self.x = np.fromfile(f"{folder}/features.f32", np.float32).reshape(-1, len(self.names))
        self.page, self.text, self.regions = [], [], []
        for line in open(f"{folder}/blocks.jsonl"):
            page, text, regions, _ = json.loads(line)
            self.page.append(page), self.text.append(text), self.regions.append(regions)
        self.where = collections.defaultdict(list)
        for index, page in enumerate(self.page):
            self.where[page].append(index)
        self.words = [WORD.findall(text) for text in self.text]
        self.size = np.array([len(words) for words in self.words], float)
        self.y = np.zeros(len(self.page), np.float32)
        self.weight = np.zeros(len(self.page))
        self.fold = np.zeros(len(self.page), int)
        for page, index in self.where.items():
            truth, host, _ = self.truth[page]
            self.y[index] = labels_of([self.text[at] for at in index], truth)
            whole = min(self.size[index].sum(), 3 * len(WORD.findall(truth)) + 200)
            self.weight[index] = (self.size[index] + 0.5) / max(whole, 1) * (NEWS_WEIGHT if page[0] == "s" else 1.0)
            self.fold[index] = int(hashlib.sha1(host.encode()).hexdigest(), 16) % FOLDS
        self.weight *= len(self.weight) / self.weight.sum()


def train(settings, trees, x, y, weight=None):
    return lightgbm.train(settings, lightgbm.Dataset(x, y, weight=weight, free_raw_data=True), trees)


def crossed(settings, trees, data, x):
    """What models say of hosts that they have not seen."""
    out = np.zeros(len(x))
    for fold in range(FOLDS):
        seen = data.fold != fold
        out[~seen] = train(settings, trees, x[seen], data.y[seen], data.weight[seen]).predict(x[~seen])
    return out


def threshold_of(p, size):
    """Where the expected F1 of a page is largest, as `context::best_threshold` finds it."""
    order = np.argsort(-p, kind="stable")
    weight = size + 0.5
    hits, taken, every = np.cumsum((p * weight)[order]), np.cumsum(weight[order]), (p * weight).sum()
    f1 = 2 * hits / (taken + every)
    at = f1.argmax()
    return p[order[at]], f1[at]


def context(data, p):
    """The features of `context.rs`."""
    columns = []
    for page, index in data.where.items():
        q, w, n = p[index], data.size[index] + 0.5, len(index)
        at = np.arange(n)
        sums, weights = np.concatenate([[0], np.cumsum(q * w)]), np.concatenate([[0], np.cumsum(w)])
        rows = [q]
        for offset in (-4, -3, -2, -1, 1, 2, 3, 4):
            other = at + offset
            fine = (other >= 0) & (other < n)
            rows.append(np.where(fine, q[np.clip(other, 0, n - 1)], -1.0))
        for reach in (3, 8, 20, 60):
            low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, n)
            rows.append((sums[high] - sums[low]) / (weights[high] - weights[low]))
        threshold, f1 = threshold_of(q, data.size[index])
        rows += [np.full(n, sums[-1] / weights[-1]), np.full(n, q.max()), sums[:-1] / max(sums[-1], 1e-9), sums[-1] - sums[1:], np.full(n, threshold),
                 np.full(n, f1), np.maximum.accumulate(q), np.maximum.accumulate(q[::-1])[::-1]]
        hit, all_ = collections.Counter(), collections.Counter()
        for k, block in enumerate(index):
            for region in data.regions[block]:
                hit[region] += q[k] * w[k]
                all_[region] += w[k]
        up = np.full((n, 6), -1.0)
        for k, block in enumerate(index):
            regions = data.regions[block]
            levels = (regions + [regions[-1]] * 4)[:4] if regions else []
            if not levels:
                up[k, 4:] = 0
            for level, region in enumerate(levels):
                up[k, level] = hit[region] / all_[region]
            if levels:
                up[k, 4], up[k, 5] = hit[levels[1]], hit[levels[3]]
        columns.append((index, np.column_stack(rows + [up])))
    out = np.zeros((len(p), columns[0][1].shape[1]), np.float32)
    for index, values in columns:
        out[index] = values
    return out


def grams(words):
    return collections.Counter(tuple(words[at : at + 4]) for at in range(max(1, len(words) - 3)) if words[at : at + 4])


def evaluate(data, p, article, how=None, floor=0.0, sure=0.0, half=None):
    """Both F1s and WCXB's by kind; `how` is a fixed threshold instead of the page's own, `floor` the least for pages that are
    articles with this likelihood, `half` one half of the hosts."""
    precisions, recalls, kinds = [], [], collections.defaultdict(list)
    for page, (truth, host, kind) in data.truth.items():
        if half is not None and hashlib.sha1(host.encode()).digest()[0] % 2 != half:
            continue
        index = np.array(data.where.get(page, []), int)
        kept = []
        if len(index):
            t = how or max(threshold_of(p[index], data.size[index])[0], floor if article[page] >= sure else 0.0)
            kept = [word for block in index[p[index] >= t] for word in data.words[block]]
        true = WORD.findall(truth)
        if page[0] == "s":
            a, b = grams(true), grams(kept)
            both = sum((a & b).values())
            if b:
                precisions.append(both / sum(b.values()))
            recalls.append(both / max(1, sum(a.values())))
        else:
            a, b = collections.Counter(w.lower() for w in true), collections.Counter(w.lower() for w in kept)
            kinds[kind].append(2 * sum((a & b).values()) / max(1, sum(a.values()) + sum(b.values())))
    precision, recall = np.mean(precisions), np.mean(recalls)
    every = [f1 for values in kinds.values() for f1 in values]
    return 2 * precision * recall / (precision + recall), precision, recall, np.mean(every), {k: round(float(np.mean(v)), 3) for k, v in kinds.items()}


def show(name, data, p, article, **how):
    s, precision, recall, w, kinds = evaluate(data, p, article, **how)
    print(f"{name} {how}: Scrapinghub {s:.4f} ({precision:.3f}, {recall:.3f}), WCXB {w:.4f} {kinds}", flush=True)


def kinds_of(data, whole_from):
    """The page-type model by cross-validation: how likely each page is an article, its accuracy, and its rows and classes."""
    pages = sorted(data.where)
    rows = np.array([data.x[data.where[page][0], whole_from:] for page in pages])
    classes = np.array([KINDS.index(data.truth[page][2]) for page in pages])
    fold = np.array([data.fold[data.where[page][0]] for page in pages])
    out = np.zeros((len(pages), len(KINDS)))
    for one in range(FOLDS):
        seen = fold != one
        out[~seen] = train(KIND, KIND_ROUNDS, rows[seen], classes[seen]).predict(rows[~seen])
    wcxb = np.array([page[0] == "w" for page in pages])
    print(f"page types: accuracy {(out.argmax(1) == classes)[wcxb].mean():.3f} on WCXB")
    return collections.defaultdict(float, zip(pages, out[:, 0])), rows, classes


def table(model, path, what):
    """Writes a model: a tree a line."""
    lines = [f"# {what} Written by training/extraction.py: feature,threshold,left,right … | leaves; a child below zero is leaf -1-child."]
    for tree in model.dump_model()["tree_info"]:
        splits, leaves = [], []

        def walk(node):
            if "leaf_value" in node:
                leaves.append(f"{node['leaf_value']:.6g}")
                return -len(leaves)
            at = len(splits)
            splits.append(None)
            left, right = walk(node["left_child"]), walk(node["right_child"])
            splits[at] = f"{node['split_feature']},{np.float32(node['threshold']):.8g},{left},{right}"
            return at

        root = tree["tree_structure"]
        if "leaf_value" in root:
            splits, leaves = ["0,0,-1,-1"], [f"{root['leaf_value']:.6g}"]
        else:
            walk(root)
        lines.append(" ".join(splits) + " | " + " ".join(leaves))
    open(path, "w").write("\n".join(lines) + "\n")


def main():
    folder, root = sys.argv[1:3]
    data = Data(folder, root)
    whole_from = data.names.index("page.blocks")
    print(f"{len(data.page)} blocks of {len(data.where)} pages, {len(data.names)} features")
    article, rows, classes = kinds_of(data, whole_from)
    show("labels", data, data.y, article, how=0.6)
    p1 = crossed(FIRST, FIRST_TREES, data, data.x)
    show("first", data, p1, article)
    x = np.concatenate([data.x, context(data, p1)], 1)
    p2 = crossed(SECOND, SECOND_TREES, data, x)
    show("second", data, p2, article)
    both = (p1 + p2) / 2  # as in decide.rs
    for settings in ({}, dict(half=0), dict(half=1), dict(floor=0.6, sure=0.85)):
        show("both", data, both, article, **settings)
    np.save(f"{folder}/first.npy", p1)
    np.save(f"{folder}/second.npy", p2)
    if "--write" in sys.argv:
        out = sys.argv[sys.argv.index("--write") + 1]
        table(train(FIRST, FIRST_TREES, data.x, data.y, data.weight), f"{out}/model-first.txt", "How likely a block is content.")
        table(train(SECOND, SECOND_TREES, x, data.y, data.weight), f"{out}/model-second.txt", "The same, knowing what the first stage said around it.")
        table(train(KIND, KIND_ROUNDS, rows, classes), f"{out}/model-kinds.txt", "What kind a page is.")


if __name__ == "__main__":
    main()
