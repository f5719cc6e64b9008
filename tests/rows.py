"""Rows that break quantizers: what a real tensor never holds, and what it holds in its worst place."""

from __future__ import annotations

import numpy as np

N = 256  # a whole number of blocks of every format


def adversarial() -> dict[str, np.ndarray]:
    """Name -> float32 row of 256 finite weights."""
    rng = np.random.default_rng(7)
    normal = rng.standard_normal(N)
    steps = np.arange(N)
    zeros = np.zeros(N)
    rows = {
        "zeros": zeros,
        "minus zeros": -zeros,
        "mixed zeros": np.where(steps % 3 == 0, -0.0, 0.0),
        "zero minimum, minus first": np.where(steps % 32 == 0, -0.0, np.abs(normal) * (steps % 2)),
        "zero minimum, plus first": np.where(steps % 32 == 0, 0.0, np.abs(normal) * (steps % 2) - 0.0),
        "zero maximum": -np.abs(normal) * (steps % 2),
        "constant": np.full(N, 0.7),
        "negative constant": np.full(N, -1.3),
        "ones": np.ones(N),
        "one outlier": np.where(steps == 100, 1e4, normal * 1e-3),
        "negative outlier": np.where(steps == 31, -1e4, normal * 1e-3),
        "tie of magnitudes, plus first": np.where(steps % 32 == 3, 2.0, np.where(steps % 32 == 9, -2.0, 0.1 * normal)),
        "tie of magnitudes, minus first": np.where(steps % 32 == 3, -2.0, np.where(steps % 32 == 9, 2.0, 0.1 * normal)),
        "half steps": (steps % 32 - 16) / 2,
        "quarter steps": (steps % 32 - 8) * 0.25,
        "just below one half": np.where(steps % 32 == 0, 127.0, np.nextafter(np.float32(0.5), np.float32(0))),
        "halves at 127": np.where(steps % 32 == 0, 127.0, steps % 32 - 16.5),
        "powers of two": 2.0 ** (steps % 40 - 20) * np.where(steps % 2, 1, -1),
        "integers": steps - 128.0,
        "float16 overflow": normal * 1e6,
        "float16 limit": np.where(steps % 2, 65504.0, -65504.0),
        "near the largest float": normal * 1e37,
        "largest floats": np.where(steps % 2, 3.4028235e38, -3.4028235e38),
        "float16 subnormal scale": normal * 1e-6,
        "tiny": normal * 1e-30,
        "smallest normals": normal * 1.2e-38,
        "denormals": np.float32(1e-45) * (steps % 50),
        "negative denormals": np.float32(-1e-42) * (steps % 7),
        "one denormal": np.where(steps == 5, 1e-45, 0.0),
        "alternating": np.where(steps % 2, 1.0, -1.0),
        "one weight": np.where(steps == 255, -3.0, 0.0),
        "all but one zero a block": np.where(steps % 32 == 17, normal, 0.0),
        "rising": np.linspace(-1, 1, N),
        "normal": normal,
        "heavy tails": rng.standard_t(2, N),
        "positive": np.abs(normal) + 5,
    }
    with np.errstate(under="ignore"):
        return {name: np.asarray(row, np.float32) for name, row in rows.items()}


def random_bits(n: int) -> np.ndarray:
    """`n` float32 of every exponent, each finite."""
    bits = np.random.default_rng(11).integers(0, 2**32, 2 * n, dtype=np.uint32)
    values = bits.view(np.float32)
    return values[np.isfinite(values)][:n].copy()
