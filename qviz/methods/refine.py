"""Descent from a rounded matrix to a better one of the same bytes: codes, sub-scales and factors, one after the other.

The damage of a rounded row is e·H·eᵀ, where e is what was wanted less what is stored. With g = e·H kept up to date,
changing some of a row's weights by δ changes the damage by δ·H·δᵀ − 2·g·δᵀ, so a change is tried at the cost of the few
columns that it touches, and made only if the damage falls:

- **a sub-block**: each neighbour of its scale and minimum, with its codes rounded anew for it (column by column, errors
  passed on inside the sub-block, as GPTQ does, towards what the rest of the row leaves it to do);
- **a super-block**: its factors d and dmin, by least squares for the codes as they are, then rounded to float16.

In the formats whose groups are entries of a codebook, what is rounded anew is groups (`qviz.methods.lattice`).

So the damage on the calibration inputs never rises, wherever it started. With a second matrix over the outputs, the
damage is tr(O·E·H·Eᵀ): errors of different rows, too, then make up for one another, and each row aims at what the
errors of the others leave it to do.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz._machine.blas import of_scipy, on_one_thread
from qviz._machine.kernels import f32, half_bits, half_float, kernel, simd
from qviz._machine.team import in_parallel
from qviz._types import FloatArray
from qviz.errors import MethodError
from qviz.formats.base import Format, QTensor
from qviz.methods.block_bits import bits_of
from qviz.methods.lattice import book_of, scratch, try_entries
from qviz.methods.numbers import numbers_of

_PANEL = 128  # columns that are gone over together, or one super-block
_ROWS = 32  # rows that are gone over together where they depend on one another
_ALONE_AT_ONCE = 1024  # and where they do not
_ALONE = np.empty((0, 0), np.float32)


@on_one_thread
def refine(
    weight: FloatArray, tensor: QTensor, hessian: FloatArray, *, sweeps: int = 3, outputs: FloatArray | None = None
) -> QTensor:
    """Choose a rounded matrix's codes, scales and factors anew, each only if that makes e·H·eᵀ smaller.

    Parameters
    ----------
    weight : float32 array (n_out, n_in)
        What is wanted.
    tensor : QTensor (n_out, n_in)
        Where to begin: of a format with a code for each weight, or IQ2 or IQ3.
    hessian : float32 array (n_in, n_in)
        Positive definite, so damped.
    sweeps : int
        How often to go through each row.
    outputs : float32 array (n_out, n_out) or (groups, n, n), optional
        How errors of outputs add up, of all or of each n rows that follow one another; positive definite. Rows count
        each for itself unless given.

    Returns
    -------
    QTensor
        In the same format.

    Raises
    ------
    MethodError
        Another kind of format, or arrays that do not fit together.

    Examples
    --------
    >>> from qviz import quantize
    >>> rng = np.random.default_rng(0)
    >>> w, x = rng.standard_normal((4, 256)).astype(np.float32), rng.standard_normal((999, 256)).astype(np.float32)
    >>> H, plain = x.T @ x, quantize(w, "Q3_K")
    >>> before, after = (w - t.dequantize() for t in (plain, refine(w, plain, H)))
    >>> bool(np.trace(after @ H @ after.T) < 0.9 * np.trace(before @ H @ before.T))
    True
    """
    n_out, n_in = tensor.shape
    if weight.shape != tensor.shape or hessian.shape != (n_in, n_in):
        raise MethodError(f"weight {weight.shape}, rounded {tensor.shape} and H {hessian.shape} do not fit together")
    together = None
    if outputs is not None:
        together = np.ascontiguousarray(outputs if outputs.ndim == 3 else outputs[None])
        rows = together.shape[-1]
        if not rows or n_out % rows or together.shape != (n_out // rows, rows, rows):
            raise MethodError(f"a matrix of {n_out} outputs is {(n_out, n_out)}, got {outputs.shape}")
    choices = _choices(tensor.format)
    if choices is None or not sweeps:
        return tensor
    w, H = np.ascontiguousarray(weight), np.ascontiguousarray(hessian)
    squares = _of_sub_blocks(H, tensor.format.sub_block_size)
    blocks = np.empty_like(tensor.blocks)

    def work(first: int, last: int, group: FloatArray | None) -> None:
        part = QTensor(tensor.format, tensor.blocks[first:last], (last - first, n_in))
        blocks[first:last] = _Work(w[first:last], part, H, squares, choices, group).after(sweeps).blocks

    def alone(first: int, last: int) -> None:
        for a in range(first, last, _ALONE_AT_ONCE):
            work(a, min(a + _ALONE_AT_ONCE, last), None)

    def coupled(first: int, last: int) -> None:
        assert together is not None
        for k in range(first, last):
            size = len(together[k])
            work(k * size, (k + 1) * size, together[k])

    if together is None:
        in_parallel(n_out, alone, least=8)
    else:
        in_parallel(len(together), coupled, least=1)
    return QTensor(tensor.format, blocks, tensor.shape)


class _Choices(NamedTuple):
    """What there is to choose in a format.

    Attributes
    ----------
    levels, between, order : arrays
        The levels that codes stand for, where they are a table; the points between them, sorted; the code of each. For
        a codebook of groups: its entries, the levels that occur, its tree.
    layout : int64 array (9,)
        The smallest and the largest code, scale and minimum; the step from one scale to the next; for a codebook, the
        weights of an entry and whether an even number of signs is negative (else 0).
    """

    levels: FloatArray
    between: FloatArray
    order: npt.NDArray[np.int16]
    layout: npt.NDArray[np.int64]


class _Work:
    """A descent: panels of columns from left to right, in each of them row after row.

    What the errors of all other columns and rows mean for a panel is a matrix product. Inside the panel a row's changes
    are followed at once; what they mean for the rows after it, a few rows at a time, is a product again.
    """

    def __init__(
        self, w: FloatArray, tensor: QTensor, H: FloatArray, squares: Any, choices: _Choices, outputs: FloatArray | None
    ) -> None:
        state = numbers_of(tensor)
        assert state is not None
        self._w, self._H, self._squares, self._choices, self._outputs, self._state = (
            w, H, squares, choices, outputs, state
        )  # fmt: skip
        self._width, size = w.shape[1] // state.scales.shape[1], tensor.format.block_size
        self._subs, self._panel = size // self._width, size * max(1, _PANEL // size)
        self._errors = w - tensor.dequantize()

    def after(self, sweeps: int) -> QTensor:
        """The matrix after so many sweeps."""
        for _ in range(sweeps):
            self.sweep()
        return self._state.tensor()

    def sweep(self) -> None:
        """Go over the whole matrix once."""
        E, H, O = self._errors, self._H, self._outputs
        pulled = E @ H
        for first in range(0, E.shape[1], self._panel):
            columns = slice(first, min(first + self._panel, E.shape[1]))
            square, later = np.ascontiguousarray(H[columns, columns]), slice(columns.stop, None)
            before = E[:, columns].copy()
            if O is None:
                self._rows(columns, np.ascontiguousarray(pulled[:, columns]), square, 0, len(E))
            else:
                g = (O @ pulled[:, columns]).astype(np.float32, copy=False)
                self._together(columns, g, square, O)
            if columns.stop < E.shape[1]:
                pulled[:, later] += (E[:, columns] - before) @ H[columns, later]

    def _together(self, columns: slice, g: FloatArray, square: FloatArray, O: FloatArray) -> None:
        """A panel in which rows depend on one another; `g` is O·E·H there."""
        for a in range(0, len(g), _ROWS):
            b = min(a + _ROWS, len(g))
            changes = self._rows(columns, g, square, a, b, np.ascontiguousarray(O[a:b, a:b]))
            if b < len(g):
                g[b:] += O[b:, a:b] @ changes

    def _rows(
        self, columns: slice, g: FloatArray, square: FloatArray, a: int, b: int, outputs: FloatArray = _ALONE
    ) -> FloatArray:
        """Rows `a` to `b`; what changes in their E·H."""
        state, changes = self._state, np.empty((b - a, g.shape[1]), np.float32)
        subs = slice(columns.start // self._width, columns.stop // self._width)
        blocks = slice(subs.start // self._subs, subs.stop // self._subs)
        w, E = (np.ascontiguousarray(x[a:b, columns]) for x in (self._w, self._errors))
        codes, scales, mins, d, dmin = (
            np.ascontiguousarray(x[a:b, part])
            for x, part in (
                (state.codes, columns), (state.scales, subs), (state.mins, subs),
                (state.d, blocks), (state.dmin, blocks),
            )
        )  # fmt: skip
        _descend(
            w, E, g[a:b], square, outputs, *(part[subs] for part in self._squares), *self._choices,
            np.float32(state.unit), codes, scales, mins, d, dmin, changes,
        )  # fmt: skip
        self._errors[a:b, columns], state.codes[a:b, columns] = E, codes
        state.scales[a:b, subs], state.mins[a:b, subs] = scales, mins
        state.d[a:b, blocks], state.dmin[a:b, blocks] = d, dmin
        return changes


def damage(weight: FloatArray, tensor: QTensor, hessian: FloatArray, outputs: FloatArray | None = None) -> float:
    """tr(O·E·H·Eᵀ), or tr(E·H·Eᵀ), what `refine` makes smaller."""
    E = weight - tensor.dequantize()
    moved = E @ hessian if outputs is None else outputs @ (E @ hessian)
    return float(np.einsum("ij,ij->", moved, E, dtype=np.float64))


@functools.cache
def _choices(fmt: Format) -> _Choices | None:
    """What there is to choose; None if scales are fixed."""
    if fmt.lattice is not None:
        book = book_of(fmt.name)
        layout = np.array([0, 0, 1, 31, 0, 0, 2, book.group, int(book.even)], np.int64)
        return _Choices(book.entries, book.values, book.tree, layout)
    known = bits_of(fmt)
    if known.factor is None:
        return None
    table = np.array(() if fmt.table is None else fmt.table, np.float32)
    codes = fmt.codes or (0, table.size - 1)
    order = np.argsort(table, kind="stable").astype(np.int16)
    between = ((table[order][1:] + table[order][:-1]) / 2).astype(np.float32)
    layout = np.array([*codes, *_limits(known.scales), *_limits(known.mins), 1, 0, 0], np.int64)
    return _Choices(table, between, order[None], layout)


def _limits(field: Any) -> tuple[int, int]:
    return (0, 0) if field is None else (field.lowest, field.highest)


def _of_sub_blocks(H: FloatArray, width: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Invert each square on the diagonal of H; its inverse is UᵀU, with an upper U.

    Returns
    -------
    float32 arrays (n, width, width), (n, width, width), (n, width)
        The inverses; the rows of U, each divided by its diagonal; 1 / diagonal².
    """
    lapack = of_scipy("lapack")
    inverses, pulls, prices = [], [], []
    for first in range(0, len(H), width):
        square = H[first : first + width, first : first + width].astype(np.float64)
        lower, failed = lapack.dpotrf(square[::-1, ::-1], lower=1, clean=1)
        if failed:
            raise MethodError("H is not positive definite; damp it more")
        U = lapack.dtrtri(lower, lower=1)[0][::-1, ::-1]
        inverses.append(U.T @ U)
        pulls.append(U / np.diagonal(U)[:, None])
        prices.append(np.diagonal(U) ** -2)
    return np.array(inverses, np.float32), np.array(pulls, np.float32), np.array(prices, np.float32)


@kernel
def _level(target, scale, inverse, low, table, between, order, lowest, highest):
    """The nearest code for a weight, and the weight that it stands for."""
    steps = f32(f32(target + low) * inverse)
    if table.size:
        k = 0
        for j in range(between.size):
            k += steps > between[j]
        code = int(order[0, k])
        return code, f32(f32(table[code] * scale) - low)
    level = f32(min(max(np.rint(steps), f32(lowest)), f32(highest)))
    return int(level), f32(f32(level * scale) - low)


@kernel
def _try(target, pull, prices, scale, low, table, between, order, lowest, highest, best, codes, values, room):
    """Round a sub-block with errors passed on; its damage, or infinity as soon as that is above `best`."""
    n = target.size
    for v in range(0, n, simd.LANES):
        simd.store(room, v, simd.load(target, v))
    inverse = f32(1) / scale
    if not np.isfinite(inverse):  # a scale of zero leaves one level: the code there may be any
        inverse = f32(0)
    damage = f32(0)
    for i in range(n):
        codes[i], values[i] = _level(room[i], scale, inverse, low, table, between, order, lowest, highest)
        e = f32(room[i] - values[i])
        damage += f32(f32(e * e) * prices[i])
        if damage >= best:
            return f32(np.inf)
        for v in range(0, n, simd.LANES):
            simd.store(room, v, simd.load(room, v) - e * simd.load(pull, i * n + v))
    return damage


@kernel
def _damage_of(target, values, pull, prices, room):
    """The damage of a sub-block as it stands: the same sum, for values that are given."""
    n = target.size
    for v in range(0, n, simd.LANES):
        simd.store(room, v, simd.load(target, v))
    damage = f32(0)
    for i in range(n):
        e = f32(room[i] - values[i])
        damage += f32(f32(e * e) * prices[i])
        for v in range(0, n, simd.LANES):
            simd.store(room, v, simd.load(room, v) - e * simd.load(pull, i * n + v))
    return damage


@kernel
def _descend(
    w, E, g, H, outputs, inverses, pulls, prices, table, book, tree, layout, unit, codes, scales, mins, d, dmin, changes
):  # fmt: skip
    """One sweep over some rows of a panel; `E`, `g` and what stands for the blocks change in place.

    `g` is E·H, or O·E·H with `outputs`; `changes` becomes what changes in E·H.
    """
    n = w.shape[1]
    width = n // scales.shape[1]
    subs = scales.shape[1] // d.shape[1]
    own, start = np.empty(n, np.float32), np.empty(n, np.float32)
    room = np.empty((4, width), np.float32)
    trial = np.empty((2, width), np.int16)
    walk = scratch(book.size)
    levels = table[:0] if layout[7] > 0 else table  # an entry's levels are its codes
    for r in range(w.shape[0]):
        share = outputs[r, r] if outputs.size else f32(1)
        for j in range(n):
            own[j] = start[j] = g[r, j] / share
        for k in range(scales.shape[1]):
            a = k * width
            better = _sub_block(
                w[r, a : a + width], E[r, a : a + width], own[a : a + width], inverses[k], pulls[k], prices[k], table,
                book, tree, layout, d[r, k // subs], dmin[r, k // subs], scales[r, k : k + 1], mins[r, k : k + 1],
                codes[r, a : a + width], room, trial, walk,
            )  # fmt: skip
            if better:
                for i in range(width):
                    moved = room[0, i]
                    if moved != f32(0):
                        _add(own, f32(-moved), H[a + i])
            if k % subs == subs - 1:
                _refit(w, E, H, own, levels, unit, width, subs, codes, scales, mins, d, dmin, r, k // subs)
        for j in range(n):
            changes[r, j] = own[j] - start[j]
        if outputs.size:
            for s in range(r + 1, w.shape[0]):
                _add(g[s], outputs[s, r], changes[r])


@kernel
def _add(x, factor, y):
    """``x += factor · y``."""
    for v in range(0, x.size, simd.LANES):
        simd.store(x, v, simd.load(x, v) + factor * simd.load(y, v))


@kernel
def _sub_block(
    w, E, g, inverse, pull, prices, table, book, tree, layout, d, dmin, scale_step, min_step, codes, room, trial, walk
):  # fmt: skip
    """The best scale and minimum next to a sub-block's own, and codes for them; by how much weights moved, in room[0].

    Returns whether anything is better than before.
    """
    n = w.size
    group, even = layout[7], layout[8] > 0
    target, values, new_values, now = room[0], room[1], room[2], room[3]
    for i in range(n):
        target[i] = values[i] = f32(w[i] - E[i])
    for j in range(n):
        _add(target, g[j], inverse[j])
    best = f32(_damage_of(target, values, pull, prices, now) * f32(0.999999))
    better = False
    own_scale, own_min = scale_step[0], min_step[0]
    for step_s in range(-1, 2):
        new_scale = own_scale + layout[6] * step_s
        if step_s != 0 and (layout[3] <= layout[2] or new_scale < layout[2] or new_scale > layout[3]):
            continue
        for step_m in range(-1, 2):
            new_min = own_min + step_m
            if step_m != 0 and (layout[5] <= layout[4] or new_min < layout[4] or new_min > layout[5]):
                continue
            scale, low = f32(d * f32(new_scale)), f32(dmin * f32(new_min))
            if group > 0:
                loss = try_entries(
                    target, pull, prices, scale, table, book, tree, group, even, best, trial[0], new_values, now, walk
                )
            else:
                loss = _try(
                    target, pull, prices, scale, low, table, book, tree, layout[0], layout[1], best, trial[0],
                    new_values, now,
                )  # fmt: skip
            if loss < best:
                best, better = loss, True
                scale_step[0], min_step[0] = new_scale, new_min
                for i in range(n):
                    codes[i] = trial[0, i]
                    E[i] = f32(w[i] - new_values[i])
    if better:
        for i in range(n):
            target[i] = f32(f32(w[i] - E[i]) - values[i])
    return better


@kernel
def _refit(w, E, H, g, table, unit, width, subs, codes, scales, mins, d, dmin, r, block):
    """The factors of one super-block by least squares, if that makes the damage smaller."""
    size = width * subs
    a = block * size
    along, down = np.empty(size, np.float32), np.empty(size, np.float32)
    for i in range(size):
        k = block * subs + i // width
        code = codes[r, a + i]
        level = table[code] if table.size else f32(code)
        along[i], down[i] = f32(level * f32(scales[r, k])), f32(-mins[r, k])
    pulled, pulled_down = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for j in range(size):
        _add(pulled, along[j], H[a + j, a : a + size])
        if down[j] != f32(0):
            _add(pulled_down, down[j], H[a + j, a : a + size])
    aa, bb, ab, ga, gb = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(size):
        aa += pulled[i] * along[i]
        bb += pulled_down[i] * down[i]
        ab += pulled[i] * down[i]
        ga += g[a + i] * along[i]
        gb += g[a + i] * down[i]
    if not aa > 0:
        return
    step, step_min = ga / aa, 0.0
    det = aa * bb - ab * ab
    if det > 1e-6 * aa * bb:
        step, step_min = (bb * ga - ab * gb) / det, (aa * gb - ab * ga) / det
    new_d, new_min = (
        f32(half_float(half_bits(f32(f32(d[r, block] + step) / unit))) * unit),
        half_float(half_bits(f32(dmin[r, block] + step_min))),
    )
    if not (np.isfinite(new_d) and np.isfinite(new_min)):
        return
    step, step_min = new_d - d[r, block], new_min - dmin[r, block]
    change = step * step * aa + 2 * step * step_min * ab + step_min * step_min * bb - 2 * (step * ga + step_min * gb)
    if not change < 0:
        return
    d[r, block], dmin[r, block] = new_d, new_min
    for i in range(size):
        k = block * subs + i // width
        code = codes[r, a + i]
        level = table[code] if table.size else f32(code)
        value = f32(f32(level * f32(new_d * f32(scales[r, k]))) - f32(new_min * f32(mins[r, k])))
        moved = f32(value - f32(w[r, a + i] - E[r, a + i]))
        E[r, a + i] = f32(w[r, a + i] - value)
        if moved != f32(0):
            _add(g, f32(-moved), H[a + i])
