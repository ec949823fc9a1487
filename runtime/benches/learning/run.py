"""Cupola's recipe beside nanochat's on the same tokens: validation bits per byte at two sizes and three seeds, and each part of either turned off once.

    python -m pip install torch==2.11.0 numpy transformers
    cargo build --release --workspace --bins
    CUPOLA_SHARED=FOLDER python runtime/benches/learning/run.py compare --cupola target/release/cupola --out FOLDER
    CUPOLA_SHARED=FOLDER python runtime/benches/learning/run.py ablate  --cupola target/release/cupola --out FOLDER

Every run takes one thread. Each result is a file below `--out`, so that the same command goes on where it was stopped; `--most 1` does one missing run
and ends with 3 while others are missing. `agree` scores one model of Cupola's with its own evaluation and with the one that the peer is scored by.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
# Depth, tokens.
SIZES = {"small": (2, 300_000), "large": (3, 300_000)}
OPTIMIZER, MODEL = "jobs.base.optimizer", "jobs.base.model"
CLASS = f"{MODEL}={{ depth: \"${{vars.depth}}\", %s }}"

# What is turned off, or put in its place, in Cupola's recipe.
OURS = {
    "recipe": [],
    "matrices: AdamW for Muon": [f"{OPTIMIZER}.matrices=adamw"],
    "Muon: Newton-Schulz for Polar Express": [f"{OPTIMIZER}.orthogonalization=newton_schulz"],
    "Muon: no Nesterov": [f"{OPTIMIZER}.nesterov=false"],
    "Muon: momentum of 0.95 from the start": [f"{OPTIMIZER}.momentum_warmup={{ from: 0.95 }}"],
    "AdamW: betas of 0.9 and 0.95": [f"{OPTIMIZER}.betas=[0.9, 0.95]"],
    "rates: the head as the vectors": [f"{OPTIMIZER}.groups=[{{ pattern: 'lm_head.*', lr: 0.005657 }}]"],
    "rates: value embeddings as embeddings": [f"{OPTIMIZER}.groups=[{{ pattern: '*value_embeds*', lr: 0.02263 }}]"],
    "schedule: no decay": ["jobs.base.phases=[{ until: 100%, lr: constant }]"],
    "schedule: decay over the last fifth": [
        "jobs.base.phases=[{ until: 80%, lr: constant }, { until: 100%, lr: linear_to_zero }]"
    ],
    "schedule: decay from the start": ["jobs.base.phases=[{ until: 100%, lr: linear_to_zero }]"],
    "schedule: cosine to a tenth": ["jobs.base.phases=[{ until: 100%, lr: cosine }]"],
    "schedule: no warm-up": [f"{OPTIMIZER}.warmup=0%"],
    "no weight decay": [f"{OPTIMIZER}.weight_decay=0"],
    "weight decay along a cosine to zero": [f"{OPTIMIZER}.weight_decay_schedule=cosine"],
    "no clipping": [f"{OPTIMIZER}.grad_clip=0"],
    "z-loss of 1e-4": [f"{OPTIMIZER}.z_loss=0.0001"],
    "average of the weights (0.95)": [f"{OPTIMIZER}.ema={{ decay: 0.95 }}"],
    "μP": [f"{OPTIMIZER}.parametrization=mup"],
    "model: no value embeddings": [f"{MODEL}.value_embeddings=false"],
    "model: no residual scalars": [f"{MODEL}.residual_scalars=false"],
    "model: no soft cap": [f"{MODEL}.logit_softcap=0"],
    "model: tied embeddings": [f"{MODEL}.tie_word_embeddings=true"],
    "model: qwen3 (SwiGLU, QK-norm, gains; the default class)": [CLASS % "model_type: qwen3"],
    "model: llama (qwen3 without QK-norm)": [CLASS % "model_type: llama"],
    "model: arcee (llama with ReLU²)": [CLASS % "model_type: arcee"],
    "rows: best fit, documents apart": ["jobs.base.context.packing=best_fit"],
    "rows: best fit, documents together": [
        "jobs.base.context.packing=best_fit",
        "jobs.base.context.document_mask=false",
    ],
    "rows: documents apart": ["jobs.base.context.document_mask=true"],
}
# The peer as its rules say; with the rates of its reference run, which √(batch / 2^19) makes 16 times smaller; and each part turned off.
RATE = 16
PEER = {
    "rules": [],
    "recipe": ["--rate", str(RATE)],
    "rates times 8": ["--rate", "8"],
    "rates times 4": ["--rate", "4"],
    "rates times 32": ["--rate", "32"],
    "decay by this run's tokens": ["--rate", str(RATE), "--decay-horizon", "run"],
    "first loader": ["--rate", str(RATE), "--loader", "stream"],
    "best-fit loader": ["--rate", str(RATE), "--loader", "best_fit"],
} | {
    f"no {part.replace('_', ' ')}": ["--rate", str(RATE), "--without", part]
    for part in [
        "value_embeddings", "residual_scalars", "smear", "backout", "sharper", "soft_cap", "row_balance", "norm_snap", "variance", "cautious",
        "weight_decay", "warmdown",
    ]
}
# One thread, and freed memory is kept, as Cupola's worker does: returning it to the system costs a quarter of a step.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_TOP_PAD_": str(2**28),
}
SIDES = {"cupola": OURS, "nanochat": PEER}


def output(command, **settings):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **settings)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def apply(args, job, settings):
    """Applies the spec up to a job; gives the folder of each step's artifact."""
    command = [args.cupola, "apply", HERE / "spec.yaml", "--json", "--state", args.out / "state", "--only", job]
    said = output([*command, *(part for setting in settings for part in ("--set", setting))])
    steps = json.loads(said)["run"]["steps"]
    kinds = {"data": "corpus", "pretrain": "model"}
    store = args.out / "state" / "store"
    return {step["kind"]: store / kinds.get(step["kind"], step["kind"]) / step["fingerprint"] for step in steps}


def ours(args, size, variant, seed):
    depth, tokens = SIZES[size]
    sets = [f"vars.depth={depth}", f"vars.tokens={tokens / 1000:g}K", f"vars.seed={seed}", *OURS[variant]]
    folder = apply(args, "base", sets)["pretrain"]
    record = json.loads((folder / "training.json").read_text())
    finals = record["finals"]
    return {
        "bpb": finals["validation_bpb"]["value"],
        "loss": finals["validation_loss"]["value"],
        "params": {"total": record["total_params"], "matrices": record["params"]},
        "steps": record["steps"],
        "losses": [point["value"] for point in record["curves"]["loss"]],
        "model": folder.name,
    }


def peer(args, size, variant, seed):
    depth, tokens = SIZES[size]
    target = args.out / f"peer-{os.getpid()}.json"
    folder = args.out / "tokens"
    command = [sys.executable, HERE / "nanochat.py", folder, "--depth", depth, "--tokens", tokens, "--seed", seed, "--out", target]
    output([*command, *PEER[variant]], env=os.environ | ONE_THREAD)
    found = json.loads(target.read_text())
    target.unlink()
    return found


def name_of(side, size, variant, seed):
    return "".join(letter if letter.isalnum() else "-" for letter in f"{side} {size} {variant} {seed}") + ".json"


def result(args, run):
    path = args.out / "results" / name_of(*run)
    return json.loads(path.read_text()) if path.exists() else None


def carry_out(args, runs):
    """Does what is missing, in order; false where some of it still is."""
    missing = [run for run in runs if result(args, run) is None]
    for run in missing[:args.most]:
        side, size, variant, seed = run
        found = (ours if side == "cupola" else peer)(args, size, variant, seed)
        path = args.out / "results" / name_of(*run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".part").write_text(json.dumps(found))
        path.with_suffix(".part").replace(path)
        print(f"{side}, {size}, {variant}, seed {seed}: {found['bpb']:.4f}", flush=True)
    return args.most is None or len(missing) <= args.most


def prepare(args):
    """Corpus, tokenizer and tokens, once; the peer reads them where `tokens` points."""
    link = args.out / "tokens"
    if not link.exists():
        args.out.mkdir(parents=True, exist_ok=True)
        # A run of one step makes them all.
        folder = apply(args, "base", ["vars.depth=1", "vars.tokens=8K"])["tokens"]
        link.symlink_to(folder.resolve())


def compare(args):
    runs = [
        (side, size, "recipe", seed) for size in args.sizes for seed in args.seeds for side in args.sides
    ] + [("nanochat", size, "rules", args.seeds[0]) for size in args.sizes if "nanochat" in args.sides]
    done = carry_out(args, runs)
    print("\n| size | parameters | cupola | nanochat | nanochat, rates by its rules | cupola / nanochat |\n|---|---|---|---|---|---|")
    for size in args.sizes:
        cells, means, counts = [], [], []
        for side, variant in [("cupola", "recipe"), ("nanochat", "recipe"), ("nanochat", "rules")]:
            found = [result(args, (side, size, variant, seed)) for seed in args.seeds]
            found = [one for one in found if one]
            values = [one["bpb"] for one in found]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4f}{spread} ({len(values)})" if values else "")
            means.append(statistics.mean(values) if values else float("nan"))
            counts += [f"{found[0]['params']['total']:,}"] if found and variant == "recipe" else []
        print(f"| {size} | {' / '.join(counts)} | {' | '.join(cells)} | {means[0] / means[1]:.4f} |")
    return done


def ablate(args):
    runs = [(side, "small", variant, seed) for seed in args.seeds for side in args.sides for variant in SIDES[side]]
    if args.variants:
        runs = [run for run in runs if run[2] in args.variants]
    done = carry_out(args, runs)
    for side in args.sides:
        print(f"\n| {side}, small | bits a byte | to the recipe |\n|---|---|---|")
        for variant in SIDES[side]:
            pairs = [(result(args, (side, "small", variant, seed)), result(args, (side, "small", "recipe", seed))) for seed in args.seeds]
            pairs = [(one["bpb"], base["bpb"]) for one, base in pairs if one and base]
            if pairs:
                mean, off = statistics.mean(one for one, _ in pairs), statistics.mean(one - base for one, base in pairs)
                print(f"| {variant} | {mean:.4f} ({len(pairs)}) | {off:+.4f} |")
    return done


def agree(args):
    """One model of Cupola's, scored twice."""
    import torch
    from transformers import AutoModelForCausalLM

    from tokens import Tokens, bits_per_byte

    torch.set_num_threads(1)
    run = ("cupola", "small", "model: qwen3 (SwiGLU, QK-norm, gains; the default class)", args.seeds[0])
    done = carry_out(args, [run])
    own = result(args, run)
    model = AutoModelForCausalLM.from_pretrained(args.out / "state" / "store" / "model" / own["model"], dtype=torch.float32)
    found = bits_per_byte(lambda ids: model(ids).logits, Tokens(args.out / "tokens", "validation"), 256)
    print(f"cupola's evaluation {own['bpb']:.8f}, the peer's {found['bpb']:.8f} bits a byte over {found['tokens']} tokens, {found['bytes']} bytes")
    if abs(own["bpb"] / found["bpb"] - 1) > 1e-5:
        sys.exit("the two evaluations do not agree")
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["compare", "ablate", "agree"])
    parser.add_argument("--cupola", type=pathlib.Path, required=True, help="the program, its worker beside it")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="where results and Cupola's state are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=None)
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=list(SIDES))
    parser.add_argument("--variants", nargs="+", help="only these of `ablate`")
    parser.add_argument("--most", type=int, help="runs to do at most")
    args = parser.parse_args()
    args.seeds = args.seeds or ([1, 2, 3] if args.what == "compare" else [1])
    args.cupola, args.out = args.cupola.resolve(), args.out.resolve()
    prepare(args)
    sys.exit(0 if {"compare": compare, "ablate": ablate, "agree": agree}[args.what](args) else 3)


if __name__ == "__main__":
    main()
