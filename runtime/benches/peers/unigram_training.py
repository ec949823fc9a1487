"""Trains one peer of `runtime/tokenizer/benches/unigram.rs`, which runs this: PEER FOLDER VOCAB_SIZE LONGEST.

The peer `identity` trains nothing: it encodes with FOLDER/unigram.json, bpe.json and bytes.json, and by tiktoken with ours.tiktoken, and writes the ids as ids-FILE.
FOLDER has train.json and held_out.json, lists of texts, and pattern.txt. Writes FOLDER/result.json: seconds of training, tokens of the held-out texts;
and Hugging Face's model as FOLDER/tokenizer.json. Needs `pip install tokenizers sentencepiece tiktoken`.
"""

import json
import pathlib
import sys
import time


def huggingface(folder, texts, held_out, vocab_size, longest):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    pattern = (folder / "pattern.txt").read_bytes().decode()
    tokenizer = Tokenizer(models.Unigram())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        max_piece_length=longest,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    start = time.perf_counter()
    tokenizer.train_from_iterator(texts, trainer)
    secs = time.perf_counter() - start
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    return secs, sum(len(tokenizer.encode(text).ids) for text in held_out)


def sentencepiece(folder, texts, held_out, vocab_size, longest):
    import sentencepiece as peer

    lines = (line for text in texts for line in text.split("\n"))
    prefix = str(folder / "sentencepiece")
    start = time.perf_counter()
    peer.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_prefix=prefix,
        model_type="unigram",
        vocab_size=vocab_size,
        max_sentencepiece_length=longest,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=False,
        num_threads=1,
        minloglevel=2,
    )
    secs = time.perf_counter() - start
    model = peer.SentencePieceProcessor(model_file=prefix + ".model")
    # Line ends are no part of its text: each is a token here as well.
    lines = [line for text in held_out for line in text.split("\n")]
    return secs, sum(len(ids) for ids in model.encode(lines)) + len(lines)


def identity(folder, _texts, held_out, _vocab_size, _longest):
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    from tokenizers import Tokenizer

    frame = json.loads((folder / "tiktoken.json").read_bytes())
    ranks = load_tiktoken_bpe(str(folder / "ours.tiktoken"))
    encodings = {"tiktoken.json": tiktoken.Encoding(mergeable_ranks=ranks, **frame).encode_ordinary}
    for name in ("unigram.json", "bpe.json", "bytes.json"):
        tokenizer = Tokenizer.from_file(str(folder / name))
        encodings[name] = lambda text, tokenizer=tokenizer: tokenizer.encode(text).ids
    num_tokens = 0
    for name, encode in encodings.items():
        ids = [encode(text) for text in held_out]
        num_tokens += sum(map(len, ids))
        (folder / f"ids-{name}").write_text(json.dumps(ids))
    return 0.0, num_tokens


def main():
    peer, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    vocab_size, longest = int(sys.argv[3]), int(sys.argv[4])
    train = {"huggingface": huggingface, "sentencepiece": sentencepiece, "identity": identity}[peer]
    texts, held_out = (json.loads((folder / name).read_bytes()) for name in ("train.json", "held_out.json"))
    result = train(folder, texts, held_out, vocab_size, longest)
    (folder / "result.json").write_text(json.dumps(result))


main()
