"""Positions: by how much each pair of a head turns, and how far it is stretched for contexts longer than trained on.

A pair i turns by ``position · base^(-2i / rope_size)``. Four ways to stretch:

- **linear**: positions are divided by one factor;
- **factors**: each frequency is divided by one of its own (Llama 3, and Phi-3's two sets for short and long contexts);
- **YaRN**: pairs that turn often within the trained context stay, those that turn less than once are stretched by the
  whole factor, and those between by part of it; sines and cosines grow a little.

Source: ggml's ``ggml_rope_yarn_corr_dims`` and ``rope_yarn``; B. Peng et al., "YaRN" (2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qviz._types import FloatArray
from qviz.transformer.config import TransformerConfig

_FAST, _SLOW = 32.0, 1.0  # turns within the trained context between which YaRN goes from one end to the other


class Rope:
    """Cosines and sines of a model's positions.

    Parameters
    ----------
    config : TransformerConfig
    factors : mapping of str to float32 array (rope_size / 2,)
        ``"rope_freqs"``, ``"rope_factors_long"``, ``"rope_factors_short"``, where the model has them.
    """

    def __init__(self, config: TransformerConfig, factors: Mapping[str, FloatArray]) -> None:
        self._config, self._factors = config, factors
        self.two_sets = "rope_factors_long" in factors or "rope_factors_short" in factors
        self._kept: dict[bool, tuple[FloatArray, FloatArray]] = {}

    def tables(self, n: int, n_ctx: int) -> tuple[FloatArray, FloatArray]:
        """Cosines and sines for positions 0 … n − 1 at least.

        Parameters
        ----------
        n : int
        n_ctx : int
            How long the context may become: which of two sets of factors holds depends on it.

        Returns
        -------
        cos, sin : float32 arrays (1 or 2, at least n, rope_size / 2)
            The second row is for layers that attend within a window, where those turn at another speed.
        """
        long = self.two_sets and n_ctx > self._config.rope_original
        kept = self._kept.get(long)  # another thread may put shorter ones in their place
        if kept is None or kept[0].shape[1] < n:
            rows = [self._row(max(n, 256), long, False)]
            if self._config.windows_turn_apart:
                rows.append(self._row(max(n, 256), long, True))
            kept = self._kept[long] = np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])
        return kept

    def _row(self, n: int, long: bool, windowed: bool) -> tuple[Any, Any]:
        c = self._config
        apart = windowed and c.windows_unscaled
        with np.errstate(all="ignore"):  # frequencies of a damaged file may be infinite
            frequencies = _frequencies(c.rope_size, c.window_rope_base if windowed else c.rope_base)
            magnitude = 1.0 if apart else c.rope_magnitude
            if not apart:
                factors = self._factors.get(f"rope_factors_{'long' if long else 'short'}")
                for divisor in (self._factors.get("rope_freqs"), factors):
                    if divisor is not None:
                        frequencies = frequencies / divisor
                stretched = frequencies / np.float32(c.rope_factor)
                if c.rope_yarn:
                    base = c.window_rope_base if windowed else c.rope_base
                    mix = _ramp(c.rope_size, base, c.rope_original)
                    stretched = stretched * (1 - mix) + frequencies * mix
                    magnitude *= 1 + 0.1 * math.log(c.rope_factor) if c.rope_factor > 1 else 1.0
                frequencies = stretched
            angle = np.arange(n, dtype=np.float32)[:, None] * frequencies
            return np.cos(angle) * np.float32(magnitude), np.sin(angle) * np.float32(magnitude)


def _frequencies(rope_size: int, base: float) -> FloatArray:
    """By how much each pair of a head turns from one position to the next, float32 (rope_size / 2,)."""
    power = -np.arange(0, rope_size, 2, dtype=np.float32) / np.float32(rope_size)
    frequencies: FloatArray = np.float32(base) ** power
    return frequencies


def _ramp(rope_size: int, base: float, original: int) -> FloatArray:
    """How much of each pair's own frequency YaRN keeps, float32 (rope_size / 2,): 1 for the fastest."""

    def pair(turns: float) -> float:
        """The pair, as a fraction, that turns so often within the trained context."""
        try:
            index = rope_size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
        except (ValueError, ZeroDivisionError):  # a base of 1
            index = 0.0
        return min(max(index, -1e9), 1e9)

    low = max(0, math.floor(pair(_FAST)))
    high = min(rope_size - 1, math.ceil(pair(_SLOW)))
    across = (np.arange(rope_size // 2, dtype=np.float32) - np.float32(low)) / np.float32(max(0.001, high - low))
    kept: FloatArray = 1 - np.clip(across, np.float32(0), np.float32(1))
    return kept
