"""Fine-tunes tiny random models with adapters and has Hugging Face's PEFT load what they leave.

    lora_round_trip.py CUPOLA

CUPOLA is the binary, with `cupola-worker` and `cupola-shim` beside it. For each base that transformers saves, `cupola run sft --set lora=…`; then

- PEFT's `from_pretrained` of the base and what `cupola export --adapter` wrote gives the logits of OUT itself as transformers loads it, and those of `cupola-worker logits OUT`,
  with no adapter left over or missing: relative error at most 1e-5;
- every weight without an adapter has the base's bits, and every weight with one has not;
- a second `cupola run sft` in another state folder leaves the same bytes.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

TOKENIZER = Path(__file__).parents[2] / "runtime/tests/fixtures/tokenizer"
VOCAB, TIME, LIMIT = 387, 40, 1e-5
SIZES = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    max_position_embeddings=128, bos_token_id=0, eos_token_id=2, pad_token_id=None,
)
GPT2 = dict(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=2)
CASES = [
    ("llama", SIZES, "{rank: 4, alpha: 8, dropout: 0.1}"),
    ("qwen3", SIZES, "{rank: 3, alpha: 4, targets: [all-linear], use_rslora: true}"),
    ("gpt2", GPT2, "{rank: 4, targets: [o, down]}"),
    ("gpt2", GPT2, "{rank: 4, targets: [q, k, v, up]}"),
]


def make_base(family: str, sizes: dict, folder: Path) -> None:
    torch.manual_seed(11)
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes, tie_word_embeddings=False))
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn_like(weight) * 0.2 + (1.0 if weight.dim() == 1 else 0.0))
    network.save_pretrained(folder)
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(TOKENIZER / name, folder / name)


def tune(cupola: str, scratch: Path, name: str, lora: str) -> Path:
    """`OUT` of one run in a state folder of its own."""
    out = scratch / name
    fields = dict(
        model=f"{{path: {scratch / 'base'}}}", data=f"[{{format: chat_jsonl, paths: [{scratch / 'chats.jsonl'}]}}]", epochs="2",
        context="{length: 64}", batch="{global_tokens: 256, micro_batch: 1}", precision="fp32", device="cpu", lora=lora,
    )
    sets = [part for key, value in fields.items() for part in ("--set", f"{key}={value}")]
    command = [cupola, "--state", str(scratch / f"{name}.state"), "run", "sft", *sets, "--out", str(out)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return out


def logits(network, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(tokens).logits[0]


def check(cupola: str, family: str, sizes: dict, lora: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        make_base(family, sizes, scratch / "base")
        chats = [json.dumps({"prompt": f"What follows {i}?", "answer": f"It is {i + 1}."}) for i in range(24)]
        (scratch / "chats.jsonl").write_text("\n".join(chats) + "\n")
        out = tune(cupola, scratch, "out", lora)
        again = tune(cupola, scratch, "again", lora)
        for name in ["model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json", "training.json"]:
            assert (out / name).read_bytes() == (again / name).read_bytes(), name
        command = [cupola, "--state", str(scratch / "out.state"), "export", "sft", "--adapter", "--out", str(scratch / "adapter")]
        subprocess.run(command, check=True, capture_output=True)
        exported = sorted(path.name for path in (scratch / "adapter").iterdir())
        assert exported == ["adapter_config.json", "adapter_model.safetensors"], exported
        tokens = torch.randint(0, VOCAB, (1, TIME), generator=torch.Generator().manual_seed(3))
        load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(load(scratch / "base"), scratch / "adapter")
        assert not [w for w in told if "missing" in str(w.message) or "unexpected" in str(w.message).lower()], told
        wanted, merged = logits(adapted, tokens), logits(load(out), tokens)
        worker = Path(cupola).with_name("cupola-worker")
        request = json.dumps({"ids": tokens[0].tolist()})
        answer = subprocess.run([worker, "logits", str(out)], input=request, capture_output=True, text=True, check=True)
        ours = torch.tensor(json.loads(answer.stdout)["logits"])
        moved = ((merged - logits(load(scratch / "base"), tokens)).norm() / merged.norm()).item()
        assert moved > 1e-3, f"training moved nothing: {moved}"
        worst = max(((got - wanted).norm() / wanted.norm()).item() for got in [merged, ours])
        before, after = load_file(scratch / "base/model.safetensors"), load_file(out / "model.safetensors")
        tensors = load_file(out / "adapter/adapter_model.safetensors")
        adapted_weights = {key.removeprefix("base_model.model.").rsplit(".lora_", 1)[0] + ".weight" for key in tensors}
        assert before.keys() == after.keys() and adapted_weights <= before.keys()
        for name, weight in before.items():
            assert torch.equal(weight, after[name]) == (name not in adapted_weights), name
        print(f"{family} {lora}: {len(adapted_weights)} modules, logits moved by {moved:.1e}, PEFT's {worst:.1e} away (limit {LIMIT:.0e})")
        return worst


def main() -> None:
    worst = max(check(sys.argv[1], *case) for case in CASES)
    sys.exit(0 if worst <= LIMIT else 1)


if __name__ == "__main__":
    main()
