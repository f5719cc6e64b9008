"""The bits of a small float, and where its numbers lie beside those of an integer grid with as many bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qviz._types import FloatArray
from qviz.grids import SmallFloat


@dataclass(frozen=True, eq=False)
class FloatBits:
    """One code of a small float, and all its positive numbers.

    Attributes
    ----------
    name : str
        Name of the float.
    code : int
    sign, exponent, mantissa : str
        Its bits, as binary digits.
    value : float
        What it stands for; NaN and infinity are possible.
    positive : float32 array
        The float's numbers above zero, ascending.
    even : float32 array
        The numbers above zero of a symmetric integer grid of as many bits that reaches equally far.
    """

    name: str
    code: int
    sign: str
    exponent: str
    mantissa: str
    value: float
    positive: FloatArray
    even: FloatArray


def float_bits(small: SmallFloat, code: int) -> FloatBits:
    """Take a code apart.

    Parameters
    ----------
    small : SmallFloat
    code : int

    Returns
    -------
    FloatBits

    Raises
    ------
    GridError
        A code of more bits.

    Examples
    --------
    >>> from qviz.grids import E2M1
    >>> picture = float_bits(E2M1, 0b1101)
    >>> picture.sign, picture.exponent, picture.mantissa, picture.value
    ('1', '10', '1', -3.0)
    >>> picture.positive.tolist(), picture.even.astype(float).round(2).tolist()
    ([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], [0.86, 1.71, 2.57, 3.43, 4.29, 5.14, 6.0])
    """
    sign, exponent, mantissa = small.bits(code)
    most = (1 << (small.n_bits - 1)) - 1
    even = (np.arange(1, most + 1) * (small.largest / most)).astype(np.float32)
    value = float(small.decode([code])[0])
    return FloatBits(small.name, int(code), sign, exponent, mantissa, value, small.levels[small.levels > 0], even)
