"""Reads the GGUF files that we write with llama.cpp itself, and compares logits and token ids.

    gguf_parity.py WORKER TOKENIZER

WORKER is `cupola-worker`, TOKENIZER a folder with `tokenizer.json` and `texts.jsonl` (`{"text", "ids"}` lines). A tiny random model of every
family that llama.cpp has gets the tokenizer's vocabulary; `cupola-worker gguf` writes it in every number format, and llama.cpp and
`cupola-worker logits` read the same file. llama.cpp keeps keys and values in f16 and quantises the inputs of its products, so that a logit may
differ by a share of the largest one; of fp32 files that is 1e-3. Built with AMX, llama.cpp 0.3.36 ends with a segmentation fault in its products of
q8_0 and q4_0, in its own llama-bench too: `make gguf` builds it without.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZES = dict(
    hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=256,
    bos_token_id=0, eos_token_id=2, pad_token_id=3,
)
LLAMA3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
LINEAR = dict(rope_type="linear", rope_theta=1e4, factor=2.0)
YARN = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=64)
FAMILIES = {
    "llama": dict(rope_parameters=LLAMA3),
    "mistral": dict(sliding_window=None, rope_parameters=LINEAR),
    "qwen2": dict(rope_parameters=YARN),
    "qwen3": dict(head_dim=32),
    "arcee": dict(),
    "gpt2": dict(),
}
GPT2 = dict(n_embd=64, n_layer=3, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=2)
LIMITS = {"fp32": 1e-3, "bf16": 2e-2, "q8_0": 4e-2, "q4_0": 8e-2}
TIME = 60


def random_model(family: str, tied: bool, vocab_size: int):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = GPT2 if family == "gpt2" else SIZES
    torch.manual_seed(11)
    config = AutoConfig.for_model(family, **{**sizes, **FAMILIES[family], "vocab_size": vocab_size, "tie_word_embeddings": tied})
    network = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn_like(weight) * 0.1 + (1.0 if weight.dim() == 1 else 0.0))
    return network.eval()


def run(*words) -> str:
    answer = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def our_logits(worker: str, path: Path, ids: list[int]) -> np.ndarray:
    answer = subprocess.run([worker, "logits", str(path)], input=json.dumps({"ids": ids}), capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return np.array(json.loads(answer.stdout)["logits"], dtype=np.float64)


def their_answer(path: str) -> None:
    """What llama.cpp says of the request on the standard input: in a process without PyTorch, whose threads and llama.cpp's do not agree."""
    import llama_cpp

    request = json.load(sys.stdin)
    model = llama_cpp.Llama(model_path=path, logits_all=True, n_ctx=TIME, verbose=False, n_threads=2)
    model.eval(request["tokens"])
    ids = [model.tokenize(text.encode(), add_bos=False, special=True) for text in request["texts"]]
    json.dump({"logits": model.scores[: len(request["tokens"])].tolist(), "ids": ids}, sys.stdout)


def their(path: Path, tokens: list[int], texts: list[str]) -> dict:
    request = json.dumps({"tokens": tokens, "texts": texts})
    answer = subprocess.run([sys.executable, __file__, "--their", str(path)], input=request, capture_output=True, text=True)
    assert answer.returncode == 0, f"llama.cpp ends with {answer.returncode}: {answer.stderr}"
    return json.loads(answer.stdout)


def main() -> int:
    worker, tokenizer = sys.argv[1], Path(sys.argv[2])
    lines = [json.loads(line) for line in (tokenizer / "texts.jsonl").read_text().splitlines()]
    known = json.loads((tokenizer / "tokenizer.json").read_text())
    ids = list(known["model"]["vocab"].values()) + [token["id"] for token in known["added_tokens"]]
    # Some rows have no token and stay unused.
    vocab_size = (max(ids) + 32) // 32 * 32
    failed = False
    for family in FAMILIES:
        for tied in [False, True]:
            with tempfile.TemporaryDirectory() as temporary:
                folder, out = Path(temporary) / family, Path(temporary) / "out"
                random_model(family, tied, vocab_size).save_pretrained(folder)
                for name in ["tokenizer.json", "tokenizer_config.json"]:
                    shutil.copy(tokenizer / name, folder / name)
                tokens = np.random.default_rng(3).integers(0, vocab_size, TIME).tolist()
                for kind, limit in LIMITS.items():
                    run(worker, "gguf", folder, out, kind)
                    path = out / "model.gguf"
                    texts = lines if family == "llama" and kind == "bf16" and not tied else []
                    theirs = their(path, tokens, [line["text"] for line in texts])
                    wanted = np.array(theirs["logits"])
                    ours = our_logits(worker, path, tokens)
                    off = np.abs(ours - wanted).max() / np.abs(wanted).max()
                    words = f"{family:8} {'tied ' if tied else 'apart'} {kind}: {off:.1e} of the largest logit"
                    if texts:
                        same = sum(ids == line["ids"] for ids, line in zip(theirs["ids"], texts))
                        words += f"; {same} of {len(texts)} texts have the same ids"
                        failed |= same < len(texts)
                    print(words + ("" if off <= limit else f"  OVER {limit}"))
                    failed |= not off <= limit
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1] == "--their":
        their_answer(sys.argv[2])
    else:
        sys.exit(main())
