"""GPTQ onto the levels of a GGML format: the bytes that a GGUF file stores, with errors passed on as in `gptq`.

Where a block of columns begins, the format's own encoder chooses the scales (and minimums) for the weights as they then
stand; every column counts in that as much as in GPTQ's loss, 1/Uᵢᵢ², where the format listens to an importance matrix.
Then the columns of the block are rounded one after the other onto those levels, each error moving the columns to come.

A format's encoder writes scales and codes together, so the codes are put in afterwards (`qviz.methods.block_bits`).
Groups of IQ2 and IQ3 are rounded together (`qviz.methods.lattice`). Other formats in which a code is not a number of
its own (the ternary ones, with several weights in a byte) are refused.

Afterwards `qviz.methods.refine` may go over the matrix as a whole: a column that was rounded early could not know of
those after it, nor could the scales, which were chosen before their codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array, whole_number
from qviz._machine.blas import on_one_thread
from qviz._machine.kernels import f32, kernel, simd
from qviz._machine.team import in_parallel
from qviz._types import FloatArray
from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.formats import get, quantize
from qviz.formats.base import Format, QTensor
from qviz.methods._inputs import checked_weight
from qviz.methods.block_bits import bits_of
from qviz.methods.gptq import checked_damping, factor, hessian_of
from qviz.methods.lattice import book_of, lattice_columns
from qviz.methods.numbers import EntryNumbers, has_numbers
from qviz.methods.recommended import damping
from qviz.methods.refine import refine

_ROWS_AT_ONCE = 4096
_FEWEST_ROWS = 16  # that are worth another core: each is rounded block by block


@on_one_thread
def gptq_format(
    weight: npt.ArrayLike,
    stats: ActivationStats,
    format: Format | str | int,
    *,
    damp_percent: float | None = None,
    sweeps: int = 0,
    outputs: FloatArray | None = None,
) -> QTensor:
    """Round a weight matrix onto a GGML format's levels so that its outputs change least.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    stats : ActivationStats
        What is known of the layer's inputs.
    format : Format, str or int
        One with a code for each weight: Q4_0 … Q8_0, Q2_K … Q6_K, IQ4_NL, IQ4_XS, MXFP4 and the like; or IQ2, IQ3.
    damp_percent : float, optional
        As in `gptq`; by default what `damping` says.
    sweeps : int
        How often to `refine` the whole matrix afterwards.
    outputs : float32 array (n_out, n_out), optional
        For `refine`.

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
    sweeps = whole_number(sweeps, "sweeps", MethodError, least=0, most=1_000_000)
    if outputs is not None:
        outputs = real_array(outputs, "outputs", MethodError)
    if fmt.lattice is None:
        bits_of(fmt)  # or a reason why not
    return FormatRounding(stats, damp_percent).round(w, fmt, sweeps=sweeps, outputs=outputs)


class FormatRounding:
    """GPTQ for inputs as they are, onto any format: what depends on the inputs alone is worked out once.

    Parameters
    ----------
    stats : ActivationStats
    damp_percent : float, optional
        As in `gptq_format`.
    """

    @on_one_thread
    def __init__(self, stats: ActivationStats, damp_percent: float | None = None) -> None:
        asked = damping(stats.n_tokens, stats.n_in) if damp_percent is None else checked_damping(damp_percent)
        self._hessian, self._dead = hessian_of(stats)
        U, _ = factor(self._hessian, asked)
        diagonal = np.diagonal(U)
        self._pull = np.ascontiguousarray(U / diagonal[:, None])
        self._prices = np.ascontiguousarray(diagonal ** np.float32(-2))

    @on_one_thread
    def round(self, w: FloatArray, fmt: Format, *, sweeps: int = 0, outputs: FloatArray | None = None) -> QTensor:
        """Round a float32 matrix (n_out, n_in) that the statistics fit; as `gptq_format` does."""
        if self._dead.any():
            w = np.where(self._dead, np.float32(0), w)
        blocks = np.empty((len(w), w.shape[1] // fmt.block_size), fmt.dtype)

        def work(first: int, last: int) -> None:
            for a in range(first, last, _ROWS_AT_ONCE):
                part = slice(a, min(a + _ROWS_AT_ONCE, last))
                blocks[part] = self._rows(w[part], fmt)

        in_parallel(len(w), work, least=_FEWEST_ROWS)
        rounded = QTensor(fmt, blocks, w.shape)
        return refine(w, rounded, self._hessian, sweeps=sweeps, outputs=outputs) if sweeps else rounded

    def _rows(self, w: FloatArray, fmt: Format) -> npt.NDArray[Any]:
        """The blocks of some rows."""
        rounded_onto = _lattice if fmt.lattice is not None else _codes
        W, blocks = w.copy(), np.empty((len(w), w.shape[1] // fmt.block_size), fmt.dtype)
        for first in range(0, w.shape[1], fmt.block_size):
            part, later = slice(first, first + fmt.block_size), slice(first + fmt.block_size, None)
            now = np.ascontiguousarray(W[:, part])
            if not np.isfinite(now).all():
                raise MethodError("the updates overflow: H is too ill-conditioned; use a larger damp_percent")
            chosen = quantize(now, fmt, self._prices[part])
            square, errors = np.ascontiguousarray(self._pull[part, part]), np.empty_like(now)
            blocks[:, first // fmt.block_size] = rounded_onto(chosen, now, square, self._prices[part], errors)
            if part.stop < w.shape[1]:
                W[:, later] -= errors @ self._pull[part, later]
        return blocks


def _codes(chosen: QTensor, now: FloatArray, pull: FloatArray, prices: FloatArray, errors: FloatArray) -> Any:
    """Blocks with the scales of `chosen`, one a row, and codes that pass `errors` on."""
    fmt, parts = chosen.format, chosen.unpack()
    table = np.array(() if fmt.table is None else fmt.table, np.float32)
    lowest, highest = fmt.codes or (0, table.size - 1)
    codes = parts.codes.copy()
    _columns(now, pull, parts.scales, parts.mins, table, lowest, highest, errors, codes)
    return bits_of(fmt).put_codes(chosen.blocks[:, 0], codes)


def _lattice(chosen: QTensor, now: FloatArray, pull: FloatArray, prices: FloatArray, errors: FloatArray) -> Any:
    """The same for entries of a codebook."""
    numbers, book = EntryNumbers(chosen), book_of(chosen.format.name)
    scales = numbers.d * numbers.scales
    lattice_columns(
        now, pull, prices, scales, book.entries, book.values, book.tree, book.group, book.even, errors, numbers.codes
    )
    return numbers.tensor().blocks[:, 0]


def accepts(format: Format | str | int) -> bool:
    """Whether `gptq_format` can choose the codes of a format.

    Examples
    --------
    >>> accepts("Q4_K"), accepts("IQ2_XS"), accepts("TQ1_0"), accepts("F16")
    (True, True, False, False)
    """
    return has_numbers(get(format))


@kernel
def _columns(w, pull, scales, mins, table, lowest, highest, errors, codes):
    """Round the columns of one block of each row; `w` changes."""
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
            e = f32(row[i] - f32(f32(level * scale) - low))
            errors[r, i] = e
            for v in range((i + 1) // simd.LANES * simd.LANES, n, simd.LANES):
                simd.store(w, r * n + v, simd.load(w, r * n + v) - e * simd.load(pull, i * n + v))
