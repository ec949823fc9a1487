"""Loads an exported model with transformers and compares its logits, and its bits per byte in the export's report, with ours.

    transformers_parity.py CUPOLA MODEL [STATE [TEXT]]

CUPOLA is the binary, MODEL a model of the newest run (`assistant`), STATE the state folder. Both sides run in fp32 on the CPU;
the largest absolute difference over every logit of 16 texts may be 1e-4, and that of the bits per byte of TEXT 1e-5 (of these texts and
this file where none is given): as trained, and rounded to bf16.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "fn main() { println!(\"hello\"); }",
    "/// Returns the number of elements.\npub fn len(&self) -> usize { self.len }",
    "impl<T: Clone> Iterator for Cycle<T> {",
    "# Usage\n\nAdd this to your `Cargo.toml`:",
    "日本語 and émojis 🦀 in one line",
    "let x = 1_000_000u64 << 3;\n\n\n\t\tlet y = x as f64;",
    "#[derive(Debug, Clone, PartialEq, Eq, Hash)]",
    "match self { Some(value) => value, None => return Err(Error::Missing) }",
] * 2
LIMIT = 1e-4
BITS_LIMIT = 1e-5
LONGEST_WINDOW = 512


def bits_per_byte(folder: Path, data: bytes) -> float:
    """Every token once, in windows that share one token, behind the token that begins documents."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [tokenizer.bos_token_id, *tokenizer(data.decode(), add_special_tokens=False)["input_ids"]]
    longest = min(network.config.max_position_embeddings, LONGEST_WINDOW)
    nats = 0.0
    for start in range(0, len(ids) - 1, longest - 1):
        window = torch.tensor([ids[start : start + longest]])
        with torch.no_grad():
            log_probs = torch.log_softmax(network(window).logits[0, :-1], dim=-1)
        nats -= log_probs.gather(1, window[0, 1:, None]).double().sum().item()
    return nats / math.log(2) / len(data)


def check_quality(export: list[str], text: Path, scratch: Path) -> bool:
    """Whether the reports of exports say what transformers finds."""
    worst = 0.0
    for dtype in ["fp32", "bf16"]:
        folder = scratch / dtype
        command = [*export, "--dtype", dtype, "--quality-text", str(text), "--out", str(folder)]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["bits_per_byte"]
        theirs = bits_per_byte(folder, text.read_bytes()[: report["bytes"]])
        worst = max(worst, abs(report["after"]["fp32"] - theirs))
        if dtype == "fp32":
            worst = max(worst, abs(report["before"] - theirs))
        print(f"{dtype}: {theirs:.6f} bits per byte by transformers; ours {report}")
    print(f"largest difference of bits per byte: {worst:.2e} (limit {BITS_LIMIT:.0e})")
    return worst <= BITS_LIMIT


def main() -> None:
    cupola, model = sys.argv[1], sys.argv[2]
    state = ["--state", sys.argv[3]] if len(sys.argv) > 3 else []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        subprocess.run([cupola, *state, "export", model, "--format", "huggingface", "--out", str(folder)], check=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        worker = Path(cupola).with_name("cupola-worker")
        worst = 0.0
        for text in TEXTS:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            request = json.dumps({"ids": ids})
            answer = subprocess.run([worker, "logits", str(folder)], input=request, capture_output=True, text=True, check=True)
            ours = torch.tensor(json.loads(answer.stdout)["logits"])
            with torch.no_grad():
                theirs = network(torch.tensor([ids])).logits[0]
            assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
            worst = max(worst, (ours - theirs).abs().max().item())
        text = Path(sys.argv[4]) if len(sys.argv) > 4 else Path(scratch) / "text"
        if len(sys.argv) <= 4:
            text.write_text("\n".join(TEXTS) + Path(__file__).read_text())
        is_same = check_quality([cupola, *state, "--json", "export", model], text, Path(scratch))
    print(f"{len(TEXTS)} texts, largest absolute difference of a logit: {worst:.2e} (limit {LIMIT:.0e})")
    sys.exit(0 if worst <= LIMIT and is_same else 1)


if __name__ == "__main__":
    main()
