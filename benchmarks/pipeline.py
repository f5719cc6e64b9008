"""Whole models: ours against ``llama_model_quantize`` (llama-cpp-python), on the same threads, in one run.

    python benchmarks/pipeline.py [--layers 8] [--repeats 3] [--threads 1 2] [RECIPE ...]

The contenders take turns, and each pair's outputs are compared byte for byte. Without llama-cpp-python only our own
times are shown. Both write to the same disk; ours also waits until the disk has the file, which theirs does not.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import qviz
from qviz import gguf

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import llamacpp

RECIPES = ("Q8_0", "Q4_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K", "IQ4_XS")


def make(path: Path, layers: int) -> int:
    """A model with matrices like those of a small Llama, in F16; its number of weights."""
    width, ffn, vocab = 2048, 5632, 16000
    generator = np.random.default_rng(0)
    shapes = {"token_embd.weight": (vocab, width), "output.weight": (vocab, width)}
    for i in range(layers):
        for part in ("attn_q", "attn_output"):
            shapes[f"blk.{i}.{part}.weight"] = (width, width)
        for part in ("attn_k", "attn_v"):
            shapes[f"blk.{i}.{part}.weight"] = (width // 4, width)
        for part in ("ffn_gate", "ffn_up"):
            shapes[f"blk.{i}.{part}.weight"] = (ffn, width)
        shapes[f"blk.{i}.ffn_down.weight"] = (width, ffn)
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": layers,
        "llama.context_length": 2048,
        "llama.embedding_length": width,
        "llama.feed_forward_length": ffn,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": vocab,
    }
    matrix = (generator.standard_normal(max(a * b for a, b in shapes.values()), np.float32) * 0.02).astype(np.float16)
    gguf.write(path, metadata, {name: matrix[: a * b].reshape(a, b) for name, (a, b) in shapes.items()})
    return sum(a * b for a, b in shapes.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, ours, theirs = (Path(folder) / name for name in ("in.gguf", "ours.gguf", "theirs.gguf"))
        weights = make(source, options.layers)
        print(f"{weights / 1e6:.0f} million weights in F16; seconds, best of {options.repeats}")
        print(f"{'recipe':8} {'threads':>7} {'ours':>8} {'llama.cpp':>10} {'ratio':>6} {'Mw/s':>6}  scaling")
        for recipe in options.recipes:
            first = None
            for threads in options.threads:
                times: dict[str, list[float]] = {"ours": [], "theirs": []}
                qviz.quantize_model(source, ours, recipe, threads=threads)  # compile
                for _ in range(options.repeats):
                    started = time.perf_counter()
                    qviz.quantize_model(source, ours, recipe, threads=threads)
                    times["ours"].append(time.perf_counter() - started)
                    if llamacpp.INSTALLED:
                        started = time.perf_counter()
                        done, said = llamacpp.quantize(source, theirs, recipe, threads=threads)
                        times["theirs"].append(time.perf_counter() - started)
                        assert done, said
                        assert ours.read_bytes() == theirs.read_bytes(), f"{recipe}: the files differ"
                best = min(times["ours"])
                first = first or best
                row = f"{recipe:8} {threads:7} {best:8.2f} "
                if times["theirs"]:
                    ratio = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
                    row += f"{min(times['theirs']):10.2f} {ratio:6.2f} "
                else:
                    row += f"{'-':>10} {'-':>6} "
                print(f"{row}{weights / best / 1e6:6.0f}  {first / best:.2f}×", flush=True)


if __name__ == "__main__":
    main()
