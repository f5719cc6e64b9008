"""GPTQ onto the levels of a GGML format: the bytes that a GGUF file stores, with errors passed on as in `gptq`.

Where a block of columns begins, the format's own encoder chooses the scales (and minimums) for the weights as they then
stand; every column counts in that as much as in GPTQ's loss, 1/Uᵢᵢ², where the format listens to an importance matrix.
Then the columns of the block are rounded one after the other onto those levels, each error moving the columns to come.

A format's encoder writes scales and codes together, so the codes are put in afterwards. Where their bits stand is found
by asking: flip each bit of an empty block, unpack it, and see which code changed. Formats in which a code is not a
number of its own (the lattices of IQ2 and IQ3, base-3 packing) have no such bits, and are refused.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine.blas import on_one_thread
from qviz._machine.kernels import f32, kernel
from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.formats import get, quantize
from qviz.formats.base import Format, QTensor
from qviz.methods._inputs import checked_weight
from qviz.methods.gptq import checked_damping, factor, without_dead
from qviz.methods.recommended import damping


@on_one_thread
def gptq_format(
    weight: npt.ArrayLike, stats: ActivationStats, format: Format | str | int, *, damp_percent: float | None = None
) -> QTensor:
    """Round a weight matrix onto a GGML format's levels so that its outputs change least.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        Of the layer's inputs.
    format : Format, str or int
        One with a code for each weight: Q4_0 … Q8_0, Q2_K … Q6_K, IQ4_NL, IQ4_XS, MXFP4 and the like.
    damp_percent : float, optional
        As in `gptq`; by default what `damping` says.

    Returns
    -------
    QTensor
        As `qviz.quantize` returns it, ready for a GGUF file.

    Raises
    ------
    MethodError
        A format without such codes, or as in `gptq`.
    ShapeError
        Rows that are not a whole number of blocks.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((200, 32)).cumsum(axis=1)
    >>> w = np.random.default_rng(1).standard_normal((8, 32)).astype(np.float32)
    >>> ours, plain = gptq_format(w, ActivationStats.from_inputs(x), "Q4_0"), quantize(w, "Q4_0")
    >>> bool(np.square(x @ (w - ours.dequantize()).T).sum() < 0.2 * np.square(x @ (w - plain.dequantize()).T).sum())
    True
    """
    w, fmt = checked_weight(weight, stats), get(format)
    fmt.blocks_per_row(w.shape[1])
    places = _places(fmt)
    asked = damping(stats.n_tokens, stats.n_in) if damp_percent is None else checked_damping(damp_percent)
    w, H, _ = without_dead(w, stats)
    U, _ = factor(H, asked)
    importance = np.diagonal(U) ** np.float32(-2)
    table = np.array(() if fmt.table is None else fmt.table, np.float32)
    lowest, highest = fmt.codes or (0, table.size - 1)

    W = w.copy()
    blocks = np.empty((len(w), w.shape[1] // fmt.block_size), fmt.dtype)
    for first in range(0, w.shape[1], fmt.block_size):
        last = first + fmt.block_size
        now = np.ascontiguousarray(W[:, first:last])
        if not np.isfinite(now).all():
            raise MethodError("the updates overflow: H is too ill-conditioned; use a larger damp_percent")
        chosen = quantize(now, fmt, importance[first:last])
        parts = chosen.unpack()
        errors, codes = np.empty_like(now), parts.codes.copy()
        square = np.ascontiguousarray(U[first:last, first:last])
        _columns(now, square, parts.scales, parts.mins, table, lowest, highest, errors, codes)
        blocks[:, first // fmt.block_size] = _with_codes(chosen.blocks[:, 0], codes, places)
        if last < w.shape[1]:
            W[:, last:] -= errors @ np.ascontiguousarray(U[first:last, last:])
    return QTensor(fmt, blocks, w.shape)


def accepts(format: Format | str | int) -> bool:
    """Whether `gptq_format` can choose the codes of a format.

    Examples
    --------
    >>> accepts("Q4_K"), accepts("IQ2_XS"), accepts("F16")
    (True, False, False)
    """
    try:
        _places(get(format))
    except MethodError:
        return False
    return True


@functools.cache
def _places(fmt: Format) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int16]]:
    """The bit of a block that holds bit b of code j, (block_size, bits), and the codes of a block of zeros."""
    if not fmt.can_encode or fmt.unpack_blocks is None:
        raise MethodError(f"{fmt} has no codes to choose, or cannot be written here; try Q4_K or IQ4_NL")

    def codes(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
        tensor = QTensor.from_bytes(fmt.name, raw.tobytes(), (len(raw), fmt.block_size))
        return tensor.unpack().codes.astype(np.int16)

    n_bits = 8 * fmt.type_size
    empty = codes(np.zeros((1, fmt.type_size), np.uint8))[0]
    changes = codes(np.packbits(np.eye(n_bits, dtype=np.uint8), axis=1, bitorder="little")) - empty
    at, code = np.nonzero(changes)
    size = np.abs(changes[at, code]).astype(np.int64)
    bits = max(at.size // fmt.block_size, 1)
    order = np.lexsort((size, code))
    free = np.array_equal(size[order].reshape(-1, bits) if at.size == bits * fmt.block_size else [], _powers(fmt, bits))
    if not free or np.unique(at).size != at.size:
        raise MethodError(f"the codes of {fmt} cannot be chosen one by one; try Q4_K or IQ4_NL")
    return at[order].reshape(-1, bits), empty


def _powers(fmt: Format, bits: int) -> npt.NDArray[np.int64]:
    return np.tile(1 << np.arange(bits), (fmt.block_size, 1))


def _with_codes(blocks: npt.NDArray[Any], codes: npt.NDArray[np.int8], places: Any) -> npt.NDArray[Any]:
    """`blocks` (n,) with other codes (n, block_size)."""
    at, empty = places
    raw = np.ascontiguousarray(blocks).view(np.uint8).reshape(len(blocks), -1)
    bits = np.unpackbits(raw, axis=1, bitorder="little")
    digits = (codes.astype(np.int16) - empty)[:, :, None] >> np.arange(at.shape[1], dtype=np.int16) & 1
    bits[:, at.ravel()] = digits.reshape(len(blocks), -1)
    filled = np.packbits(bits, axis=1, bitorder="little")
    written: npt.NDArray[Any] = np.ascontiguousarray(filled).view(blocks.dtype)[:, 0]
    return written


@kernel
def _columns(w, U, scales, mins, table, lowest, highest, errors, codes):
    """Round the columns of one block of each row; `w` ends as each weight was when its turn came."""
    n = w.shape[1]
    width = n // scales.shape[1]
    for r in range(w.shape[0]):
        row = w[r]
        for i in range(n):
            scale, low = scales[r, i // width], mins[r, i // width]
            if table.size:
                code, nearest = 0, f32(np.inf)
                for k in range(table.size):
                    off = abs(f32(f32(table[k] * scale) - low) - row[i])
                    if off < nearest:
                        code, nearest = k, off
                level = table[code]
            else:
                # a scale of zero leaves one level: the code there may be any
                steps = f32(f32(row[i] + low) / scale) if scale != f32(0) else f32(0)
                level = f32(min(max(np.rint(steps), f32(lowest)), f32(highest)))
                code = int(level)
            codes[r, i] = code
            e = f32(f32(row[i] - f32(f32(level * scale) - low)) / U[i, i])
            errors[r, i] = e
            ahead, pull = row[i + 1 :], U[i, i + 1 :]
            for j in range(ahead.size):
                ahead[j] -= f32(e * pull[j])
