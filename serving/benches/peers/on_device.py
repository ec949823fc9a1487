"""Answers on a CUDA device, over HTTP, beside transformers in its own process.

    on_device.py SERVE [1b]

SERVE is `cupola-serve`. A random Llama of 131.7 M parameters (with `1b`: of 1.1 B) is one folder for both. First greedy answers are compared in fp32: 50
prompts, 64 tokens each. Then tokens a second in bf16: a prompt of 64 tokens and 128 new ones at 1, 8 and 64 streams, from the first request to the last
token, and one prompt of 512 up to its first token; the medians of five rounds in which both take turns.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests/python"))
import tiny_model  # noqa: E402

VOCAB, CONTEXT, PROMPT, ANSWER, LONG_PROMPT, ROUNDS = 30444, 1024, 64, 128, 512, 5
SMALL = dict(num_hidden_layers=12, hidden_size=768, intermediate_size=2048, num_attention_heads=12, num_key_value_heads=12)
LARGE = dict(num_hidden_layers=16, hidden_size=2048, intermediate_size=8192, num_attention_heads=32, num_key_value_heads=8)


def write_model(folder: Path, sizes: dict) -> None:
    config = LlamaConfig(
        vocab_size=VOCAB, max_position_embeddings=CONTEXT, bos_token_id=0, eos_token_id=1, pad_token_id=2, tie_word_embeddings=False, **sizes
    )
    torch.manual_seed(7)
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32).to("cuda")
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.04)
    network.generation_config.eos_token_id = None
    network.save_pretrained(folder)
    specials = ["<|bos|>", "<|end|>", "<|pad|>"]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEF"
    words = [a + b + c for a in letters for b in letters for c in letters]
    words = (specials + list(tiny_model.byte_chars().values()) + words)[:VOCAB]
    added = [
        {"id": place, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for place, text in enumerate(specials)
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": level, "post_processor": None,
        "decoder": level, "model": {**model, "vocab": {word: place for place, word in enumerate(words)}, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": specials[0], "eos_token": specials[1], "pad_token": specials[2]}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))


class Server:
    """`cupola-serve` for the folder, until the block ends."""

    def __init__(self, program: str, folder: Path, precision: str):
        command = [program, "--model", f"m={folder}", "--listen", "127.0.0.1:0", "--max-slots", "64", "--device", "cuda", "--precision", precision]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __enter__(self):
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), f"the server did not start: {line!r}"
        self.url = line.split()[2].rstrip("/")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def complete(self, prompt: list[int], count: int, **fields) -> dict:
        body = {"model": "m", "prompt": prompt, "temperature": 0, "max_tokens": count, "ignore_eos": True, **fields}
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request) as response:
            return json.load(response)


def prompts(rows: int, length: int) -> list[list[int]]:
    return torch.randint(300, VOCAB, (rows, length)).tolist()


def compare(server: Server, network) -> bool:
    """Whether greedy answers are the same; places where transformers' two likeliest tokens are nearer than 1e-5 are counted."""
    equal = different = ties = left_out = 0
    worst = 0.0
    for place in range(50):
        prompt = prompts(1, 1 + place * 37 % 190)[0]
        ids = torch.tensor([prompt], device="cuda")
        answer = network.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=64, pad_token_id=2, output_logits=True, return_dict_in_generate=True
        )
        theirs = answer.sequences[0, len(prompt):].tolist()
        scores = torch.log_softmax(torch.cat(answer.logits), -1)
        tops = scores.topk(2, -1).values
        gaps = (tops[:, 0] - tops[:, 1]).tolist()
        ties += sum(gap < 1e-5 for gap in gaps)
        # The texts of transformers' tokens, by the server itself.
        texts = server.complete(theirs, 0, echo=True, logprobs=0)["choices"][0]["logprobs"]["tokens"]
        ours = server.complete(prompt, 64, logprobs=0)["choices"][0]["logprobs"]
        for at, (text, wanted) in enumerate(zip(ours["tokens"], texts, strict=True)):
            if text != wanted:
                different += gaps[at] >= 1e-5
                left_out += 64 - at
                break
            equal += 1
            worst = max(worst, abs(ours["token_logprobs"][at] - scores[at, theirs[at]].item()))
    print(
        f"greedy in fp32 on the device: {equal} of {50 * 64} tokens equal, {different} answers differ, {ties} ties below 1e-5, {left_out} tokens left out behind "
        f"another choice, log-probabilities within {worst:.1e}",
        flush=True,
    )
    return different == 0 and worst < 1e-3


def ours(server: Server, pool: ThreadPoolExecutor, streams: int, length: int, count: int) -> float:
    asked = prompts(streams, length)
    start = time.perf_counter()
    answers = list(pool.map(lambda prompt: server.complete(prompt, count), asked))
    seconds = time.perf_counter() - start
    assert all(answer["usage"]["completion_tokens"] == count for answer in answers)
    return (length if count == 1 else streams * count) / seconds


def theirs(network, streams: int, length: int, count: int) -> float:
    asked = torch.tensor(prompts(streams, length), device="cuda")
    torch.cuda.synchronize()
    start = time.perf_counter()
    network.generate(
        asked, attention_mask=torch.ones_like(asked), do_sample=False, max_new_tokens=count, min_new_tokens=count, pad_token_id=2
    ).tolist()
    return (length if count == 1 else streams * count) / (time.perf_counter() - start)


def main() -> int:
    program, sizes = sys.argv[1], LARGE if sys.argv[2:] == ["1b"] else SMALL
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(64) as pool:
        folder = Path(temporary)
        write_model(folder, sizes)
        with torch.inference_mode():
            network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to("cuda").eval()
            print(f"{sum(weight.numel() for weight in network.parameters()) / 1e6:.1f} M parameters on {torch.cuda.get_device_name()}", flush=True)
            with Server(program, folder, "fp32") as server:
                holds = compare(server, network)
            network = network.to(torch.bfloat16)
            loads = [(1, PROMPT, ANSWER), (8, PROMPT, ANSWER), (64, PROMPT, ANSWER), (1, LONG_PROMPT, 1)]
            with Server(program, folder, "bf16") as server:
                for streams, length, count in loads:
                    name = f"prefill {length}" if count == 1 else f"{streams} streams"
                    ours(server, pool, streams, length, count), theirs(network, streams, length, count)
                    pairs = [(ours(server, pool, streams, length, count), theirs(network, streams, length, count)) for _ in range(ROUNDS)]
                    us, them = (statistics.median(column) for column in zip(*pairs))
                    ratio = statistics.median(a / b for a, b in pairs)
                    print(f"{name:12} cupola-serve {us:9.0f}  transformers {them:9.0f} tokens/s  ratio {ratio:.2f}", flush=True)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
