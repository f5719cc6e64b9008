"""Time and held-out error of rounding methods on correlated random layers (not real ones); they run on one thread."""

import time

import numpy as np

from qviz.calibration import ActivationStats
from qviz.grids import AffineGrid
from qviz.methods import awq, gptq, hqq, recommended, rotation, rtn, smoothquant

METHODS = {
    "RTN": rtn,
    "GPTQ": gptq,
    "GPTQ act-order": lambda *a: gptq(*a, act_order=True),
    "GPTQ act-order, MSE": lambda *a: gptq(*a, act_order=True, mse=True),
    "recommended": recommended,
    "rotated, recommended": rotation,
    "AWQ": awq,
    "AWQ + clip": lambda *a: awq(*a, clip=True),
    "SmoothQuant (weights)": smoothquant,
    "HQQ": hqq,
}

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    for n_out, n_in in ((384, 384), (1536, 384), (384, 1536)):
        scale = np.exp(rng.standard_normal(n_in))
        mix = rng.standard_normal((n_in, n_in // 4)) @ rng.standard_normal((n_in // 4, n_in)) / n_in + np.eye(n_in)
        x = (rng.standard_normal((4352, n_in)) @ mix * scale).astype(np.float32)
        w = (rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)).astype(np.float32)
        start = time.perf_counter()
        stats, held_out, grid = ActivationStats.from_inputs(x[:3072]), x[3072:], AffineGrid(4, 128)
        print(f"{n_out:5} × {n_in:<5} {'statistics':21} {time.perf_counter() - start:8.4f} s")
        for name, method in METHODS.items():
            method(w, stats, grid)
            times = []
            for _ in range(3):
                start = time.perf_counter()
                result = method(w, stats, grid)
                times.append(time.perf_counter() - start)
            error = np.square(held_out @ (w - result.weight).T).sum() / np.square(held_out @ w.T).sum()
            print(f"{n_out:5} × {n_in:<5} {name:21} {min(times):8.4f} s   error {error:.3e}", flush=True)
