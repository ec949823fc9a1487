"""The token shards that Cupola's `tokens` step writes, read as Cupola reads them: rows to train on, and bits per byte of the held-out side.

The layout is `specs/src/artifact/tokens.rs`, the held-out rows and their bytes are `runtime/src/train/validation.rs`. The target of a token is the one
after it; that of a shard's last one is the token before a document.
"""

import json
import math
import pathlib

import numpy as np
import torch

NO_TARGET = -100
HELD_OUT_ROWS = 16


class Shard:
    """One domain's documents, end to end."""

    def __init__(self, folder, facts, id_bytes):
        kind = {2: "<u2", 4: "<u4"}[id_bytes]
        self.ids = np.memmap(folder / facts["file"], dtype=kind, mode="r")
        self.starts = np.fromfile(folder / facts["starts"], dtype="<u8").astype(np.int64)
        if len(self.ids) != facts["num_tokens"] or len(self.starts) != facts["num_documents"]:
            raise ValueError(f"{facts['file']}: not as long as the index says")

    def document(self, at):
        end = self.starts[at + 1] if at + 1 < len(self.starts) else len(self.ids)
        return self.ids[self.starts[at]:end]


class Tokens:
    """One side of a corpus."""

    def __init__(self, folder, side):
        folder = pathlib.Path(folder)
        index = json.loads((folder / "index.json").read_text())
        self.vocab_size, self.bos = index["vocab_size"], index["bos_token_id"]
        self.bytes_of = np.fromfile(folder / index["token_bytes"], dtype="<u4").astype(np.int64)
        self.domains = {name: Shard(folder, facts, index["id_bytes"]) for name, facts in sorted(index[side].items())}
        self.weights = {name: index["domain_weights"].get(name, 1.0) for name in self.domains}

    def window(self, domain, row, length):
        """The `length` pairs of an input and its target from `row * length` on; fewer at the shard's end."""
        ids = self.domains[domain].ids
        from_, end = row * length, min((row + 1) * length, len(ids))
        follows = ids[end] if end < len(ids) else self.bos
        return np.append(ids[from_:end], follows).astype(np.int64)

    def num_rows(self, domain, length):
        return -(-len(self.domains[domain].ids) // length)


def shares(weights, count):
    """Which domain each of `count` things is of, as near to the weights as whole things can be at every moment."""
    given = dict.fromkeys(weights, 0)
    total = sum(weights.values())
    for at in range(count):
        domain = max(weights, key=lambda name: weights[name] / total * (at + 1) - given[name])
        given[domain] += 1
        yield domain


def windows(tokens, length, count, seed):
    """Rows as Cupola has them: windows of a domain's text in a seeded order, each once an epoch; domains by their weights."""
    random = np.random.default_rng(seed)
    orders = {name: [] for name in tokens.domains}
    for domain in shares(tokens.weights, count):
        if not orders[domain]:
            # The last window may be shorter.
            whole = len(tokens.domains[domain].ids) // length
            orders[domain] = random.permutation(whole).tolist()
        yield tokens.window(domain, orders[domain].pop(), length)


def documents(tokens, seed):
    """Documents without end, in a seeded order; domains by their weights in tokens."""
    random = np.random.default_rng(seed)
    orders = {name: [] for name in tokens.domains}
    read = dict.fromkeys(tokens.domains, 0)
    while True:
        domain = min(read, key=lambda name: (read[name] / tokens.weights[name], name))
        shard = tokens.domains[domain]
        if not orders[domain]:
            orders[domain] = random.permutation(len(shard.starts)).tolist()
        document = shard.document(orders[domain].pop())
        read[domain] += len(document)
        yield document.astype(np.int64)


def stream(tokens, length, count, seed):
    """nanochat's first loader: documents one after the other, rows cut from them in order."""
    rest, source = np.zeros(0, dtype=np.int64), documents(tokens, seed)
    for _ in range(count):
        while len(rest) < length + 1:
            rest = np.append(rest, next(source))
        yield rest[:length + 1]
        rest = rest[length:]


def best_fit(tokens, length, count, seed, buffered=1000):
    """nanochat's later loader: each row begins with a document; the largest of the waiting ones that fits comes next, and where none does, the
    shortest fills the row and what is left of it is dropped."""
    source, waiting = documents(tokens, seed), []
    for _ in range(count):
        row = np.zeros(0, dtype=np.int64)
        while len(row) < length + 1:
            while len(waiting) < buffered:
                waiting.append(next(source))
            room = length + 1 - len(row)
            sizes = [len(document) for document in waiting]
            fitting = [at for at, size in enumerate(sizes) if size <= room]
            at = max(fitting, key=sizes.__getitem__) if fitting else min(range(len(sizes)), key=sizes.__getitem__)
            row = np.append(row, waiting.pop(at)[:room])
        yield row


LOADERS = {"windows": windows, "stream": stream, "best_fit": best_fit}


def held_out(tokens, length, most_tokens):
    """The rows that Cupola's final evaluation picks: evenly over each domain."""
    everything = sum(len(shard.ids) for shard in tokens.domains.values())
    share = min(1.0, most_tokens / everything)
    for domain in tokens.domains:
        rows = tokens.num_rows(domain, length)
        wanted = math.ceil(rows * share)
        for at in range(wanted):
            yield tokens.window(domain, at * rows // wanted, length)


@torch.no_grad()
def bits_per_byte(logits_of, tokens, length, most_tokens=262_144):
    """All nats over the bytes of text behind the targets. `logits_of` gives `[B, T, V]` for ids `[B, T]`."""
    rows = list(held_out(tokens, length, most_tokens))
    nats, count, text = 0.0, 0, 0
    for at in range(0, len(rows), HELD_OUT_ROWS):
        chunk = rows[at:at + HELD_OUT_ROWS]
        inputs = torch.full((len(chunk), length), tokens.bos)
        targets = torch.full((len(chunk), length), NO_TARGET)
        for place, row in enumerate(chunk):
            inputs[place, :len(row) - 1] = torch.from_numpy(row[:-1])
            targets[place, :len(row) - 1] = torch.from_numpy(row[1:])
            text += int(tokens.bytes_of[row[1:]].sum())
            count += len(row) - 1
        logits = logits_of(inputs).flatten(0, 1).float()
        losses = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=NO_TARGET, reduction="none")
        nats += losses.double().sum().item()
    return {"bpb": nats / text / math.log(2), "loss": nats / count, "tokens": count, "bytes": text}
