"""The peer's side of `cargo bench -p cupola-tokenizer --bench encode`: one peer, one vocabulary, one file of documents, in a fresh process.

usage: tokenizer.py PEER VOCABULARY FOLDER DOCUMENTS [IDS]

PEER is tiktoken, gigatoken or tokenizers (Hugging Face); VOCABULARY is gpt2, cl100k (tiktoken's pattern), gpt4 (cl100k's tokens, the published pattern) or o200k. FOLDER holds
gpt2.json, cl100k_base.tiktoken, o200k_base.tiktoken and gpt4.json; DOCUMENTS are texts, each behind its length in bytes (u32, little-endian). Prints the seconds that encoding
took on one thread, the cache cold, and the number of ids; with IDS it writes each document's number of ids and their SHA-256 there.

pip install tiktoken==0.14.0 gigatoken==0.10.0 tokenizers==1.0.0rc3
"""

import hashlib
import json
import os
import struct
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def documents(path):
    data = open(path, "rb").read()
    at, texts = 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return texts


def ranks_of_gpt2(path):
    """Bytes by GPT-2's spelling of them."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    chars = {chr(byte): byte for byte in visible}
    hidden = [byte for byte in range(256) if byte not in visible]
    chars.update({chr(0x100 + place): byte for place, byte in enumerate(hidden)})
    vocab = json.load(open(path))["model"]["vocab"]
    return {bytes(chars[c] for c in token): rank for token, rank in vocab.items() if token != "<|endoftext|>"}


def tiktoken_of(vocabulary, folder):
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    import tiktoken_ext.openai_public as public

    if vocabulary == "gpt2":
        pattern, ranks = public.r50k_pat_str, ranks_of_gpt2(f"{folder}/gpt2.json")
    else:
        name = {"cl100k": "cl100k_base", "gpt4": "cl100k_base", "o200k": "o200k_base"}[vocabulary]
        ranks = load_tiktoken_bpe(f"{folder}/{name}.tiktoken")
        # The patterns stand in the functions that also fetch the ranks: those are here already.
        public.load_tiktoken_bpe = lambda *args, **more: ranks
        pattern = getattr(public, name)()["pat_str"]
        if vocabulary == "gpt4":
            pattern = json.load(open(f"{folder}/gpt4.json"))["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    encoding = tiktoken.Encoding(vocabulary, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return encoding.encode_ordinary


def gigatoken_of(vocabulary, folder):
    import gigatoken

    if vocabulary in ("gpt2", "gpt4"):
        tokenizer = gigatoken.Tokenizer.from_json(open(f"{folder}/{vocabulary}.json", "rb").read())
    else:
        name, scheme = {"cl100k": ("cl100k_base", "gpt4"), "o200k": ("o200k_base", "o200k")}[vocabulary]
        tokenizer = gigatoken.Tokenizer.from_tiktoken(f"{folder}/{name}.tiktoken", scheme, {})
    return tokenizer.encode


def tokenizers_of(vocabulary, folder):
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/{vocabulary}.json")
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def main():
    peer, vocabulary, folder, path, *ids_path = sys.argv[1:]
    encode = {"tiktoken": tiktoken_of, "gigatoken": gigatoken_of, "tokenizers": tokenizers_of}[peer](vocabulary, folder)
    texts = documents(path)
    start = time.perf_counter()
    ids = [encode(text) for text in texts]
    seconds = time.perf_counter() - start
    print(seconds, sum(len(row) for row in ids))
    if ids_path:
        with open(ids_path[0], "w") as file:
            for row in ids:
                digest = hashlib.sha256(struct.pack(f"<{len(row)}I", *row)).hexdigest()
                file.write(f"{len(row)} {digest}\n")


if __name__ == "__main__":
    main()
