"""Codes of IQ2 and IQ3, chosen by what they do to the outputs: entries of a codebook, with errors passed on.

In these formats eight weights (or four) share one entry of a codebook, so they are rounded together. Every entry is
tried for a group. Its signs are those of the weights when their turn comes. Errors move the weights to come, inside the
group and after it, as GPTQ does for single weights.

Some formats store seven signs for eight weights, and the number of negative ones has to be even. Where it is odd, the
sign changes that costs least, and its group looks once more for the entry that goes with these signs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._machine.kernels import f32, i16, kernel
from qviz._types import FloatArray
from qviz.formats import get


@dataclass(frozen=True, eq=False)
class Book:
    """A codebook as the search for an entry walks it.

    Attributes
    ----------
    entries : float32 array (n_entries · group,)
        The levels of one entry after the other.
    values : float32 array (n_values,)
        The levels that occur, the smallest first.
    tree : int16 array (n_nodes, n_values)
        A node for each beginning of an entry, and behind each value the node with which entries go on; −1 where none
        does. Behind the last level stands the number of the entry. Node 0 is where all begin.
    group : int
        Levels of an entry.
    even : bool
        Whether an even number of eight signs must be negative.
    """

    entries: FloatArray
    values: FloatArray
    tree: npt.NDArray[np.int16]
    group: int
    even: bool


@functools.cache
def book_of(name: str) -> Book:
    """The codebook of a format.

    Examples
    --------
    >>> book = book_of("IQ3_S")
    >>> book.values.tolist(), book.group, book.even, len(book.entries)
    ([1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0], 4, False, 2048)
    """
    layout = get(name).lattice
    grid = layout.grid
    values = np.unique(grid)
    nodes = [np.full(values.size, -1)]
    for entry, digits in enumerate(np.searchsorted(values, grid)):
        node = 0
        for digit in digits[:-1]:
            if nodes[node][digit] < 0:
                nodes[node][digit] = len(nodes)
                nodes.append(np.full(values.size, -1))
            node = int(nodes[node][digit])
        nodes[node][digits[-1]] = entry
    flat = grid.astype(np.float32).reshape(-1)
    return Book(flat, values.astype(np.float32), np.array(nodes, np.int16), layout.group, layout.even)


@kernel
def scratch(n_values):
    """Room for the search: weights, signs and prices of eight; what `entry_for` calls `room`."""
    return np.empty((11, 9 + n_values), np.float32)


@kernel
def entry_for(x, pull, prices, first, scale, values, tree, group, signs, room, stack):
    """Choose the entry that does least damage to the weights `x` (group,), which stand at `first` of `pull`.

    An error e of weight i costs ``prices[i] · e²`` and moves weight j by ``−e · pull[i, j]``. The search goes down the
    tree level by level, the cheapest one first, and turns back where a beginning costs as much as the best whole entry
    so far. So what it finds is the best of all (a sphere decoder). `signs` (group,) are 1, −1, or 0 where the sign is
    that of the weight when its turn comes. `room` (8, 9 + n_values) holds, for each depth, the weights, what levels
    cost, and what the beginning has cost; `stack` (8,) holds the nodes.
    """
    best, nearest, depth = 0, f32(np.inf), 0
    n = values.size
    stack[0], room[0, 8 + n] = 0, f32(0)
    for i in range(group):
        room[0, i] = x[i]
    begun = True
    while depth >= 0:
        weights, costs = room[depth, :8], room[depth, 8:]
        sign = signs[depth]
        if sign == f32(0):
            sign = f32(1) if weights[depth] >= f32(0) else f32(-1)
        size, price = f32(sign * weights[depth]), prices[first + depth]
        if begun:
            for k in range(n):
                e = f32(size - f32(values[k] * scale))
                costs[k] = f32(f32(e * e) * price) if tree[stack[depth], k] >= 0 else f32(np.inf)
        here = 0
        for k in range(1, n):
            if costs[k] < costs[here]:
                here = k
        loss = f32(room[depth, 8 + n] + costs[here])
        if not loss < nearest:
            depth, begun = depth - 1, False
            continue
        costs[here] = f32(np.inf)
        node = tree[stack[depth], here]
        if depth == group - 1:
            best, nearest = node, loss
            depth, begun = depth - 1, False
            continue
        e = f32(sign * f32(size - f32(values[here] * scale)))
        for j in range(depth + 1, group):
            room[depth + 1, j] = weights[j] - f32(e * pull[first + depth, first + j])
        stack[depth + 1], room[depth + 1, 8 + n] = node, loss
        depth, begun = depth + 1, True
    return best


@kernel
def eight_levels(x, at, pull, prices, scale, grid, values, tree, group, even, levels, walk):
    """Choose levels (magnitudes with signs) for eight weights ``x[at : at + 8]``, which stand at the same place of U.

    `x` stays as it is.
    """
    now, flips, signs, room = walk[0], walk[1], walk[2], walk[3:]
    stack = np.empty(8, np.int32)
    for i in range(8):
        now[i], signs[i] = x[at + i], f32(0)
    odd, cheapest = False, 0
    for first in range(0, 8, group):
        entry = entry_for(now[first:], pull, prices, at + first, scale, values, tree, group, signs[first:], room, stack)
        for i in range(first, first + group):
            value = f32(grid[entry * group + i - first] * scale)
            negative = now[i] < f32(0)
            # a fourth of what the other sign would cost: (|x| + value)² − (|x| − value)²
            flips[i] = f32(f32(abs(now[i]) * value) * prices[at + i])
            levels[at + i] = i16(-grid[entry * group + i - first] if negative else grid[entry * group + i - first])
            odd ^= negative
            if flips[i] < flips[cheapest]:
                cheapest = i
            e = f32(now[i] - (-value if negative else value))
            for j in range(i + 1, 8):
                now[j] -= f32(e * pull[at + i, at + j])
    if not (even and odd):
        return
    # another sign for the cheapest, and the entry that suits it; the other signs stay
    first = cheapest // group * group
    for i in range(8):
        now[i] = x[at + i]
        signs[i] = f32(-1) if levels[at + i] < 0 else f32(1)
    signs[cheapest] = -signs[cheapest]
    for i in range(first):
        e = f32(now[i] - f32(f32(levels[at + i]) * scale))
        for j in range(i + 1, 8):
            now[j] -= f32(e * pull[at + i, at + j])
    entry = entry_for(now[first:], pull, prices, at + first, scale, values, tree, group, signs[first:], room, stack)
    for i in range(first, first + group):
        levels[at + i] = i16(f32(grid[entry * group + i - first]) * signs[i])


@kernel
def try_entries(target, pull, prices, scale, grid, values, tree, group, even, best, levels, rounded, room, walk):
    """Round a sub-block with errors passed on; its damage, or infinity as soon as that is above `best`."""
    n = target.size
    for i in range(n):
        room[i] = target[i]
    damage = f32(0)
    for first in range(0, n, 8):
        eight_levels(room, first, pull, prices, scale, grid, values, tree, group, even, levels, walk)
        for i in range(first, first + 8):
            rounded[i] = f32(f32(levels[i]) * scale)
            e = f32(room[i] - rounded[i])
            damage += f32(f32(e * e) * prices[i])
            if damage >= best:
                return f32(np.inf)
            for j in range(i + 1, n):
                room[j] -= f32(e * pull[i, j])
    return damage


@kernel
def lattice_columns(w, pull, prices, scales, grid, values, tree, group, even, errors, levels):
    """Round the columns of one block of each row onto the scales given; errors move the columns to come."""
    n = w.shape[1]
    width = n // scales.shape[1]
    walk = scratch(values.size)
    for r in range(w.shape[0]):
        row = w[r]
        for first in range(0, n, 8):
            scale = scales[r, first // width]
            eight_levels(row, first, pull, prices, scale, grid, values, tree, group, even, levels[r], walk)
            for i in range(first, first + 8):
                e = f32(row[i] - f32(f32(levels[r, i]) * scale))
                errors[r, i] = e
                for j in range(i + 1, n):
                    row[j] -= f32(e * pull[i, j])
