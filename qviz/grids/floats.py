"""Floats of four to eight bits: what FP8, FP6 and FP4 hold, bit by bit.

A float is a sign, an exponent and a mantissa. With e exponent bits, m mantissa bits and a bias b::

    exponent > 0    (-1)^sign · 2^(exponent − b) · (1 + mantissa / 2^m)      normal
    exponent = 0    (-1)^sign · 2^(1 − b) · mantissa / 2^m                   subnormal, and zero

==========  ====  ====  =======  ============================  ===========================================
float       bits  bias  largest  smallest above 0              not a number, infinity
==========  ====  ====  =======  ============================  ===========================================
`E4M3`      8     7     448      2^-9                          all ones is NaN, no infinity ("FN")
`E5M2`      8     15    57344    2^-16                         as in IEEE 754: highest exponent
`E3M2`      6     3     28       2^-4                          neither
`E2M3`      6     1     7.5      2^-3                          neither
`E2M1`      4     1     6        0.5                           neither
==========  ====  ====  =======  ============================  ===========================================

Source: the OCP's *8-bit Floating Point Specification* and *Microscaling Formats Specification*, version 1.0;
P. Micikevicius et al., *FP8 formats for deep learning*, arXiv:2209.05433.

Examples
--------
>>> E2M1.levels.tolist()
[-6.0, -4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
>>> E4M3.encode([1.0, 0.3, 500.0], saturate=True).tolist()
[56, 42, 126]
>>> E4M3.decode([56, 42, 126]).tolist()
[1.0, 0.3125, 448.0]
>>> E4M3.bits(56)
('0', '0111', '000')
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from qviz._arguments import check_record
from qviz._arrays import as_array, finite_number, flag, real_array, whole_array, whole_number
from qviz.errors import GridError, shortened

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SmallFloat:
    """A float of few bits.

    Parameters
    ----------
    name : str
    exponent_bits, mantissa_bits, bias : int
    specials : {"ieee", "nan", "none"}
        What the codes at the top stand for: infinity and NaN as in IEEE 754; NaN with all bits set, and no infinity;
        numbers like all the others.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: Literal["ieee", "nan", "none"]

    def __post_init__(self) -> None:
        whole_number(self.exponent_bits, "exponent_bits", GridError, least=1, most=7)
        whole_number(self.mantissa_bits, "mantissa_bits", GridError, least=0, most=6)
        whole_number(self.bias, "bias", GridError, least=0, most=127)
        if not 3 <= self.n_bits <= 8:
            raise GridError(f"{shortened(self.name)} has {self.n_bits} bits; a small float has 3 to 8")

    @property
    def n_bits(self) -> int:
        """Bits of a code, the sign included."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @cached_property
    def table(self) -> FloatArray:
        """What each code stands for, float32 (2^n_bits,); codes with the sign bit are in the upper half."""
        codes = np.arange(1 << (self.n_bits - 1))
        exponent, mantissa = codes >> self.mantissa_bits, codes & ((1 << self.mantissa_bits) - 1)
        fraction = mantissa / (1 << self.mantissa_bits)
        values = np.where(exponent > 0, 1 + fraction, fraction) * 2.0 ** (np.maximum(exponent, 1) - self.bias)
        if self.specials == "nan":
            values[-1] = np.nan
        elif self.specials == "ieee":
            top = exponent == exponent[-1]
            values[top] = np.where(mantissa[top] == 0, np.inf, np.nan)
        table = np.concatenate([values, -values]).astype(np.float32)
        table.flags.writeable = False
        return table

    @cached_property
    def levels(self) -> FloatArray:
        """The numbers it can hold, ascending, zero once."""
        levels: FloatArray = np.unique(self.table[np.isfinite(self.table)]) + np.float32(0)
        return levels

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return float(self.levels[-1])

    @property
    def smallest(self) -> float:
        """The smallest number above zero."""
        return float(self.levels[self.levels > 0][0])

    def encode(self, x: npt.ArrayLike, *, saturate: bool = False) -> npt.NDArray[np.uint8]:
        """Round to the nearest number, halves to the even code.

        Parameters
        ----------
        x : array_like
        saturate : bool
            Give what is beyond the largest number its code, as checkpoints in FP8 are made. Otherwise it becomes
            infinity or NaN, as a plain conversion has it. Floats without either always saturate.

        Returns
        -------
        uint8 array of the shape of `x`

        Raises
        ------
        GridError
            NaN, where the float has none.
        """
        array = real_array(x, "x", GridError)
        flag(saturate, "saturate", GridError)
        size = np.abs(array)
        unknown = np.isnan(size)
        if self.specials == "none" and unknown.any():
            raise GridError(f"x holds NaN, which {self.name} has no code for; replace it by a number first")
        positive = self.table[: 1 << (self.n_bits - 1)]
        positive = positive[np.isfinite(positive)]
        # a half between two codes is exact in float32, one mantissa bit longer than they are
        halves = (positive[1:] + positive[:-1]) / np.float32(2)
        below, above = np.searchsorted(halves, size, "left"), np.searchsorted(halves, size, "right")
        codes = np.where(below % 2 == 0, below, above)  # they differ at a half only, and then one of them is even
        if self.specials != "none":
            step = positive[-1] - positive[-2]
            beyond = size > positive[-1] + step / 2 if len(positive) % 2 else size >= positive[-1] + step / 2
            over = len(positive)  # infinity, or NaN where there is none
            codes = np.where(beyond & ~unknown, len(positive) - 1 if saturate else over, codes)
            codes = np.where(unknown, (1 << (self.n_bits - 1)) - (1 if self.specials == "nan" else 2), codes)
        signs = np.signbit(array).astype(np.int64) << (self.n_bits - 1)
        return np.asarray(codes | signs, np.uint8)

    def decode(self, codes: npt.ArrayLike) -> FloatArray:
        """What codes stand for.

        Parameters
        ----------
        codes : array_like of int

        Returns
        -------
        float32 array of their shape

        Raises
        ------
        GridError
            A code of more bits.
        """
        flat, most = as_array(codes, "codes", GridError, "whole numbers"), (1 << self.n_bits) - 1
        if not flat.size:
            return np.empty(flat.shape, np.float32)
        known = whole_array(flat, f"codes of {self.name}", GridError, shape=flat.shape, least=0, most=most)
        values: FloatArray = self.table[known]
        return values

    def bits(self, code: int) -> tuple[str, str, str]:
        """Sign, exponent and mantissa of a code, as binary digits."""
        code = whole_number(code, "code", GridError, least=0, most=(1 << self.n_bits) - 1)
        digits = f"{code:0{self.n_bits}b}"
        return digits[0], digits[1 : 1 + self.exponent_bits], digits[1 + self.exponent_bits :]


check_record(SmallFloat, GridError)

E4M3 = SmallFloat("E4M3", 4, 3, 7, "nan")
"""FP8 for weights and activations."""
E5M2 = SmallFloat("E5M2", 5, 2, 15, "ieee")
"""FP8 for gradients: more range, less precision."""
E3M2 = SmallFloat("E3M2", 3, 2, 3, "none")
"""FP6."""
E2M3 = SmallFloat("E2M3", 2, 3, 1, "none")
"""FP6."""
E2M1 = SmallFloat("E2M1", 2, 1, 1, "none")
"""FP4, the element of MXFP4 and NVFP4."""


def two_level_scales(most: npt.ArrayLike, reach: float) -> tuple[npt.NDArray[np.uint8], np.float32, FloatArray]:
    """Scales of groups in two levels, as NVFP4 has them: one float32 for all, and an `E4M3` for each group.

    The float32 lets the group with the largest number have the largest scale that `E4M3` can say.

    Parameters
    ----------
    most : array_like
        The largest magnitude of each group, any shape.
    reach : float
        The largest number that an element can say, such as ``E2M1.largest``; it stands for the largest magnitude.

    Returns
    -------
    codes : uint8 array
        The scale of each group, in `E4M3`, of the shape of `most`.
    whole : float32
        What the scales were multiplied by: ``decode(codes) / whole`` is used.
    scales : float32 array
        That, for each group; 0 where a group is too small for a scale.

    Source: llm-compressor and compressed-tensors, ``nvfp4-pack-quantized``.

    Examples
    --------
    >>> codes, whole, scales = two_level_scales([6.0, 3.0], E2M1.largest)
    >>> codes.tolist(), float(whole), scales.tolist()
    ([126, 118], 448.0, [1.0, 0.5])
    """
    largest = real_array(most, "most", GridError)
    reach = finite_number(reach, "reach", GridError, above=0)
    if not (np.isfinite(largest) & (largest >= 0)).all():
        raise GridError("most must be magnitudes: finite numbers from 0 up")
    top = largest.max() if largest.any() else np.float32(1)
    whole = np.float32(np.float32(E4M3.largest * reach) / top)
    codes = E4M3.encode(whole * (largest / np.float32(reach)), saturate=True)
    scales: FloatArray = (E4M3.decode(codes) / whole).astype(np.float32)
    return codes, whole, scales
