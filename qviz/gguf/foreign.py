"""Tensor types that ggml does not have, or has no more: named, listed, and never decoded.

A model of one such tensor is a model all the same: whoever opens it sees everything else, and whose type it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qviz.errors import NotEncodableError
from qviz.formats._opaque import REMOVED
from qviz.formats.base import Format

_IK = "ik_llama.cpp"
_BITNET = "Microsoft's BitNet"

# ggml.h of github.com/ikawrakow/ik_llama.cpp: its own types from 97 on, rows interleaved by four to sixteen from 202 on
_IK_NAMES = {
    **dict(zip(range(97, 100), ("Q8_0_X4", "Q8_1_X4", "Q8_2_X4"), strict=True)),
    **dict(
        zip(
            range(133, 159),
            (
                *("Q6_0", "IQ1_BN", "IQ2_BN", "Q8_K64", "IQ2_K", "IQ3_K", "IQ4_K", "IQ5_K", "IQ6_K", "IQ2_TN"),
                *("IQ1_TN", "IQ4_KS", "IQ2_KS", "IQ4_KSS", "Q8_K16", "Q8_K32", "Q8_KR8", "Q8_K128", "Q8_KV"),
                *("IQ5_KS", "IQ2_KT", "IQ3_KT", "IQ4_KT", "IQ3_KS", "IQ2_KL", "IQ1_KT"),
            ),
            strict=True,
        )
    ),
    202: "Q4_0_R8",
    206: "Q5_0_R4",
    208: "Q8_0_R8",
    210: "Q2_K_R4",
    211: "Q3_K_R4",
    212: "Q4_K_R4",
    213: "Q5_K_R4",
    214: "Q6_K_R4",
    216: "IQ2_XXS_R4",
    217: "IQ2_XS_R4",
    218: "IQ3_XXS_R4",
    219: "IQ1_S_R4",
    220: "IQ4_NL_R4",
    221: "IQ3_S_R4",
    222: "IQ2_S_R4",
    223: "IQ4_XS_R8",
    229: "IQ1_M_R4",
    230: "BF16_R16",
    233: "Q6_0_R4",
    335: "IQ2_BN_R4",
    337: "IQ2_K_R4",
    338: "IQ3_K_R4",
    339: "IQ4_K_R4",
    340: "IQ5_K_R4",
    344: "IQ4_KS_R4",
    352: "IQ5_KS_R4",
    397: "Q8_K_R16",
    398: "Q8_KV_R8",
    399: "Q8_K_R8",
}
# ggml.h of github.com/microsoft/BitNet, at numbers that ggml had given to others before
_BITNET_NAMES = {36: "I2_S", 37: "I8_S", 38: "TL1"}


class ForeignFormat(Format):
    """A type that can be listed and nothing else; not in the registry. Made by `foreign`.

    Nobody here knows how many bytes a row takes, so one block is one byte, of unknown worth.
    """

    @property
    def bpw(self) -> float:
        """Not a number: nobody knows."""
        return math.nan

    def row_size(self, n: int) -> int:
        """Refuse: see `refusal`."""
        raise NotEncodableError(f"how many bytes {n} weights take: {refusal(self)}")

    blocks_per_row = row_size

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return foreign, (self.type_id,)


_made: dict[int, ForeignFormat] = {}


def foreign(type_id: int) -> ForeignFormat:
    """The stand-in for a type id that is not ggml's.

    Parameters
    ----------
    type_id : int

    Examples
    --------
    >>> foreign(139).name, foreign(139).source
    ('IQ4_K', 'a type of ik_llama.cpp')
    >>> foreign(36).name, foreign(7777).name
    ('I2_S', 'type 7777')
    """
    if type_id not in _made:
        name, source = _named(type_id)
        kind = np.dtype([("raw", "u1")])
        _made[type_id] = ForeignFormat(name, type_id, block_size=1, dtype=kind, type_size=1, source=source)
    return _made[type_id]


def _named(type_id: int) -> tuple[str, str]:
    removed = REMOVED.get(type_id)
    if type_id in _BITNET_NAMES:
        return _BITNET_NAMES[type_id], f"a type of {_BITNET}, or {removed}, which ggml has removed"
    if removed is not None:
        return removed, "a type that ggml has removed"
    if type_id in _IK_NAMES:
        return _IK_NAMES[type_id], f"a type of {_IK}"
    return f"type {type_id}", "a type that nobody here knows; of a newer ggml, or of a fork"


def refusal(fmt: Format) -> str:
    """Why a tensor of such a type cannot be used, and what to do."""
    step = "use the program that made the file, or get the model in one of ggml's types"
    if isinstance(fmt, ForeignFormat):
        return f"{fmt} (type id {fmt.type_id}) is {fmt.source}; {step}"
    return f"{fmt} cannot be decoded; {step}"
