"""Quantized matrix times int8 vector beside libggml's ``ggml_vec_dot_*``, on one thread.

    python benchmarks/dots.py [Q4_K Q6_K ...] [--rounds 21]

Two matrices a format: one of 4096 rows and columns, one that stays in the second-level cache. Both contenders run from
compiled code, so that neither pays for calls from Python, and take turns; times are CPU seconds of this thread. The
table gives billions of weights a second (median), and how many times faster qviz is, by median and by best.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np

from qviz.formats import QTensor, get, quantize
from qviz.transformer.kernels.dots import DOTS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import ggml_dots

SHAPES = ((4096, 4096), (512, 1024))


def ours(name: str, tensor: QTensor, codes: np.ndarray, scales: np.ndarray) -> Callable[[int], np.ndarray]:
    dot = DOTS[name].compiled
    blocks = tensor.blocks.view(tensor.format.kernel_dtype)
    sums = codes.reshape(-1, 16).sum(1, dtype=np.int32)
    out = np.empty(tensor.shape[0], np.float32)

    @numba.njit(nogil=True)
    def run(times, blocks, codes, scales, sums, out):
        for _ in range(times):
            dot(blocks, codes, scales, sums, out)

    def call(times: int) -> np.ndarray:
        run(times, blocks, codes, scales, sums, out)
        return out

    return call


def theirs(name: str, tensor: QTensor, codes: np.ndarray, scales: np.ndarray) -> Callable[[int], np.ndarray]:
    vec_dot = ggml_dots.vec_dot(name)
    raw = tensor.blocks.view(np.uint8).reshape(tensor.shape[0], -1)
    activations = ggml_dots.activation_blocks(name, codes, scales)
    out = np.empty(tensor.shape[0], np.float32)

    @numba.njit(nogil=True)
    def run(times, raw, n, activations, out):
        rows, width = raw.shape
        for _ in range(times):
            for r in range(rows):
                vec_dot(n, out.ctypes.data + 4 * r, 0, raw.ctypes.data + width * r, 0, activations.ctypes.data, 0, 1)

    def call(times: int) -> np.ndarray:
        run(times, raw, tensor.shape[1], activations.view(np.uint8), out)
        return out

    return call


def measure(contenders: tuple[Callable[[int], np.ndarray], ...], times: int, rounds: int) -> np.ndarray:
    seconds = np.empty((rounds, len(contenders)))
    for line in seconds:
        for k, run in enumerate(contenders):
            start = time.thread_time()
            run(times)
            line[k] = time.thread_time() - start
    return seconds / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", help="names; all of them unless given")
    parser.add_argument("--rounds", type=int, default=21)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{'':<8}{'matrix':<12}{'qviz':>8}{'libggml':>9}{'median':>9}{'best':>8}")
    for name in args.formats or DOTS:
        for rows, columns in SHAPES:
            tensor = quantize(rng.standard_normal((rows, columns), np.float32), name)
            codes = rng.integers(-127, 128, columns).astype(np.int8)
            per_scale = 256 if get(name).block_size == 256 else 32
            scales = rng.uniform(0.01, 0.02, columns // per_scale).astype(np.float16).astype(np.float32)
            contenders = ours(name, tensor, codes, scales), theirs(name, tensor, codes, scales)
            results = [run(1).copy() for run in contenders]
            np.testing.assert_allclose(*results, atol=1e-3 * np.abs(results[1]).max())
            seconds = measure(contenders, max(2**23 // (rows * columns), 1), args.rounds)
            speed = rows * columns / np.median(seconds, 0) / 1e9
            ratio, best = speed[0] / speed[1], seconds[:, 1].min() / seconds[:, 0].min()
            print(f"{name:<8}{rows}x{columns:<8}{speed[0]:7.1f}{speed[1]:9.1f}{ratio:8.2f}×{best:7.2f}×", flush=True)


if __name__ == "__main__":
    main()
