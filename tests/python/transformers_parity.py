"""Loads an exported model with transformers and compares its logits, and its bits per byte in the export's report, with ours.

    transformers_parity.py CUPOLA MODEL [STATE [TEXT]]

CUPOLA is the binary, MODEL a model of the newest run (`assistant`), STATE the state folder. Both sides run in fp32 on the CPU;
the largest absolute difference over every logit of 16 texts may be 1e-4, and that of the bits per byte of TEXT 1e-5 (of these texts and
this file where none is given): as trained, and with weights in bf16. Formats that round inputs too (bf16, int8, int4 as they are served) are rounded
here in PyTorch by their definitions, with a limit of 1e-3: sums in another order round some inputs to the other side.
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


FORMAT_LIMIT = 1e-3


def whole(rows: torch.Tensor) -> torch.Tensor:
    """Each row as whole numbers up to 127 and a scale."""
    scale = rows.abs().amax(-1, keepdim=True) / 127
    return torch.where(scale > 0, (rows / scale).round() * scale, torch.zeros_like(rows))


def int4(weights: torch.Tensor) -> torch.Tensor:
    """Groups of 32 as whole numbers from -8 to 7 and a scale in bf16: of a few the one that loses least."""
    groups = weights.view(len(weights), -1, 32)
    extreme = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
    tries = []
    for steps in [-8, -7.75, -7.5, -7.25, -7, -6.75, -6.5, 7, 7.25]:
        scale = (extreme / steps).bfloat16().float()
        tries.append(torch.where(scale != 0, (groups / scale).round().clamp(-8, 7) * scale, torch.zeros_like(groups)))
    lost = torch.stack([((groups - rounded) ** 2).sum(-1, keepdim=True) for rounded in tries])
    best = lost.argmin(0, keepdim=True).expand(1, *groups.shape)
    return torch.stack(tries).gather(0, best)[0].view_as(weights)


def bf16(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().float()


# What a format makes of weights and of inputs.
FORMATS = {"fp32": None, "bf16": (bf16, bf16), "int8": (whole, whole), "int4": (int4, whole)}


def load(folder: Path, name: str) -> torch.nn.Module:
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if FORMATS[name] is None:
        return network
    of_weights, of_inputs = FORMATS[name]
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            # A parameter of its own: the embedding keeps its numbers.
            module.weight = torch.nn.Parameter(of_weights(module.weight.data), requires_grad=False)
            module.register_forward_pre_hook(lambda _, inputs: (of_inputs(inputs[0]),))
    return network


def bits_per_byte(folder: Path, name: str, data: bytes) -> float:
    """Every token once, in windows that share one token, behind the token that begins documents."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), load(folder, name)
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
    is_same = True
    for dtype in ["fp32", "bf16"]:
        folder = scratch / dtype
        command = [*export, "--dtype", dtype, "--quality-text", str(text), "--out", str(folder)]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["bits_per_byte"]
        data = text.read_bytes()[: report["bytes"]]
        ours = {f"{name} of {dtype}": (report["after"][name], folder, name) for name in report["after"]}
        if dtype == "fp32":
            ours["before"] = (report["before"], folder, "fp32")
        for what, (bits, folder, name) in ours.items():
            theirs = bits_per_byte(folder, name, data)
            limit = BITS_LIMIT if name == "fp32" else FORMAT_LIMIT
            is_same &= abs(bits - theirs) <= limit
            print(f"bits per byte, {what}: {bits:.6f}, by transformers {theirs:.6f} (limit {limit:.0e})")
    return is_same


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
