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

from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine.blas import of_scipy, on_one_thread
from qviz._machine.kernels import f32, half_bits, half_float, kernel
from qviz._machine.team import in_parallel
from qviz._types import FloatArray
from qviz.errors import MethodError
from qviz.formats.base import QTensor
from qviz.methods.block_bits import BlockBits, bits_of
from qviz.methods.lattice import LatticeState, book_of, try_entries


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
    outputs : float32 array (n_out, n_out), optional
        How errors of outputs add up; positive definite. Rows count each for itself unless given.

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
    if outputs is not None and outputs.shape != (n_out, n_out):
        raise MethodError(f"a matrix of {n_out} outputs is {(n_out, n_out)}, got {outputs.shape}")
    begun = _begun(tensor)
    if begun is None:
        return tensor
    state, (levels, values, tree), layout = begun
    w, H = np.ascontiguousarray(weight), np.ascontiguousarray(hessian)
    width = n_in // state.scales.shape[1]
    inverse, factors = _of_sub_blocks(H, width)
    E = w - tensor.dequantize()
    both = np.ascontiguousarray(np.empty((0, 0), np.float32) if outputs is None else outputs)

    def work(first: int, last: int) -> None:
        _descend(
            w, E, H, inverse, factors, both, levels, values, tree, layout, np.float32(state.unit), width,
            tensor.format.block_size // width, state.codes, state.scales, state.mins, state.d, state.dmin, first, last,
        )  # fmt: skip

    for _ in range(sweeps):
        if outputs is None:
            in_parallel(n_out, work, least=8)
        else:
            work(0, n_out)
    return state.tensor()


def damage(weight: FloatArray, tensor: QTensor, hessian: FloatArray, outputs: FloatArray | None = None) -> float:
    """tr(O·E·H·Eᵀ), or tr(E·H·Eᵀ), what `refine` makes smaller."""
    E = weight - tensor.dequantize()
    moved = E @ hessian if outputs is None else outputs @ (E @ hessian)
    return float(np.einsum("ij,ij->", moved, E, dtype=np.float64))


def _begun(tensor: QTensor) -> tuple[_State | LatticeState, tuple[Any, ...], npt.NDArray[np.int64]] | None:
    """A tensor's numbers, the levels that codes stand for, and what there is to choose; None if scales are fixed.

    With the levels come those that occur in a codebook, and its tree. The last array holds the smallest and the largest
    code, scale and minimum; the step from one scale to the next; and, for a codebook, the weights of an entry and
    whether an even number of signs is negative (else 0).
    """
    fmt = tensor.format
    if fmt.lattice is not None:
        book = book_of(fmt.name)
        layout = [0, 0, 1, 31, 0, 0, 2, book.group, int(book.even)]
        return LatticeState(tensor), (book.entries, book.values, book.tree), np.array(layout, np.int64)
    known = bits_of(fmt)
    if known.factor is None:
        return None
    table = np.array(() if fmt.table is None else fmt.table, np.float32)
    codes = fmt.codes or (0, table.size - 1)
    layout = [*codes, *_limits(known.scales), *_limits(known.mins), 1, 0, 0]
    none = np.empty(0, np.float32), np.empty((0, 0), np.int16)
    return _State(known, tensor), (table, *none), np.array(layout, np.int64)


class _State:
    """The numbers of all blocks, outside of their bits."""

    unit = 1.0

    def __init__(self, known: BlockBits, tensor: QTensor) -> None:
        n_out, n_in = tensor.shape
        self._known, self._given = known, tensor
        per_row = n_in // tensor.format.block_size
        parts = tensor.unpack()
        subs = parts.scales.shape[1]
        self.codes = parts.codes.astype(np.int16).reshape(n_out, n_in)
        self.d = np.ones((n_out, per_row), np.float32)
        self.dmin = np.zeros((n_out, per_row), np.float32)
        self.scales = np.ones((n_out, subs), np.int32)
        self.mins = np.zeros((n_out, subs), np.int32)
        self.d[:] = tensor.blocks[known.factor]
        if known.scales is not None:
            self.scales[:] = _numbers(known, "scales", tensor)
        if known.min_factor is not None:
            self.dmin[:] = tensor.blocks[known.min_factor]
            self.mins[:] = known.min_sign if known.mins is None else _numbers(known, "mins", tensor)

    def tensor(self) -> QTensor:
        known, given = self._known, self._given
        flat = given.blocks.reshape(-1)
        values: dict[str, npt.NDArray[Any]] = {"codes": self.codes.reshape(len(flat), -1), "factor": self.d.reshape(-1)}
        if known.scales is not None:
            values["scales"] = self.scales.reshape(len(flat), -1)
        if known.min_factor is not None:
            values["min_factor"] = self.dmin.reshape(-1)
        if known.mins is not None:
            values["mins"] = self.mins.reshape(len(flat), -1)
        return QTensor(given.format, known.put(flat, values).reshape(given.blocks.shape), given.shape)


def _limits(field: Any) -> tuple[int, int]:
    return (0, 0) if field is None else (field.lowest, field.highest)


def _numbers(known: BlockBits, name: str, tensor: QTensor) -> npt.NDArray[np.int32]:
    """The sub-scales or sub-minimums, with the factors set to 1."""
    blocks = np.array(tensor.blocks)
    for factor in (known.factor, known.min_factor):
        if factor is not None:
            blocks[factor] = 1
    numbers: npt.NDArray[np.int32] = np.rint(
        getattr(QTensor(tensor.format, blocks, tensor.shape).unpack(), name)
    ).astype(np.int32)
    return numbers


def _of_sub_blocks(H: FloatArray, width: int) -> tuple[FloatArray, FloatArray]:
    """Invert each square on the diagonal of H: its inverse, and the upper U with inverse = UᵀU; (n, width, width)."""
    lapack = of_scipy("lapack")
    inverses, factors = [], []
    for first in range(0, len(H), width):
        square = H[first : first + width, first : first + width].astype(np.float64)
        lower, failed = lapack.dpotrf(square[::-1, ::-1], lower=1, clean=1)
        if failed:
            raise MethodError("H is not positive definite; damp it more")
        U = lapack.dtrtri(lower, lower=1)[0][::-1, ::-1]
        factors.append(U)
        inverses.append(U.T @ U)
    return np.array(inverses, np.float32), np.array(factors, np.float32)


@kernel
def _level(target, scale, low, table, lowest, highest):
    """The nearest code for a weight, and the weight that it stands for."""
    if table.size:
        code, nearest, value = 0, f32(np.inf), f32(0)
        for k in range(table.size):
            here = f32(f32(table[k] * scale) - low)
            off = abs(f32(here - target))
            if off < nearest:
                code, nearest, value = k, off, here
        return code, value
    steps = f32(f32(target + low) / scale) if scale != f32(0) else f32(0)
    level = f32(min(max(np.rint(steps), f32(lowest)), f32(highest)))
    return int(level), f32(f32(level * scale) - low)


@kernel
def _try(target, U, scale, low, table, lowest, highest, best, codes, values, room):
    """Round a sub-block with errors passed on; its damage, or infinity as soon as that is above `best`."""
    n = target.size
    room[:n] = target
    damage = f32(0)
    for i in range(n):
        code, value = _level(room[i], scale, low, table, lowest, highest)
        codes[i], values[i] = code, value
        e = f32(f32(room[i] - value) / U[i, i])
        damage += f32(e * e)
        if damage >= best:
            return f32(np.inf)
        for j in range(i + 1, n):
            room[j] -= f32(e * U[i, j])
    return damage


@kernel
def _damage_of(target, values, U, room):
    """The damage of a sub-block as it stands: the same sum, for values that are given."""
    n = target.size
    room[:n] = target
    damage = f32(0)
    for i in range(n):
        e = f32(f32(room[i] - values[i]) / U[i, i])
        damage += f32(e * e)
        for j in range(i + 1, n):
            room[j] -= f32(e * U[i, j])
    return damage


@kernel
def _descend(
    w, E, H, inverses, factors, outputs, table, book, tree, layout, unit, width, subs,
    codes, scales, mins, d, dmin, first, last,
):  # fmt: skip
    """One sweep over rows `first` to `last`; `E`, and what stands for the blocks, change in place."""
    n = w.shape[1]
    lowest, highest, stride, group, even = layout[0], layout[1], layout[6], layout[7], layout[8] > 0
    steps_of_scale = layout[3] > layout[2]
    steps_of_min = layout[5] > layout[4]
    g, wanted = np.empty(n, np.float32), np.empty(n, np.float32)
    target, values, room = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    trial, kept = np.empty(width, np.int16), np.empty(width, np.int16)
    new_values, kept_values = np.empty(width, np.float32), np.empty(width, np.float32)
    for r in range(first, last):
        # what is wanted of this row: itself, and what the others' errors leave it to do
        for j in range(n):
            wanted[j] = E[r, j]
        if outputs.size:
            for s in range(w.shape[0]):
                share = f32(outputs[r, s] / outputs[r, r])
                if s != r and share != f32(0):
                    for j in range(n):
                        wanted[j] += f32(share * E[s, j])
        g[:] = f32(0)
        for i in range(n):
            x = wanted[i]
            for j in range(n):
                g[j] += f32(x * H[i, j])
        for k in range(n // width):
            a, block = k * width, k // subs
            U, inverse = factors[k], inverses[k]
            scale, low = f32(d[r, block] * f32(scales[r, k])), f32(dmin[r, block] * f32(mins[r, k]))
            for i in range(width):
                values[i] = f32(w[r, a + i] - E[r, a + i])
                total = f32(0)
                for j in range(width):
                    total += f32(inverse[i, j] * g[a + j])
                target[i] = f32(values[i] + total)
            best = _damage_of(target, values, U, room)
            best = f32(best * f32(0.999999))
            better = False
            sc, mi = scales[r, k], mins[r, k]
            best_sc, best_mi = sc, mi
            for step_s in range(-1, 2):
                new_sc = sc + stride * step_s
                if step_s != 0 and (not steps_of_scale or new_sc < layout[2] or new_sc > layout[3]):
                    continue
                for step_m in range(-1, 2):
                    new_mi = mi + step_m
                    if step_m != 0 and (not steps_of_min or new_mi < layout[4] or new_mi > layout[5]):
                        continue
                    scale, low = f32(d[r, block] * f32(new_sc)), f32(dmin[r, block] * f32(new_mi))
                    if group > 0:
                        loss = try_entries(
                            target, U, scale, table, book, tree, group, even, best, trial, new_values, room
                        )
                    else:
                        loss = _try(target, U, scale, low, table, lowest, highest, best, trial, new_values, room)
                    if loss < best:
                        best, better, best_sc, best_mi = loss, True, new_sc, new_mi
                        kept[:] = trial
                        kept_values[:] = new_values
            if better:
                scales[r, k], mins[r, k] = best_sc, best_mi
                for i in range(width):
                    codes[r, a + i] = kept[i]
                    moved = f32(kept_values[i] - values[i])
                    E[r, a + i] = f32(w[r, a + i] - kept_values[i])
                    if moved != f32(0):
                        for j in range(n):
                            g[j] -= f32(moved * H[a + i, j])
            if k % subs == subs - 1:
                levels = table[:0] if group > 0 else table  # an entry's levels are its codes
                _refit(w, E, H, g, levels, unit, width, subs, codes, scales, mins, d, dmin, r, block)


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
    aa, bb, ab, ga, gb = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(size):
        x, y = 0.0, 0.0
        for j in range(size):
            x += H[a + i, a + j] * along[j]
            y += H[a + i, a + j] * down[j]
        aa += x * along[i]
        bb += y * down[i]
        ab += x * down[i]
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
            for j in range(g.size):
                g[j] -= f32(moved * H[a + i, j])
