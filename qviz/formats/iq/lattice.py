"""Where a codebook's entries lie among all points, and which of them are near a point that is none.

Rounding eight (or four) weights by themselves gives a **point**: a level for each. Few points are entries of the
codebook; of the others the encoder needs a *neighbour*, the entry that does least damage. All 2048 entries of IQ1 are
too many to try for each group, so each point has a short list of those near it: all entries at its two (or one, or
three) smallest distances, counted in levels.

A point is written in two ways: by its **number**, with as many values a digit as there are levels, for looking it up;
and **packed**, with two bits (or three) a digit, from which the vectors take digits.

Examples
--------
>>> places = lattice("IQ2_XXS")
>>> int((places.first < 0).sum()), places.first.size  # of 3⁸ points, 256 are entries
(256, 6561)
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._machine.kernels import kernel
from qviz.formats.iq.codebooks import IQ1_GRID, IQ2_S_GRID, IQ2_XS_GRID, IQ2_XXS_GRID, IQ3_S_GRID, IQ3_XXS_GRID

# Lists are padded to whole vectors.
_TOGETHER = 16

# Name -> the entries, and at how many distances a point's neighbours lie.
_BOOKS = {
    "IQ1": (IQ1_GRID, 3),
    "IQ2_XXS": (IQ2_XXS_GRID, 2),
    "IQ2_XS": (IQ2_XS_GRID, 2),
    "IQ2_S": (IQ2_S_GRID, 1),
    "IQ3_XXS": (IQ3_XXS_GRID, 2),
    "IQ3_S": (IQ3_S_GRID, 3),
}


@dataclass(frozen=True, eq=False)
class Lattice:
    """The points around a codebook.

    Attributes
    ----------
    first, count : int32 arrays (n_points,)
        By number: where a point's neighbours begin in `near`, and how many there are; -1 and 0 for an entry.
    packed : uint16 array (n_points,)
        Each point's packed form.
    near : uint16 array
        Packed neighbours, the nearest first, of equal ones the first in the codebook first. Each list is filled up
        to a whole number of sixteens with its own first neighbour.
    entry : uint16 array
        By packed form: the number of an entry in the codebook.
    """

    first: npt.NDArray[np.int32]
    count: npt.NDArray[np.int32]
    packed: npt.NDArray[np.uint16]
    near: npt.NDArray[np.uint16]
    entry: npt.NDArray[np.uint16]


def lattice_grid(name: str) -> npt.NDArray[np.int8]:
    """The entries of a lattice's codebook, one a row."""
    return _BOOKS[name][0]


@functools.cache
def lattice(name: str) -> Lattice:
    """The lattice of ``"IQ1"``, ``"IQ2_XXS"``, ``"IQ2_XS"``, ``"IQ2_S"``, ``"IQ3_XXS"`` or ``"IQ3_S"``.

    Worked out on first use, in about a tenth of a second.
    """
    grid, distances = _BOOKS[name]
    values = np.unique(grid)  # the levels, which stand evenly
    levels, dimensions, bits = values.size, grid.shape[1], 2 if grid.shape[1] == 8 else 3
    entries = np.searchsorted(values, grid)
    digits = np.arange(levels**dimensions)[:, None] // levels ** np.arange(dimensions) % levels
    packed = (digits << bits * np.arange(dimensions)).sum(1).astype(np.uint16)
    entry = np.zeros(1 << bits * dimensions, np.uint16)
    entry_packed = (entries << bits * np.arange(dimensions)).sum(1).astype(np.uint16)
    entry[entry_packed] = np.arange(len(grid))
    # distances of half a point to half an entry: a point's distance is the sum of two of them
    half = digits[: levels ** (dimensions // 2), : dimensions // 2]
    squares = np.square(half[:, None] - half[None]).sum(2).astype(np.int32)
    places = levels ** np.arange(dimensions // 2)
    low, high = (entries[:, part] @ places for part in (slice(dimensions // 2), slice(dimensions // 2, None)))
    first = np.zeros(len(digits), np.int32)
    first[entries @ levels ** np.arange(dimensions)] = -1
    count = np.zeros(len(digits), np.int32)
    arguments = (squares, low.astype(np.int32), high.astype(np.int32), entry_packed, distances, first, count)
    near = np.empty(_neighbours(*arguments, np.empty(0, np.uint16)), np.uint16)
    _neighbours(*arguments, near)
    return Lattice(first, count, packed, near, entry)


@kernel
def _neighbours(squares, low, high, entries, distances, first, count, near):
    """Fill `first`, `count` and, unless it is empty, `near`. Returns how large `near` has to be."""
    half, size = squares.shape[0], 0
    for point in range(first.size):
        if first[point] < 0:
            continue
        total = squares[point % half][low] + squares[point // half][high]
        at_each = np.bincount(total)
        distinct, last = 0, 0
        while distinct < distances:
            distinct += at_each[last] > 0
            last += 1
        n = at_each[:last].sum()
        first[point], padded = size, -(-n // _TOGETHER) * _TOGETHER
        count[point] = padded
        if near.size > 0:
            at = size
            for d in range(last):
                here = entries[total == d]
                for i in range(here.size):
                    near[at + i] = here[i]
                at += here.size
            near[at : size + padded] = near[size]
        size += padded
    return size
