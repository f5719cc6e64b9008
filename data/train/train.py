"""Train the small Llama of this course on the CPU, and write it as a GGUF file that llama.cpp loads.

Run ``python corpus.py FOLDER`` first, then ``python train.py FOLDER``. A checkpoint is kept every 100 steps and taken
up again after an interruption; ``FOLDER/tiny.gguf`` is written with each. The log says what each step cost.

256 wide, 8 layers, 4 heads, feed-forward 768, 4096 tokens, tied embeddings: every row is a multiple of 256, so that
K-quants apply to each matrix. RoPE turns neighbouring pairs (2i, 2i + 1), as llama.cpp's Llama does, so no matrix needs
permuting. Muon (Jordan et al. 2024) for the matrices, AdamW for embedding and norms.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from torch import Tensor, nn
from torch.nn import functional

import qviz

D, LAYERS, HEADS, FFN, VOCAB, CONTEXT = 256, 8, 4, 768, 4096, 256
HEAD, EPS, BASE = D // HEADS, 1e-5, 10000.0
BATCH, SEED, BOS = 32, 20261127, 1
SHARES = {"train": 0.70, "stories": 0.16, "scripture": 0.14}  # of the windows, by stream


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * self.weight


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_norm, self.ffn_norm = Norm(), Norm()
        for name, n_in, n_out in (
            *((f"attn_{part}", D, D) for part in ("q", "k", "v", "output")),
            ("ffn_gate", D, FFN),
            ("ffn_up", D, FFN),
            ("ffn_down", FFN, D),
        ):
            linear = nn.Linear(n_in, n_out, bias=False)
            scale = (2 * LAYERS) ** -0.5 if name in ("attn_output", "ffn_down") else 1.0
            nn.init.normal_(linear.weight, std=n_in**-0.5 * scale)
            self.add_module(name, linear)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, t, _ = x.shape
        h = self.attn_norm(x)
        q, k, v = (f(h).view(b, t, HEADS, HEAD).transpose(1, 2) for f in (self.attn_q, self.attn_k, self.attn_v))
        scores = (turn(q, cos, sin) @ turn(k, cos, sin).transpose(-1, -2)).float() * HEAD**-0.5
        later = torch.ones(t, t, dtype=torch.bool).triu(1)
        shares = torch.softmax(scores.masked_fill(later, -torch.inf), -1)  # written out: compiled, faster than fused
        x = x + self.attn_output((shares.to(v.dtype) @ v).transpose(1, 2).reshape(b, t, D))
        h = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_embd = nn.Embedding(VOCAB, D)
        nn.init.normal_(self.token_embd.weight, std=0.02)
        self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = Norm()
        angle = torch.outer(torch.arange(CONTEXT).float(), BASE ** (-torch.arange(0, HEAD, 2).float() / HEAD))
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token_embd(tokens)
        t = tokens.shape[1]
        for layer in self.blk:
            x = layer(x, self.cos[:t], self.sin[:t])
        return functional.linear(self.output_norm(x), self.token_embd.weight)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal before they are applied; matrices of one shape go together."""

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.02) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                updates = []
                for p in params:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    m.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(m, group["momentum"]))
                x = torch.stack(updates)
                x = x.mT if shape[0] > shape[1] else x
                x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()  # the direction needs few digits
                for _ in range(5):  # quintic Newton–Schulz
                    a = x @ x.mT
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
                x = (x.mT if shape[0] > shape[1] else x).float()
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for p, u in zip(params, x, strict=True):
                    p.mul_(1 - group["lr"] * group["decay"]).add_(u, alpha=-group["lr"] * scale)


def draw(streams: list[Tensor], dice: torch.Generator) -> Tensor:
    """A batch of windows of CONTEXT + 1 tokens, each from a random place of a random text."""
    which = torch.multinomial(torch.tensor([*SHARES.values()]), BATCH, replacement=True, generator=dice).tolist()
    where = torch.rand(BATCH, generator=dice).tolist()
    begins = [int(at * (len(streams[k]) - CONTEXT - 1)) for k, at in zip(which, where, strict=True)]
    return torch.stack([streams[k][i : i + CONTEXT + 1] for k, i in zip(which, begins, strict=True)])


def export(model: Transformer, folder: Path) -> None:
    """Write `model` with its tokenizer: F16 matrices, F32 norms."""
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    kinds = [
        2 if tokenizer.is_unknown(i) else 3 if tokenizer.is_control(i) else 6 if tokenizer.is_byte(i) else 1
        for i in range(VOCAB)
    ]
    metadata = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "qviz tiny",
        "general.license": "cc0-1.0",
        "general.file_type": np.uint32(1),
        "llama.context_length": np.uint32(CONTEXT),
        "llama.embedding_length": np.uint32(D),
        "llama.block_count": np.uint32(LAYERS),
        "llama.feed_forward_length": np.uint32(FFN),
        "llama.attention.head_count": np.uint32(HEADS),
        "llama.attention.head_count_kv": np.uint32(HEADS),
        "llama.attention.layer_norm_rms_epsilon": np.float32(EPS),
        "llama.rope.dimension_count": np.uint32(HEAD),
        "llama.rope.freq_base": np.float32(BASE),
        "llama.vocab_size": np.uint32(VOCAB),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [tokenizer.id_to_piece(i) for i in range(VOCAB)],
        "tokenizer.ggml.scores": np.array([tokenizer.get_score(i) for i in range(VOCAB)], np.float32),
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.bos_token_id": np.uint32(tokenizer.bos_id()),
        "tokenizer.ggml.eos_token_id": np.uint32(tokenizer.eos_id()),
        "tokenizer.ggml.unknown_token_id": np.uint32(tokenizer.unk_id()),
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": True,
    }
    tensors = {}
    for name, p in model.state_dict().items():
        x = p.numpy()
        tensors[name if name.endswith("weight") else f"{name}.weight"] = qviz.quantize(
            x, "F16" if x.ndim > 1 else "F32"
        )
    qviz.gguf.write(folder / "tiny.gguf", metadata, tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=100_000, help="how many steps the learning rate is planned for")
    parser.add_argument("--minutes", type=float, default=1e9, help="end early: the plan is squeezed into this time")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    streams = [torch.from_numpy(np.load(args.folder / f"{name}.npy").astype(np.int64)) for name in SHARES]
    model = Transformer()
    matrices = [p for p in model.blk.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if not any(p is m for m in matrices)]
    optimizers = [Muon(matrices, 0.02), torch.optim.AdamW(rest, 3e-3, betas=(0.9, 0.95), weight_decay=0.0)]
    rates = [group["lr"] for opt in optimizers for group in opt.param_groups]
    checkpoint, log = args.folder / "checkpoint.pt", args.folder / "log.jsonl"
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        for opt, kept in zip(optimizers, state["optimizers"], strict=True):
            opt.load_state_dict(kept)
        step, spent = state["step"], state["spent"]
    surprise = torch.compile(lambda x, y: functional.cross_entropy(model(x).flatten(0, 1).float(), y.flatten()))
    begun = time.monotonic() - spent
    done = 0.0
    while done < 1:
        done = max(step / args.steps, (time.monotonic() - begun) / 60 / args.minutes)
        pace = min(1.0, (step + 1) / 30) * min(1.0, max(1 - done, 0.02) / 0.5)  # warm up, hold, fall over the last half
        for group, rate in zip((g for opt in optimizers for g in opt.param_groups), rates, strict=True):
            group["lr"] = rate * pace
        windows = draw(streams, torch.Generator().manual_seed(SEED + step))
        targets = windows[:, 1:].clone()
        windows[:, 0] = BOS  # as a perplexity window begins
        with torch.autocast("cpu", torch.bfloat16):
            loss = surprise(windows[:, :-1], targets)
        loss.backward()
        for opt in optimizers:
            opt.step()
            opt.zero_grad(set_to_none=True)
        step += 1
        if step % 10 == 0:
            seconds = time.monotonic() - begun
            line = {"step": step, "tokens": step * BATCH * CONTEXT, "loss": round(loss.item(), 4)}
            line |= {"pace": round(pace, 4), "seconds": round(seconds, 1)}
            with log.open("a") as f:
                f.write(json.dumps(line) + "\n")
        if step % 100 == 0 or done >= 1:
            spent = time.monotonic() - begun
            kept = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
            torch.save(kept | {"step": step, "spent": spent}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
            export(model, args.folder)
    (args.folder / "DONE").write_text(f"{step} steps\n")


if __name__ == "__main__":
    main()
