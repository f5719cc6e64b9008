"""Integer grids as blocks: what GPTQ, AWQ and plain rounding make, in a form that runs.

A block is one group of a row: a float16 scale, a zero point, and codes of 2, 3, 4 or 8 bits in planes (`code_in_planes`
of `simd`), so that a vector takes 32 of them apart at once. Checkpoints pack the same numbers into words along
the inputs or the outputs; loaders that want speed lay them out anew, as here (ExLlama does so when it loads). With
``act_order`` the columns of a group lie all over the matrix: they stand side by side here, and the activations are put
into that order before they are rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array, whole_array, whole_number
from qviz._machine.kernels import half_float, i8, kernel, simd, specialise
from qviz.errors import LlamaError
from qviz.formats.base import Format, QTensor


@kernel
def _unpack(blocks, codes, scales, mins):
    """Template; see `qviz.formats.base.Format`."""
    moved = 128 if _BITS == 8 else 0
    for b in range(blocks.size):
        scales[b] = half_float(blocks[b].d)
        mins[b] = scales[b] * np.float32(np.int32(blocks[b].zero) - np.int32(moved))
        for j in range(codes.shape[1]):
            codes[b, j] = i8(simd.code_in_planes(blocks[b].qs, 4 * _BITS * (j // 32), j % 32, _BITS))


_BITS = 4


@dataclass(frozen=True, eq=False, repr=False)
class GroupFormat(Format):
    """A block format of groups; not ggml's, and in no file.

    Attributes
    ----------
    bits : int
        Bits of a code.
    """

    bits: int = 4


@cache
def group_format(bits: int, size: int) -> GroupFormat:
    """The format of groups of `size` codes.

    Raises
    ------
    LlamaError
        If there are no kernels for them.

    Examples
    --------
    >>> group_format(4, 128)
    <Format INT4: 67 bytes for 128 weights, 4.1875 bpw>
    """
    if bits not in (2, 3, 4, 8) or size < 32 or size % 32:
        raise LlamaError(
            f"groups of {size} codes of {bits} bits do not run here; take 2, 3, 4 or 8 bits, and whole 32s"
        )
    nbytes = size * bits // 8
    return GroupFormat(
        name=f"INT{bits}",
        type_id=-1,
        block_size=size,
        type_size=3 + nbytes,
        dtype=np.dtype([("d", "<f2"), ("zero", "u1"), ("qs", "u1", (nbytes,))]),
        unpack_blocks=specialise(_unpack, f"unpack_INT{bits}", _BITS=bits),
        codes=(-128, 127) if bits == 8 else (0, (1 << bits) - 1),
        bits=bits,
        source="IST-DASLab/gptq, quant.py: scale · (code − zero point)",
    )


class GroupTensor(QTensor):
    """A matrix of groups whose columns may stand in another order.

    Attributes
    ----------
    order : int32 array (n_in,) or None
        The column that stands at each place; None where each stands at its own.
    """

    __slots__ = ("order",)

    def __init__(self, format: Format, blocks: Any, shape: tuple[int, ...], order: Any = None) -> None:
        super().__init__(format, blocks, shape)
        self.order = order

    def dequantize(self, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """The weights, each column in its own place; see `QTensor.dequantize`."""
        weights = super().dequantize(out)
        if self.order is not None:
            weights[:, self.order] = weights.copy()
        return weights


def group_tensor(
    codes: npt.NDArray[Any],
    scales: npt.NDArray[np.float32],
    zero_points: npt.NDArray[Any],
    g_idx: npt.NDArray[np.int32],
    bits: int,
) -> GroupTensor:
    """A rounded matrix, laid out to run.

    Parameters
    ----------
    codes : integer array (n_out, n_in)
        0 to 2^bits − 1.
    scales, zero_points : arrays (n_out, n_groups)
        Scales that float16 holds; zero points are whole numbers of the range of the codes.
    g_idx : int32 array (n_in,)
        The group of each column; all groups are of one size.
    bits : int
        2, 3, 4 or 8.

    Raises
    ------
    LlamaError
        Groups of different sizes or of no whole 32 codes, or numbers that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.arange(64).reshape(1, 64) % 16
    >>> scales, zeros = np.float32([[2, 4]]), np.int32([[8, 0]])
    >>> t = group_tensor(codes, scales, zeros, np.arange(64, dtype=np.int32) // 32, 4)
    >>> t.dequantize()[0, [0, 1, 33]].tolist()
    [-16.0, -14.0, 4.0]
    """
    bits = whole_number(bits, "bits", LlamaError, least=2, most=8)
    codes = whole_array(codes, "codes", LlamaError, shape=("n_out", "n_in"), least=-(1 << 31), most=1 << 31, dtype=None)
    n_out, n_in = codes.shape
    scales = real_array(scales, "scales", LlamaError, shape=(n_out, "n_groups"))
    n_groups = scales.shape[1]
    shape = (n_out, n_groups)
    zero_points = whole_array(zero_points, "zero points", LlamaError, shape=shape, least=-(1 << 31), most=1 << 31)
    g_idx = whole_array(g_idx, "g_idx", LlamaError, shape=(n_in,), least=0, most=n_groups - 1, dtype=np.int32)
    if (np.bincount(g_idx, minlength=n_groups) * n_groups != n_in).any():
        raise LlamaError(f"the {n_groups} groups of {n_in} columns differ in size; only equal ones run here")
    fmt = group_format(bits, n_in // n_groups)
    for what, values in (("codes", codes), ("zero points", zero_points)):
        if values.size and (values.min() < 0 or values.max() >> bits):
            raise LlamaError(
                f"{what} reach from {values.min()} to {values.max()}; {bits} bits hold 0 to {(1 << bits) - 1}"
            )
    order = np.argsort(g_idx, kind="stable").astype(np.int32)
    blocks = np.empty((n_out, n_groups), fmt.dtype)
    with np.errstate(over="ignore"):  # a scale beyond float16 is infinite
        blocks["d"], blocks["zero"] = scales, zero_points
    parts = codes[:, order].astype(np.uint8).reshape(n_out, n_groups, -1, 32)
    blocks["qs"] = _planes(parts, bits).reshape(n_out, n_groups, -1)
    in_place = np.array_equal(order, np.arange(n_in))
    return GroupTensor(fmt, blocks, (n_out, n_in), None if in_place else order)


def _planes(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Codes (..., 32) -> bytes (..., 4 · bits)."""
    if bits == 8:
        return codes ^ np.uint8(128)  # as int8, 128 less
    if bits == 4:
        return codes[..., :16] | codes[..., 16:] << np.uint8(4)
    low = codes.reshape(*codes.shape[:-1], 4, 8) & np.uint8(3)
    planes: npt.NDArray[np.uint8] = np.bitwise_or.reduce(low << np.arange(0, 8, 2, dtype=np.uint8)[:, None], axis=-2)
    if bits == 3:
        third = np.packbits(codes >> np.uint8(2), axis=-1, bitorder="little")
        planes = np.concatenate([planes, third], axis=-1)
    return planes
