"""Loads an exported model with transformers and compares its logits with ours.

    transformers_parity.py CUPOLA MODEL [STATE]

CUPOLA is the binary, MODEL a model of the newest run (`assistant`), STATE the state folder. Both sides run in fp32 on the CPU;
the largest absolute difference over every logit of 16 texts may be 1e-4.
"""

import json
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
    print(f"{len(TEXTS)} texts, largest absolute difference of a logit: {worst:.2e} (limit {LIMIT:.0e})")
    sys.exit(0 if worst <= LIMIT else 1)


if __name__ == "__main__":
    main()
