"""The codebooks of the IQ1, IQ2 and IQ3 formats: which groups of levels a number can stand for.

Below three bits a weight there is too little room to round each weight by itself. These formats round eight (or
four) of them at once: an index chooses one entry of a **codebook**, a row of eight (or four) levels that occur
together in practice. An entry of ``iq2xxs``, one of 256, costs eight bits for eight weights, where free choice among
its three levels would cost thirteen. What the IQ2 and IQ3 books leave out are the signs, which the blocks store
apart.

The tables are data of ggml: ``codebooks.npy`` beside this file holds them as bytes, derived from ``ggml-common.h``
by ``tests/golden/make_codebooks.py``. They are under ggml's licence (MIT, Copyright (c) 2023-2026 The ggml authors),
in full in ``codebooks.LICENSE``.

Examples
--------
>>> IQ2_XXS_GRID.shape, IQ2_XXS_GRID[1].tolist()
((256, 8), [43, 8, 8, 8, 8, 8, 8, 8])
>>> SIGNS[0b101, :4].tolist(), int(EIGHTH[0b0000001]), int(EIGHTH[0b0000011])
([-1, 1, -1, 1], 129, 3)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qviz._machine.kernels import i8, kernel

_BOOKS = np.load(Path(__file__).with_name("codebooks.npy"))


def _book(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return np.ascontiguousarray(_BOOKS[name])


IQ1_GRID = _book("iq1s")
"""2048 entries of eight levels −1, 0, 1: IQ1_S and IQ1_M."""

IQ2_XXS_GRID, IQ2_XS_GRID, IQ2_S_GRID = _book("iq2xxs"), _book("iq2xs"), _book("iq2s")
"""256, 512 and 1024 entries of eight magnitudes 8, 25, 43."""

IQ3_XXS_GRID, IQ3_S_GRID = _book("iq3xxs"), _book("iq3s")
"""256 entries of four magnitudes 4 … 62, and 512 entries of four odd ones 1 … 15."""

_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")

SIGNS = 1 - 2 * _BITS.astype(np.int8)
"""Row b: the signs that the bits of byte b stand for, −1 where a bit is set; weight 0 has the lowest bit."""

EIGHTH = (np.arange(128) + 128 * (_BITS[:128].sum(axis=1) % 2)).astype(np.uint8)
"""Seven sign bits -> eight: these formats choose signs so that an even number is negative, and store seven."""


@kernel
def place(grid, index, signs, codes, to):
    """Entry `index` of a codebook, times the signs from bit 0 of `signs` on, to ``codes[to:]``."""
    entry, sign = grid[index], SIGNS[signs]
    for j in range(entry.size):
        codes[to + j] = i8(entry[j] * sign[j])
