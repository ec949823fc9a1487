"""Takes tiny random models of every family from transformers to us and back, and compares logits.

    model_round_trip.py WORKER

WORKER is `cupola-worker`. Each family, with embeddings tied and apart, in one file and in shards: the folder that `save_pretrained` writes is
read by `cupola-worker logits`; `cupola-worker convert` writes it again, in the other number of files, and transformers reads that one with no
tensor missing or left over. Both sides run in fp32 on the CPU; a logit may differ by 1e-4. In bf16 the weights are PyTorch's own rounding.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = dict(
    vocab_size=41, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    max_position_embeddings=64, bos_token_id=0, eos_token_id=2, pad_token_id=3,
)
LLAMA3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
FAMILIES = {
    "llama": dict(attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3),
    "qwen2": dict(use_sliding_window=True, sliding_window=7, max_window_layers=1),
    "qwen3": dict(head_dim=16),
    "mistral": dict(sliding_window=9, rope_parameters=dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=16)),
    "gpt2": dict(),
    "arcee": dict(rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=2.0)),
    "nanochat": dict(),
}
GPT2 = dict(vocab_size=41, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=2)
LIMIT = 1e-4
TIME = 29


def random_model(family: str, tied: bool):
    sizes = GPT2 if family == "gpt2" else SIZES
    torch.manual_seed(11)
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**sizes, **FAMILIES[family], "tie_word_embeddings": tied}))
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3 + (1.0 if weight.dim() == 1 else 0.0))
    return network.eval()


def logits(network, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(tokens).logits[0]


def our_logits(worker: str, folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    request = json.dumps({"ids": tokens[0].tolist()})
    answer = subprocess.run([worker, "logits", str(folder)], input=request, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return torch.tensor(json.loads(answer.stdout)["logits"])


def loaded(folder: Path):
    network, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    left = {kind: names for kind, names in report.items() if names}
    assert not left, f"{folder}: {left}"
    return network.eval()


def check(worker: str, scratch: Path, family: str, tied: bool, sharded: bool) -> tuple:
    name = f"{family}-{tied}-{sharded}"
    network, tokens = random_model(family, tied), torch.randint(0, SIZES["vocab_size"], (1, TIME))
    theirs, ours, rough = (scratch / f"{name}-{kind}" for kind in ("theirs", "ours", "bf16"))
    network.save_pretrained(theirs, max_shard_size="10KB" if sharded else "5GB")
    assert (theirs / "model.safetensors").exists() != sharded
    wanted = logits(network, tokens)
    assert wanted.isfinite().all() and wanted.std() > 0.1, name
    there = (our_logits(worker, theirs, tokens) - wanted).abs().max().item()
    subprocess.run([worker, "convert", theirs, ours, "fp32", "5000000000" if sharded else "10000"], check=True)
    assert (ours / "model.safetensors").exists() == sharded
    again = loaded(ours)
    assert type(again) is type(network), (type(again), type(network))
    back = (logits(again, tokens) - wanted).abs().max().item()
    subprocess.run([worker, "convert", theirs, rough, "bf16", "5000000000"], check=True)
    for (key, a), (_, b) in zip(loaded(rough).state_dict().items(), network.bfloat16().state_dict().items()):
        assert a.dtype == torch.bfloat16 and torch.equal(a, b), key
    return there, back


def main() -> None:
    worker, worst = sys.argv[1], 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for family in FAMILIES:
            for tied in (False, True):
                for sharded in (False, True):
                    there, back = check(worker, Path(scratch), family, tied, sharded)
                    worst = max(worst, there, back)
                    words = ("tied" if tied else "apart", "sharded" if sharded else "one file")
                    print(f"{family}, {', '.join(words)}: theirs read by us {there:.1e}, ours read by them {back:.1e}, bf16 equal")
    print(f"largest absolute difference of a logit: {worst:.2e} (limit {LIMIT:.0e})")
    sys.exit(0 if worst <= LIMIT else 1)


if __name__ == "__main__":
    main()
