"""Greedy answers of the server beside transformers', token by token.

    serving_parity.py SERVE

SERVE is `cupola-serve`. For each class a small random network is one folder for both: transformers generates 64 tokens greedily after each of 50 prompts of
1 to 190 tokens, one after the other in fp32; the server gets the same prompts, eight at a time. Ids must be equal and log-probabilities within 1e-4. Where
transformers' two likeliest tokens are nearer than 1e-5 either may come: such places are counted, and what follows on another choice is not compared.
Then the server scores each prompt with its answer in every format of weights: log-probabilities must be as near to transformers' in fp32 as
SERVING.md's table says.
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

import tiny_model

SPECIALS = ["<|bos|>", "<|end|>", "<|pad|>"]
VOCAB, CONTEXT, PROMPTS, ANSWER, STREAMS = 512, 512, 50, 64, 8
SIZES = dict(
    hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
    max_position_embeddings=CONTEXT, vocab_size=VOCAB, bos_token_id=0, eos_token_id=1, pad_token_id=2, tie_word_embeddings=False,
)
LLAMA3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
FAMILIES = {
    "llama": {**SIZES, "rope_parameters": LLAMA3},
    "qwen2": SIZES,
    "qwen3": SIZES,
    "gpt2": dict(vocab_size=VOCAB, n_embd=64, n_layer=3, n_head=4, n_positions=CONTEXT, bos_token_id=0, eos_token_id=1, tie_word_embeddings=False),
}
# Options of the server, and how far log-probabilities may be off: mean and largest, nats.
FORMATS = {
    "fp32": (["--precision", "fp32"], 1e-4, 2e-3),
    "bf16": (["--precision", "bf16"], 0.03, 0.3),
    "int8": (["--quantization", "int8"], 0.1, 1.0),
    "int4": (["--quantization", "int4"], 0.5, 5.0),
}
LIMIT, TIE = 1e-4, 1e-5


def words() -> list[str]:
    """The text of each id, none twice: special tokens, bytes, then pairs of letters."""
    letters = [first + second for first in "abcdefghijklmnop" for second in "abcdefghijklmnop"]
    return (SPECIALS + list(tiny_model.byte_chars().values()) + letters)[:VOCAB]


def write_tokenizer(folder: Path) -> None:
    added = [
        {"id": place, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for place, text in enumerate(SPECIALS)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": byte_level,
        "post_processor": None, "decoder": byte_level, "model": {**model, "vocab": {word: id for id, word in enumerate(words())}, "merges": []},
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIALS[0], "eos_token": SPECIALS[1], "pad_token": SPECIALS[2]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def random_model(family: str):
    torch.manual_seed(23)
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family]))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            # Norms multiply by about 1; a bias of 1 would choose the tokens alone.
            is_gain = weight.dim() == 1 and not name.endswith("bias")
            weight.copy_(torch.randn_like(weight) * 0.15 + (1.0 if is_gain else 0.0))
    network.generation_config.eos_token_id = None
    return network.eval()


class Server:
    """`cupola-serve` for one folder, until the block ends."""

    def __init__(self, program: str, folder: Path, options: list[str]):
        command = [program, "--model", f"m={folder}", "--listen", "127.0.0.1:0", "--device", "cpu", "--threads", "1", "--max-slots", str(STREAMS), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __enter__(self):
        line = self.process.stdout.readline()
        found = re.match(r"listening on (http://\S+)", line)
        assert found, f"the server did not start: {line!r}"
        self.url = found[1]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def complete(self, prompt: list[int], **fields) -> dict:
        """A greedy completion's log-probabilities, its tokens as ids."""
        body = {"model": "m", "prompt": prompt, "temperature": 0, "logprobs": 0, **fields}
        request = urllib.request.Request(self.url.rstrip("/") + "/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request) as response:
                logprobs = json.load(response)["choices"][0]["logprobs"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        return {"ids": [IDS[text] for text in logprobs["tokens"]], "logprobs": logprobs["token_logprobs"]}


def text_of(word: str) -> str:
    """A token's text as the API has it."""
    if word in SPECIALS:
        return word
    bytes_of = {char: byte for byte, char in tiny_model.byte_chars().items()}
    raw = bytes(bytes_of[char] for char in word)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


IDS = {text_of(word): id for id, word in enumerate(words())}


def their_answer(network, prompt: list[int]) -> dict:
    ids = torch.tensor([prompt])
    with torch.no_grad():
        answer = network.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=ANSWER, pad_token_id=2, output_logits=True,
            return_dict_in_generate=True,
        )
        # Each token once more in one forward, from the second on.
        whole = torch.log_softmax(network(answer.sequences).logits[0, :-1], -1).gather(1, answer.sequences[0, 1:, None])[:, 0]
    scores = torch.log_softmax(torch.cat(answer.logits), -1)
    tops = scores.topk(2, -1).values
    new = answer.sequences[0, len(prompt):]
    return {
        "all": answer.sequences[0].tolist(), "ids": new.tolist(), "logprobs": scores.gather(1, new[:, None])[:, 0].tolist(),
        "gaps": (tops[:, 0] - tops[:, 1]).tolist(), "whole": whole.tolist(),
    }


class Count:
    """What a comparison of greedy answers found."""

    def __init__(self):
        self.tokens = self.differences = self.ties = self.left_out = 0
        self.worst, self.smallest_gap = 0.0, float("inf")

    def add(self, ours: dict, theirs: dict) -> None:
        assert len(ours["ids"]) == len(theirs["ids"]) == ANSWER, (len(ours["ids"]), len(theirs["ids"]))
        self.ties += sum(gap < TIE for gap in theirs["gaps"])
        self.smallest_gap = min(self.smallest_gap, *theirs["gaps"])
        for place, (id, wanted) in enumerate(zip(ours["ids"], theirs["ids"])):
            if id != wanted:
                if theirs["gaps"][place] >= TIE:
                    self.differences += 1
                self.left_out += ANSWER - place
                return
            self.tokens += 1
            self.worst = max(self.worst, abs(ours["logprobs"][place] - theirs["logprobs"][place]))


def main() -> int:
    program, failed = sys.argv[1], False
    torch.set_num_threads(1)
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            network = random_model(family)
            network.save_pretrained(folder)
            write_tokenizer(folder)
            random = torch.Generator().manual_seed(5)
            prompts = [torch.randint(0, VOCAB, (1 + place * 37 % 190,), generator=random).tolist() for place in range(PROMPTS)]
            theirs = [their_answer(network, prompt) for prompt in prompts]
            said = len({id for answer in theirs for id in answer["ids"]})
            assert said > VOCAB // 8, f"{family} says only {said} different tokens"
            for name, (options, mean_limit, largest_limit) in FORMATS.items():
                with Server(program, folder, options) as server, ThreadPoolExecutor(STREAMS) as pool:
                    if name == "fp32":
                        count = Count()
                        for ours, wanted in zip(pool.map(lambda prompt: server.complete(prompt, max_tokens=ANSWER, ignore_eos=True), prompts), theirs):
                            count.add(ours, wanted)
                        print(
                            f"{family:6} greedy: {count.tokens} of {PROMPTS * ANSWER} tokens equal, {count.differences} answers differ, largest difference of a "
                            f"log-probability {count.worst:.1e} (limit {LIMIT:.0e}); {count.ties} ties below {TIE:.0e}, {count.left_out} tokens left out behind "
                            f"another choice, smallest gap {count.smallest_gap:.1e}"
                        )
                        failed |= count.differences > 0 or not count.worst <= LIMIT
                        # Ties may leave out little: an answer or two.
                        failed |= count.left_out > 2 * ANSWER
                    scored = pool.map(lambda answer: server.complete(answer["all"], max_tokens=0, echo=True), theirs)
                    off = [abs(a - b) for ours, wanted in zip(scored, theirs) for a, b in zip(ours["logprobs"][1:], wanted["whole"], strict=True)]
                    mean, largest = sum(off) / len(off), max(off)
                    holds = mean <= mean_limit and largest <= largest_limit
                    words = f"{family:6} {name}: log-probabilities of {len(off)} tokens differ by {mean:.1e} nats in the mean, by {largest:.1e} at most"
                    print(words + ("" if holds else f"  OVER {mean_limit}; {largest_limit}"))
                    failed |= not holds
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
