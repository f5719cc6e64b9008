"""A model on its way from a folder to a file: which name becomes which, and which row comes where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz._arrays import whole_array
from qviz._types import IntArray
from qviz.errors import WidgetError, shortened


@dataclass(frozen=True)
class NameMap:
    """Names of tensors, in the folder at the left and in the file at the right, joined by lines.

    Attributes
    ----------
    sources, targets : tuple of str
        In the order in which they stand in the folder, and in the file.
    places : tuple of int
        Where each source stands among `targets`.
    moved : tuple of int
        1 for a target whose rows change places on the way, else 0.
    current : int
        The target on show.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    places: tuple[int, ...]
    moved: tuple[int, ...]
    current: int


@dataclass(frozen=True)
class RowMap:
    """Rows of a matrix, in the folder at the left and in the file at the right, joined by lines.

    Attributes
    ----------
    order : int32 array (n,)
        Which row of the folder is row i of the file.
    half : int
        Rows i and i + half of the folder are partners: the model turns them together. 0 where nothing is turned.
    pair : int
        The partners on show are rows 2 · pair and 2 · pair + 1 of the file.
    right : int
        1 where the two rows that a program turns together are partners.
    """

    order: IntArray
    half: int
    pair: int
    right: int


def name_map(sources: Sequence[str], targets: Mapping[str, str], moved: Sequence[str], current: str) -> NameMap:
    """Which name becomes which.

    Parameters
    ----------
    sources : sequence of str
        Names in the folder, in its order.
    targets : mapping of str to str
        Name in the file -> name in the folder, in the order of the file.
    moved : sequence of str
        Names in the file of the tensors whose rows change places.
    current : str
        Name in the file of the tensor on show.

    Raises
    ------
    WidgetError
        A name that stands on one side only, or nowhere.

    Examples
    --------
    >>> drawn = name_map(["norm", "q"], {"attn_q": "q", "attn_norm": "norm"}, ["attn_q"], "attn_norm")
    >>> drawn.places, drawn.moved, drawn.current
    ((1, 0), (1, 0), 1)
    """
    names = list(targets)
    if sorted(sources) != sorted(targets.values()) or current not in targets:
        raise WidgetError(
            f"{len(sources)} names on one side, {len(names)} on the other, and {shortened(current)} on show"
        )
    at = {source: i for i, source in enumerate(targets.values())}
    return NameMap(
        tuple(sources),
        tuple(names),
        tuple(at[source] for source in sources),
        tuple(int(name in moved) for name in names),
        names.index(current),
    )


def row_map(order: npt.ArrayLike, half: int = 0, pair: int = 0) -> RowMap:
    """Which row comes where.

    Parameters
    ----------
    order : int array_like (n,)
        Which row of the folder is row i of the file.
    half : int
        Rows i and i + half of the folder are partners; 0 where there are none.
    pair : int
        The partners on show: rows 2 · pair and 2 · pair + 1 of the file, which a program turns together.

    Raises
    ------
    WidgetError
        No order of rows, or no such pair.

    Examples
    --------
    >>> row_map([0, 2, 1, 3], half=2, pair=1).right, row_map([0, 1, 2, 3], half=2, pair=1).right
    (1, 0)
    """
    n = np.size(order)
    rows = whole_array(order, "order", WidgetError, shape=(n,), least=0, most=max(n - 1, 0), dtype=np.int32)
    if not np.array_equal(np.sort(rows), np.arange(rows.size)):
        raise WidgetError(f"an order of rows has each number once, got {shortened(order)}")
    if half and not (0 <= pair < rows.size // 2 and 0 < half <= rows.size // 2):
        raise WidgetError(f"no pair {pair} with partners {half} rows apart in {rows.size} rows")
    right = bool(half) and int(rows[2 * pair + 1]) - int(rows[2 * pair]) == half
    return RowMap(rows, half, pair, int(right))
