"""Trains one peer of `runtime/tokenizer/benches/train.rs`, which runs this: PEER FOLDER VOCAB_SIZE.

FOLDER has corpus.txt, whose documents are parted by <|endoftext|>, and pattern.txt. Writes FOLDER/merges.json: seconds, and the merges as pairs of lists
of bytes. rustbpe tells tokens, not pairs: then the second of a pair is empty. Needs `pip install tokenizers rustbpe gigatoken`.
"""

import json
import pathlib
import sys
import time

SEPARATOR = "<|endoftext|>"


def gigatoken(data, _pattern, vocab_size):
    import gigatoken as peer

    data = data.encode()
    start = time.perf_counter()
    # One more token than the others: the separator is one.
    _, merges = peer.train_bpe(data, vocab_size + 1, [SEPARATOR], separator=SEPARATOR.encode())
    return time.perf_counter() - start, merges


def rustbpe(data, pattern, vocab_size):
    import rustbpe as peer

    texts = data.split(SEPARATOR)
    tokenizer = peer.Tokenizer()
    start = time.perf_counter()
    tokenizer.train_from_iterator(iter(texts), vocab_size, pattern=pattern)
    secs = time.perf_counter() - start
    ranks = sorted((rank, token) for token, rank in tokenizer.get_mergeable_ranks())
    return secs, [(token, b"") for rank, token in ranks if rank >= 256]


def huggingface(data, pattern, vocab_size):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    texts = data.split(SEPARATOR)
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    start = time.perf_counter()
    tokenizer.train_from_iterator(texts, trainer)
    secs = time.perf_counter() - start
    back = bytes_of_chars()
    spelled = json.loads(tokenizer.to_str())["model"]["merges"]
    pairs = (merge if isinstance(merge, list) else merge.split(" ") for merge in spelled)
    return secs, [tuple(bytes(back[char] for char in part) for part in pair) for pair in pairs]


def bytes_of_chars():
    """GPT-2's spelling of bytes, backwards."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in visible]
    back = {chr(byte): byte for byte in visible}
    back.update({chr(0x100 + at): byte for at, byte in enumerate(moved)})
    return back


def main():
    peer, folder, vocab_size = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    train = {"gigatoken": gigatoken, "rustbpe": rustbpe, "huggingface": huggingface}[peer]
    # Bytes: reading as text would turn a carriage return and a newline into a newline alone.
    data = (folder / "corpus.txt").read_bytes().decode()
    pattern = (folder / "pattern.txt").read_bytes().decode()
    secs, merges = train(data, pattern, vocab_size)
    merges = [[list(left), list(right)] for left, right in merges]
    (folder / "merges.json").write_text(json.dumps([secs, merges]))


main()
