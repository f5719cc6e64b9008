"""Affine grids and error metrics beside the same formulas in NumPy, in one run.

    python benchmarks/affine.py [--size 1024] [--rounds 20]

Prints the best of all rounds in milliseconds and how many times faster than NumPy it is. The two sides take turns,
so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import qviz
from qviz import metrics


def numpy_fake_quantize(weight: np.ndarray, bits: int, size: int, sym: bool) -> np.ndarray:
    groups = weight.reshape(-1, size)
    low = np.minimum(groups.min(axis=1, keepdims=True), 0)
    high = np.maximum(groups.max(axis=1, keepdims=True), 0)
    if sym:
        high = np.maximum(high, -low)
        low = -high
    scale = (high - low) / np.float32(2**bits - 1)
    zero = np.float32(2 ** (bits - 1)) if sym else np.rint(-low / scale)
    codes = np.clip(np.rint(groups / scale) + zero, 0, np.float32(2**bits - 1))
    return (scale * (codes - zero)).reshape(weight.shape)


def best_of_both(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    best = [np.inf, np.inf]
    for _ in range(rounds):
        for side, run in enumerate((ours, theirs)):
            start = time.perf_counter()
            run()
            best[side] = min(best[side], 1e3 * (time.perf_counter() - start))
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of the matrix")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    n = args.size
    weight = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    out = np.empty_like(weight)

    print(f"{n} × {n} float32, best of {args.rounds}, one thread")
    print(f"{'':40} {'qviz ms':>9} {'NumPy ms':>9} {'ratio':>6}")

    def row(label: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        ours()  # compiles
        a, b = best_of_both(ours, theirs, args.rounds)
        print(f"{label:40} {a:9.2f} {b:9.2f} {b / a:6.1f}")

    for bits, size, sym in [(4, 128, False), (4, 128, True), (4, 32, False), (3, n, False), (8, n * n, True)]:
        grid = qviz.AffineGrid(bits, {n: -1, n * n: 0}.get(size, size), sym)
        row(
            f"fake_quantize bits={bits} {grid.granularity} {size if size < n else ''} {'sym' if sym else 'asym'}",
            lambda g=grid: g.fake_quantize(weight, out=out),
            lambda b=bits, s=size, y=sym: numpy_fake_quantize(weight, b, s, y),
        )
    grid = qviz.AffineGrid(4, 128)
    approximation = grid.fake_quantize(weight)
    codes = grid.quantize(weight).codes
    row(
        "rmse",
        lambda: metrics.rmse(weight, approximation),
        lambda: np.sqrt(np.mean(np.subtract(weight, approximation, dtype=float) ** 2)),
    )
    row(
        "error_histogram, 256 bins",
        lambda: metrics.error_histogram(weight, approximation, limit=0.5),
        lambda: np.histogram(np.subtract(weight, approximation, dtype=float), 256, (-0.5, 0.5)),
    )
    row(
        "code_histogram",
        lambda: metrics.code_histogram(codes, grid.qmin, grid.qmax),
        lambda: np.bincount(codes.ravel(), minlength=16),
    )


if __name__ == "__main__":
    main()
