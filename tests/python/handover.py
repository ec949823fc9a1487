"""Reads what `cupola export --for` wrote with the engines' own code: Megatron-LM's indexed datasets, torchtitan's config, data, network and rates.

Run: python handover.py CUPOLA SPEC JOB   (with megatron-core==0.16.1, torchtitan==0.2.2, transformers and torch; the tokens of JOB are in the store)

Megatron: every document of every dataset, id by id, against the tokens artifact. torchtitan: `train.toml` is read by its ConfigManager; the loader's
first tokens are those of the artifact's documents; the network has the size that was told, and the logits of Hugging Face's class that
`tokenizer/config.json` names, from the same weights (relative error < 1e-5); the rates begin, stay and end as the run's do.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch


def export(cupola: str, spec: str, job: str, engine: str, out: Path) -> dict:
    command = [cupola, "--json", "export", job, "--for", engine, "--spec", spec, "--out", str(out)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["report"]


def documents(folder: Path, side: str) -> dict:
    """The ids of each document by domain, read from the artifact's own files."""
    index = json.loads((folder / "index.json").read_text())
    kind = np.uint16 if index["id_bytes"] == 2 else np.uint32
    found = {}
    for domain, shard in index[side].items():
        ids = np.fromfile(folder / shard["file"], dtype=kind)
        starts = np.fromfile(folder / shard["starts"], dtype=np.uint64).astype(int)
        found[domain] = np.split(ids, starts[1:])
    return found


def megatron(folder: Path, tokens: Path) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    for side in ["train", "validation"]:
        for domain, wanted in documents(tokens, side).items():
            dataset = IndexedDataset(str(folder / "data" / side / domain), mmap=True)
            assert len(dataset) == len(wanted), (len(dataset), len(wanted))
            assert dataset.document_indices.tolist() == list(range(len(wanted) + 1))
            assert all((dataset[at] == ids).all() for at, ids in enumerate(wanted)), domain
            print(f"megatron {side}/{domain}: {len(wanted)} documents, {sum(map(len, wanted))} ids of {dataset.index.dtype.__name__}")


def torchtitan(folder: Path, tokens: Path, report: dict) -> None:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    from torchtitan.config import ConfigManager
    from torchtitan.distributed import ParallelDims
    from torchtitan.protocols.train_spec import get_train_spec

    config = ConfigManager().parse_args(["--job.config_file", "train.toml"])
    import cupola_recipe

    spec = get_train_spec(config.model.name)
    sizes = spec.model_args[config.model.flavor]
    tokenizer = spec.build_tokenizer_fn(config)
    loader = spec.build_dataloader_fn(dp_world_size=1, dp_rank=0, tokenizer=tokenizer, job_config=config)
    sizes.update_from_config(config)
    row, labels = next(iter(loader))
    row = row["input"]
    assert row.shape == (config.training.local_batch_size, config.training.seq_len), row.shape
    own = {bytes(ids.astype(np.int64)) for parts in documents(tokens, "train").values() for ids in parts}
    first = cupola_recipe.train_documents("data/train")[0]["text"]
    encoded = np.array(tokenizer.encode(first, add_bos=True, add_eos=False), dtype=np.int64)
    assert bytes(encoded) in own, "the loader's ids of the first document are those of the artifact"
    stream = torch.cat([row[0], labels[0][-1:]]).numpy()
    count = min(len(encoded), len(stream))
    assert (stream[:count] == encoded[:count]).all()

    torch.manual_seed(1)
    model = spec.model_cls(sizes)
    with torch.no_grad():
        model.init_weights(buffer_device=torch.device("cpu"))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    count = sum(weight.numel() for weight in model.parameters())
    assert count == report["total_params"], (count, report["total_params"])

    from transformers import AutoConfig, AutoModelForCausalLM

    other = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained("tokenizer"), attn_implementation="eager").float().eval()
    state = spec.state_dict_adapter(sizes, "tokenizer").to_hf(model.state_dict())
    missing = other.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    ids = row[:, : min(64, row.shape[1])]
    with torch.no_grad():
        ours, theirs = model.eval()(ids), other(ids).logits
    far = ((ours - theirs).norm() / theirs.norm()).item()
    assert far < 1e-5, far

    config.optimizer.implementation = "for-loop"
    dims = ParallelDims(dp_replicate=1, dp_shard=1, cp=1, tp=1, pp=1, ep=1, etp=1, world_size=1)
    optimizers = spec.build_optimizers_fn([torch.nn.Linear(1, 1)], config.optimizer, dims)
    schedulers = spec.build_lr_schedulers_fn(optimizers, config.lr_scheduler, config.training.steps)
    rates = [schedulers.schedulers[0].lr_lambdas[0](step) for step in range(config.training.steps)]
    assert max(rates) == 1.0 and rates[0] <= 1.0 and rates[-1] < 1.0
    print(
        f"torchtitan: {count} parameters, logits {far:.1e} from {type(other).__name__}, first row as encoded here; "
        f"rates {rates[0]:.3f}, {rates[len(rates) // 2]:.3f}, {rates[-1]:.4f} of {config.optimizer.lr} over {len(rates)} steps"
    )


def main(cupola: str, spec: str, job: str) -> None:
    plan = json.loads(subprocess.run([cupola, "--json", "plan", spec], check=True, capture_output=True, text=True).stdout)
    print(f"{len(plan['steps'])} steps in the plan")
    artifacts = json.loads(subprocess.run([cupola, "--json", "get", "artifacts"], check=True, capture_output=True, text=True).stdout)
    artifacts = artifacts if isinstance(artifacts, list) else artifacts["artifacts"]
    tokens = next(Path(artifact["path"]) for artifact in artifacts if artifact["kind"] == "tokens")
    with tempfile.TemporaryDirectory() as scratch:
        export(cupola, spec, job, "megatron", Path(scratch) / "megatron")
        report = export(cupola, spec, job, "torchtitan", Path(scratch) / "torchtitan")
        megatron(Path(scratch) / "megatron", tokens.absolute())
        torchtitan(Path(scratch) / "torchtitan", tokens.absolute(), report)


if __name__ == "__main__":
    main(*sys.argv[1:])
