"""nanochat's pretraining recipe, written plainly: one network, one optimiser, one loop, on one CPU thread.

    python runtime/benches/learning/nanochat.py TOKENS --depth 2 --tokens 300000 --seed 1 --out run.json

TOKENS is the artifact of Cupola's `tokens` step. The facts are those of karpathy/nanochat at its last change of the recipe (July 2026, 92d63d4): `gpt.py`,
`optim.py`, `base_train.py`. What differs: fp32 throughout (it has no other format on a CPU without being told so), one device, no compiler. Heads are 64 wide
and every layer sees the whole row, as in its own script for CPUs (`runs/runcpu.sh`).

Its rates are its reference run's (12 layers, 2^19 tokens a step) times √(batch / 2^19); `--rate` multiplies them once more, since at some thousand tokens a
step that rule is far from where it was found. `--without PART` turns one part off.

Shapes: `B` rows, `T` tokens, `C` channels, `H` heads, `D` their width, `V` vocabulary.
"""

import argparse
import json
import math
import pathlib
import time

import torch
import torch.nn.functional as F
from torch import nn

from tokens import LOADERS, Tokens, bits_per_byte

# Where the rates hold as they are: 12 layers, 768 wide, 2^19 tokens a step, 12 tokens for each weight of a matrix or the head.
REFERENCE_BATCH, REFERENCE_DEPTH, REFERENCE_WIDTH, TOKENS_PER_WEIGHT = 2**19, 12, 768, 12
MATRIX_LR, EMBEDDING_LR, HEAD_LR, SCALAR_LR, WEIGHT_DECAY = 0.02, 0.3, 0.008, 0.5, 0.28
WARMUP_STEPS, WARMDOWN, LAST_RATE = 40, 0.65, 0.05
SOFT_CAP, ROPE_BASE, SHARPER = 15.0, 100_000.0, 1.2
GATE_CHANNELS, SMEAR_CHANNELS = 12, 24
# Polar Express for five rounds, a safety factor of 2e-2 and a cushion of 2, as nanochat has it.
POLAR_EXPRESS = [
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
]
PARTS = ["value_embeddings", "residual_scalars", "smear", "backout", "sharper", "soft_cap", "row_balance", "norm_snap", "variance", "cautious",
         "weight_decay", "warmdown"]


def norm(x):
    return F.rms_norm(x, (x.size(-1),))


def uniform(*size, bound):
    return nn.Parameter(torch.empty(size).uniform_(-bound, bound))


def rotate(x, cos, sin):
    """`x [B, H, T, D]`, turned by its position."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1)


class Block(nn.Module):
    def __init__(self, width, heads, has_value_embedding):
        super().__init__()
        self.heads = heads
        bound = (3 / width) ** 0.5
        self.query, self.key, self.value = (uniform(width, width, bound=bound) for _ in range(3))
        self.mix = nn.Parameter(torch.zeros(width, width))
        self.up = uniform(4 * width, width, bound=0.4 * bound)
        self.down = nn.Parameter(torch.zeros(width, 4 * width))
        self.gate = nn.Parameter(torch.empty(heads, GATE_CHANNELS).uniform_(0, 0.02)) if has_value_embedding else None

    def forward(self, x, embedded, angles, sharper):
        rows, time_, width = x.shape
        apart = lambda y: y.view(rows, time_, self.heads, -1).transpose(1, 2)  # [B, H, T, D]
        y = norm(x)
        q, k, v = (apart(F.linear(y, weight)) for weight in (self.query, self.key, self.value))
        if embedded is not None:
            gate = 3 * torch.sigmoid(F.linear(y[..., :GATE_CHANNELS], self.gate))  # [B, T, H]
            v = v + gate.transpose(1, 2).unsqueeze(-1) * apart(embedded)
        q, k = (norm(rotate(z, *angles)) * sharper for z in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.linear(mixed.transpose(1, 2).reshape(rows, time_, width), self.mix)
        return x + F.linear(F.linear(norm(x), self.up).relu().square(), self.down)


class Nanochat(nn.Module):
    def __init__(self, depth, width, heads, vocab, length, without=()):
        super().__init__()
        self.without = set(without)
        bound, last = (3 / width) ** 0.5, max(depth - 1, 1)
        self.embedding = nn.Parameter(torch.randn(vocab, width) * 0.8)
        self.head = nn.Parameter(torch.randn(vocab, width) * 0.001)
        # Every second layer, the last one among them.
        has_one = [(depth - 1 - layer) % 2 == 0 and "value_embeddings" not in self.without for layer in range(depth)]
        self.value_embeddings = nn.ParameterDict(
            {str(layer): uniform(vocab, width, bound=bound) for layer in range(depth) if has_one[layer]}
        )
        self.blocks = nn.ModuleList(Block(width, heads, has_one[layer]) for layer in range(depth))
        self.stays = nn.Parameter(torch.tensor([1.15 - 0.10 * layer / last for layer in range(depth)]))
        self.returns = nn.Parameter(torch.tensor([0.20 - 0.15 * layer / last for layer in range(depth)]))
        self.smear_gate = nn.Parameter(torch.empty(1, SMEAR_CHANNELS).uniform_(0, 0.02))
        self.smear = nn.Parameter(torch.zeros(1))
        self.backout = nn.Parameter(torch.full((1,), 0.2))
        half = width // heads // 2
        angle = torch.outer(torch.arange(length).float(), ROPE_BASE ** (-torch.arange(half).float() / half))
        self.angles = angle.cos(), angle.sin()  # [T, D/2]

    def forward(self, ids):
        """`ids [B, T]` → logits `[B, T, V]`."""
        angles = tuple(table[:ids.size(1)] for table in self.angles)
        x = norm(F.embedding(ids, self.embedding))
        if "smear" not in self.without:
            gate = self.smear * torch.sigmoid(F.linear(x[:, 1:, :SMEAR_CHANNELS], self.smear_gate))
            x = torch.cat([x[:, :1], x[:, 1:] + gate * x[:, :-1]], dim=1)
        first, middle = x, None
        for layer, block in enumerate(self.blocks):
            if "residual_scalars" not in self.without:
                x = self.stays[layer] * x + self.returns[layer] * first
            table = self.value_embeddings[str(layer)] if str(layer) in self.value_embeddings else None
            embedded = None if table is None else F.embedding(ids, table)
            x = block(x, embedded, angles, 1.0 if "sharper" in self.without else SHARPER)
            if layer == len(self.blocks) // 2:
                middle = x
        if "backout" not in self.without:
            x = x - self.backout * middle
        logits = F.linear(norm(x), self.head)
        return logits if "soft_cap" in self.without else SOFT_CAP * torch.tanh(logits / SOFT_CAP)

    def counts(self):
        """Weights by kind; `scaling` is what nanochat's own rules go by."""
        matrices = sum(weight.numel() for weight in self.blocks.parameters())
        total = sum(weight.numel() for weight in self.parameters())
        return {"matrices": matrices, "scaling": matrices + self.head.numel(), "total": total}


class Adamw:
    def __init__(self, weights, lr, betas, weight_decay):
        self.weights, self.lr, self.betas, self.weight_decay = weights, lr, betas, weight_decay
        self.first = [torch.zeros_like(weight) for weight in weights]
        self.second = [torch.zeros_like(weight) for weight in weights]
        self.count = 0

    def step(self, pace):
        self.count += 1
        lr, (beta1, beta2) = self.lr * pace["lr"], self.betas
        for weight, first, second in zip(self.weights, self.first, self.second):
            if weight.grad is None:
                continue
            weight.mul_(1 - lr * self.weight_decay)
            first.lerp_(weight.grad, 1 - beta1)
            second.lerp_(weight.grad.square(), 1 - beta2)
            denominator = (second / (1 - beta2**self.count)).sqrt() + 1e-10
            weight.addcdiv_(first, denominator, value=-lr / (1 - beta1**self.count))


class Muon:
    """Matrices of one shape: momentum, balanced rows, Polar Express, the norm of an orthogonal matrix, a second moment for each row or column (NorMuon),
    and a decay only where it goes the update's way."""

    def __init__(self, weights, lr, weight_decay, without):
        self.weights, self.weight_decay, self.without = weights, weight_decay, without
        rows, columns = weights[0].shape
        self.lr = lr * max(1, rows / columns) ** 0.5
        self.momentum = torch.zeros(len(weights), rows, columns)
        self.along = -1 if rows >= columns else -2
        self.second = torch.zeros_like(self.momentum.mean(self.along, keepdim=True))

    def step(self, pace):
        grads = torch.stack([weight.grad for weight in self.weights])
        self.momentum.lerp_(grads, 1 - pace["momentum"])
        update = self.direction(grads.lerp(self.momentum, pace["momentum"]))
        weights = torch.stack(list(self.weights))
        decay = self.weight_decay * pace["weight_decay"] * weights
        if "cautious" not in self.without:
            decay = decay * (update * weights >= 0)
        for weight, change in zip(self.weights, update + decay):
            weight.sub_(change, alpha=self.lr * pace["lr"])

    def direction(self, g):
        size = lambda x: x.norm(dim=(-2, -1), keepdim=True)
        if "row_balance" not in self.without:
            g = g * (size(g) / g.size(-2) ** 0.5 / g.norm(dim=-1, keepdim=True).clamp_min(1e-6))
        x = g / (size(g) * 1.01 + 1e-6)
        x = x.mT if x.size(-2) > x.size(-1) else x
        for a, b, c in POLAR_EXPRESS:
            square = x @ x.mT
            x = a * x + (b * square + c * (square @ square)) @ x
        x = x.mT if g.size(-2) > g.size(-1) else x
        if "norm_snap" not in self.without:
            x = x * (min(g.shape[-2:]) ** 0.5 / size(x).clamp_min(1e-6))
        if "variance" not in self.without:
            mean = x.square().mean(self.along, keepdim=True)
            self.second.lerp_(mean, 0.1)
            scaled = x * self.second.clamp_min(1e-10).rsqrt()
            x = scaled * (size(x) / size(scaled).clamp_min(1e-10))
        return x


def optimizers(network, width, rate, weight_decay):
    """Groups with rates of their own; AdamW's go with 1/√width."""
    without, narrow = network.without, rate * (width / REFERENCE_WIDTH) ** -0.5
    made = [
        Adamw([network.head], HEAD_LR * narrow, (0.8, 0.96), 0.01),
        Adamw([network.embedding], EMBEDDING_LR * narrow, (0.8, 0.995), 0.001),
        Adamw(list(network.value_embeddings.values()), EMBEDDING_LR * narrow / 2, (0.8, 0.995), 0.01),
        Adamw([network.stays], SCALAR_LR * rate * 0.01, (0.8, 0.95), 0.05),
        Adamw([network.returns], SCALAR_LR * rate, (0.96, 0.95), 0.0),
        # The one rate that follows no rule.
        Adamw([network.smear_gate, network.smear, network.backout], 0.2, (0.8, 0.95), 0.0),
    ]
    matrices = list(network.blocks.parameters())
    for shape in sorted({weight.shape for weight in matrices}):
        same = [weight for weight in matrices if weight.shape == shape]
        made.append(Muon(same, MATRIX_LR * rate, weight_decay, without))
    return made


def pace(step, steps, without):
    """Factors of a step: rates warm up, stay and fall; Muon's momentum rises and falls with them; its decay falls along a cosine."""
    fall = round(WARMDOWN * steps)
    lr = 1.0
    if step < WARMUP_STEPS:
        lr = (step + 1) / WARMUP_STEPS
    elif step > steps - fall and "warmdown" not in without:
        left = (steps - step) / fall
        lr = left + (1 - left) * LAST_RATE
    momentum = 0.97
    if step < 400:
        momentum = 0.85 + 0.12 * step / 400
    elif step >= steps - fall:
        momentum = 0.97 - 0.07 * (step - steps + fall) / fall
    return {"lr": lr, "momentum": momentum, "weight_decay": 0.5 * (1 + math.cos(math.pi * step / steps))}


def train(args):
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    tokens = Tokens(args.folder, "train")
    width, heads = 64 * args.depth, args.depth
    network = Nanochat(args.depth, width, heads, tokens.vocab_size, args.length, args.without)
    counts = network.counts()
    reference = 12 * REFERENCE_DEPTH * REFERENCE_WIDTH**2 + tokens.vocab_size * REFERENCE_WIDTH
    batch_scale = (args.batch_tokens / REFERENCE_BATCH) ** 0.5
    horizon = args.tokens if args.decay_horizon == "run" else TOKENS_PER_WEIGHT * counts["scaling"]
    weight_decay = WEIGHT_DECAY * batch_scale * TOKENS_PER_WEIGHT * reference / horizon
    if "weight_decay" in args.without:
        weight_decay = 0.0
    parts = optimizers(network, width, batch_scale * args.rate, weight_decay / args.rate)
    rows = args.batch_tokens // args.length
    steps = round(args.tokens / (rows * args.length))
    source = LOADERS[args.loader](tokens, args.length, steps * rows, args.seed)
    begin, losses = time.monotonic(), []
    for step in range(steps):
        batch = torch.stack([torch.from_numpy(next(source)) for _ in range(rows)])  # [B, T + 1]
        logits = network(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        with torch.no_grad():
            for part in parts:
                part.step(pace(step, steps, args.without))
        network.zero_grad()
        losses.append(loss.item())
        if args.verbose and step % 20 == 0:
            print(f"step {step} of {steps}: {losses[-1]:.4f}, {time.monotonic() - begin:.0f} s", flush=True)
    seconds = time.monotonic() - begin
    found = bits_per_byte(network, Tokens(args.folder, "validation"), args.length)
    return found | {"params": counts, "steps": steps, "seconds": seconds, "losses": losses}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="the artifact of Cupola's tokens step")
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--loader", choices=LOADERS, default="windows")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of every rate that follows the batch rule")
    parser.add_argument("--decay-horizon", choices=["rule", "run"], default="rule",
                        help="tokens that the decay goes by: 12 a weight, or this run's")
    parser.add_argument("--without", choices=PARTS, action="append", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    found = train(args)
    print(f"{found['bpb']:.4f} bits a byte, {found['params']}, {found['seconds']:.0f} s")
    if args.out:
        args.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
