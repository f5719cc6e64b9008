"""One packed weight matrix: its words as a file holds them, and the weights that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import as_array, flag, real_array, whole_array
from qviz._types import IntArray
from qviz.checkpoints.packed.bits import checked_bits, pack_bits, zeros_to_v1
from qviz.checkpoints.packed.dialects import layouts
from qviz.checkpoints.packed.dialects.awq import ORDER
from qviz.errors import CheckpointError

LAYOUTS = ("gptq", "gptq_v2", "gemm", "pack-quantized")
"""Layouts of integer codes that can be written."""
FLOAT_LAYOUTS = ("float-quantized", "nvfp4-pack-quantized")
"""Layouts of small floats that can be written; see `pack_floats`."""
F8 = np.dtype([("e4m3", "u1")])
"""Bytes that are floats of eight bits, for who writes them."""
_ROWS_AT_ONCE = 1 << 22  # weights


@dataclass(frozen=True, eq=False)
class PackedLinear:
    """One weight matrix, packed.

    Attributes
    ----------
    format : str
        ``"gptq"`` or ``"gptq_v2"``: GPTQ with zero points v1 or v2; ``"gemm"``: AWQ GEMM. What is read may have
        another one of `qviz.checkpoints.packed.dialects.layouts`.
    bits : int
    qweight, qzeros : integer arrays
        As the layout has them; no `qzeros` where a symmetric grid needs none.
    global_scale : float32 array, optional
        By which NVFP4's scales are larger than they should be.
    scales : float16 or float32 array
        (n_groups, n_out) for GPTQ and GEMM; as the layout has them for others.
    g_idx : int32 array (n_in,)
        The group of each input column; AWQ files leave it out.
    n_groups, n_out : int, optional
        Groups of a row, and rows; as for GPTQ and GEMM unless given.
    """

    format: str
    bits: int
    qweight: npt.NDArray[Any]
    qzeros: npt.NDArray[Any] | None
    scales: npt.NDArray[Any]
    g_idx: IntArray
    n_groups: int = 0
    n_out: int = 0
    global_scale: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if not self.n_out and self.scales.ndim == 2:
            object.__setattr__(self, "n_groups", self.scales.shape[0])
            object.__setattr__(self, "n_out", self.scales.shape[1])

    @property
    def n_in(self) -> int:
        """Columns."""
        return len(self.g_idx)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_out, n_in)."""
        return self.n_out, self.n_in

    def codes(self) -> npt.NDArray[np.uint8]:
        """Unsigned codes, uint8 (n_out, n_in)."""
        return layouts()[self.format].codes(self)

    def zero_points(self) -> IntArray:
        """Zero points of the unsigned codes, int32 (n_out, n_groups)."""
        return layouts()[self.format].zero_points(self)

    def dequantize(self) -> npt.NDArray[np.float32]:
        """The weights, float32 (n_out, n_in): scale · (code − zero point), or scale times what the code stands for."""
        codes, zeros, scales = self.codes(), self.zero_points(), layouts()[self.format].scales(self)
        table = layouts()[self.format].table
        weights = np.empty(self.shape, np.float32)
        step = max(1, _ROWS_AT_ONCE // max(self.n_in, 1))
        for first in range(0, self.n_out, step):
            rows = slice(first, first + step)
            if table is None:
                steps: npt.NDArray[Any] = codes[rows].astype(np.int32) - zeros[rows][:, self.g_idx]
            else:
                steps = table[codes[rows]]
            np.multiply(steps, scales[rows][:, self.g_idx], out=weights[rows], casting="same_kind", dtype=np.float32)
        return weights

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint stores, by the last part of the name."""
        arrays = {part.name: getattr(self, part.field, None) for part in layouts()[self.format].components}
        if self.format == "pack-quantized":
            arrays["weight_shape"] = np.array(self.shape, np.int64)
            del arrays["weight_g_idx"]  # columns are in order
        for part in layouts()[self.format].components:
            if part.dtypes == ("F8_E4M3",):
                arrays[part.name] = np.ascontiguousarray(arrays[part.name]).view(F8)
        return {name: array for name, array in arrays.items() if array is not None}


def pack(
    codes: npt.ArrayLike,
    scale: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    *,
    bits: int = 4,
    format: str = "gptq_v2",
    g_idx: npt.ArrayLike | None = None,
    sym: bool = False,
) -> PackedLinear:
    """Pack one weight matrix.

    Parameters
    ----------
    codes : integer array (n_out, n_in)
        Unsigned, 0 to 2**bits − 1, or those of a symmetric grid, −2**(bits−1) and up (dtype int8).
    scale : array_like (n_out, n_groups)
        Rounded to float16.
    zero_point : integer array (n_out, n_groups)
        The code that stands for zero.
    bits : {2, 3, 4, 8}
        AWQ knows 4 only.
    format : {"gptq_v2", "gptq", "gemm", "pack-quantized"}
        Asymmetric grids are safest as ``gptq_v2`` or ``gemm``: readers of v1 differ on zero points of 0.
        ``pack-quantized`` is that of compressed-tensors.
    g_idx : integer array (n_in,), optional
        The group of each column; consecutive groups of equal size if not given.
    sym : bool
        Every zero point lies in the middle; ``pack-quantized`` then stores none.

    Returns
    -------
    PackedLinear

    Raises
    ------
    CheckpointError
        Something the layout cannot hold.
    """
    if not isinstance(format, str) or format not in LAYOUTS:
        raise CheckpointError("no such packed format", found=format, expected=", ".join(LAYOUTS))
    if format == "gemm" and bits != 4:
        raise CheckpointError("AWQ GEMM holds 4-bit codes only", found=bits)
    bits, sym = checked_bits(bits), flag(sym, "sym", CheckpointError)
    q, zeros = (as_array(x, what, CheckpointError) for x, what in ((codes, "codes"), (zero_point, "zero_point")))
    if q.ndim != 2 or q.dtype.kind not in "iu" or zeros.dtype.kind not in "iu":
        raise CheckpointError("codes and zero points must be matrices of integers", found=(q.dtype, q.shape))
    if any(x.size and (x.min() < -256 or x.max() > 256) for x in (q, zeros)):  # before int32 makes others of them
        raise CheckpointError(f"codes or zero points do not fit {bits} bits")
    scales = _half_scales(scale, zeros, len(q))
    groups = scales.shape[1]
    index = _index(g_idx, q.shape[1], groups, format)
    offset = 1 << bits - 1 if q.dtype.kind == "i" and (q.dtype == np.int8 or (q.size and q.min() < 0)) else 0
    unsigned, zeros = q.astype(np.int32) + offset, zeros.astype(np.int32) + offset
    if format == "pack-quantized":
        return _pack_in_rows(unsigned, scales, zeros, bits, index, sym)
    scales = np.ascontiguousarray(scales.T)
    if format == "gemm":
        words = _awq_pack(unsigned.T), _awq_pack(zeros.T)
    else:
        words = pack_bits(unsigned.T, bits), np.ascontiguousarray(pack_bits(zeros, bits).T)
    if format == "gptq":
        words = words[0], zeros_to_v1(words[1], bits)
    return PackedLinear(format, bits, *words, scales, index)


def _pack_in_rows(
    codes: IntArray, scales: npt.NDArray[Any], zeros: IntArray, bits: int, g_idx: IntArray, sym: bool
) -> PackedLinear:
    """Pack as compressed-tensors does: codes along the rows, zero points along the columns."""
    if sym and (zeros != 1 << bits - 1).any():
        raise CheckpointError("on a symmetric grid every zero point lies in the middle, and these do not")
    words = np.ascontiguousarray(_stream(codes.T, bits).T)
    stored = None if sym else _stream(zeros, bits)
    n_out, groups = scales.shape
    return PackedLinear("pack-quantized", bits, words, stored, np.ascontiguousarray(scales), g_idx, groups, n_out)


def _stream(codes: IntArray, bits: int) -> IntArray:
    """`pack_bits` of any number of codes: zeros fill the last word."""
    n, m = codes.shape
    whole = np.zeros((-(-n // 32) * 32, m), np.int32)
    whole[:n] = codes
    return np.ascontiguousarray(pack_bits(whole, bits)[: -(-n * bits // 32)])


def _half_scales(scale: npt.ArrayLike, zeros: npt.NDArray[Any], n_out: int) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        scales = real_array(scale, "scale", CheckpointError).astype(np.float16)
    if scales.ndim != 2 or len(scales) != n_out or scales.shape != zeros.shape or not scales.shape[1]:
        raise CheckpointError("scale and zero_point must be (n_out, n_groups)", found=(scales.shape, zeros.shape))
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise CheckpointError("scales must be positive and fit float16; rescale the weights first")
    return scales


def _index(g_idx: npt.ArrayLike | None, n_in: int, groups: int, format: str) -> IntArray:
    """The group of each column."""
    if g_idx is None:
        if n_in % groups:
            raise CheckpointError(f"{n_in} columns do not make {groups} equal groups; give g_idx")
        index = np.repeat(np.arange(groups, dtype=np.int32), n_in // groups)
    else:
        index = whole_array(g_idx, "g_idx", CheckpointError, shape=(n_in,), least=0, most=groups - 1, dtype=np.int32)
    if format in ("gemm", "pack-quantized") and (
        n_in % groups or not np.array_equal(index, np.arange(n_in) // (n_in // groups))
    ):
        name = "AWQ GEMM" if format == "gemm" else "compressed-tensors"
        raise CheckpointError(f"{name} has no place for g_idx: its groups are consecutive columns of equal size")
    return index


def _awq_pack(columns: npt.NDArray[Any]) -> IntArray:
    """(n, m) -> int32 (n, m / 8), the columns of each word interleaved."""
    n, m = columns.shape
    if m % 8:
        raise CheckpointError("AWQ GEMM packs 8 output channels into a word", found=m, expected="a multiple of 8")
    mixed = columns.reshape(n, m // 8, 8)[:, :, list(ORDER)].reshape(n, m)
    return np.ascontiguousarray(pack_bits(np.ascontiguousarray(mixed.T), 4).T)
