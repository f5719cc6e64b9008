"""A recipe over a whole model: which tensor gets which format, and where the bytes go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qviz.errors import WidgetError
from qviz.formats.base import Format

OUTSIDE = -1
"""Layer of a tensor that belongs to none."""

# Bits per weight at the two ends of the colour scale; the float formats are grey (code 0 of the scale).
_FEWEST, _MOST = 1.5, 9.0

_PARTS = {
    "scales": ("d", "e", "scales", "scales_h", "scales_l"),
    "mins": ("m", "dmin"),
    "codes": ("qs", "ql", "qh", "hmask", "signs"),
}
PARTS = ("codes", "scales", "mins", "floats")
"""What the bytes of a model hold; floats are the tensors without blocks."""


@dataclass(frozen=True)
class Cell:
    """One tensor of a plan.

    Attributes
    ----------
    name : str
    shape : tuple of int
    format : Format
    nbytes : int
    reason : str
        Why it has this format.
    layer : int
        `OUTSIDE` or the number of its layer.
    kind : str
        What it is within its layer, or its name.
    fallback : bool
        True if its rows do not suit the format that the rules wanted.
    """

    name: str
    shape: tuple[int, ...]
    format: Format
    nbytes: int
    reason: str
    layer: int
    kind: str
    fallback: bool


@dataclass(frozen=True, eq=False)
class RecipeMap:
    """The tensors of a model as a grid: layers from left to right, kinds from top to bottom; above, the rest.

    Attributes
    ----------
    kinds : tuple of str
        Names of the rows.
    outside : tuple of int
        The tensors that belong to no layer.
    layers : int
    formats : tuple of str
        Those in use, most bits first.
    shades : uint8 array (len(formats),)
        Colour of each, as a code of the scale for errors: more bits are brighter, floats are 0.
    cells : int32 array (kinds, layers)
        Which tensor of `names` stands where; -1 for none.
    names, shapes, reasons : tuple of str
    format_of, reason_of : int32 arrays (tensors,)
        Indices into `formats` and `reasons`.
    nbytes : float64 array (tensors,)
        Bytes; a float, so that 4 GiB fit.
    fallback, differs : uint8 arrays (tensors,)
        1 where another format had to take the place, and where the other recipe chooses differently.
    first : int
        The tensor to speak of first.
    depth : float64 array (tensors,)
        Colour of each tensor, as a code of the scale.
    """

    kinds: tuple[str, ...]
    outside: tuple[int, ...]
    layers: int
    formats: tuple[str, ...]
    shades: npt.NDArray[np.uint8]
    cells: npt.NDArray[np.int32]
    names: tuple[str, ...]
    shapes: tuple[str, ...]
    reasons: tuple[str, ...]
    format_of: npt.NDArray[np.int32]
    reason_of: npt.NDArray[np.int32]
    nbytes: npt.NDArray[np.float64]
    fallback: npt.NDArray[np.uint8]
    differs: npt.NDArray[np.uint8]
    first: int
    depth: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ByteBars:
    """Where the bytes of several plans go.

    Attributes
    ----------
    names, parts : tuple of str
    nbytes : float64 array (names, parts)
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    nbytes: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FormatChanges:
    """Which formats change from one plan to another, most tensors first.

    Attributes
    ----------
    before, after : tuple of str
        Formats.
    shades : uint8 array (n, 2)
        Colour of both, as codes of the scale for errors, see `shade`.
    tensors : int32 array (n,)
        How many change so.
    kinds, whys : tuple of str
        Which ones, and why.
    rest : int
        Tensors that change in other ways, which are not listed.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    shades: npt.NDArray[np.uint8]
    tensors: npt.NDArray[np.int32]
    kinds: tuple[str, ...]
    whys: tuple[str, ...]
    rest: int


def recipe_map(cells: Sequence[Cell], other: Sequence[Cell]) -> RecipeMap:
    """Lay a plan out, beside another one of the same model.

    Parameters
    ----------
    cells, other : sequences of Cell
        The same tensors in the same order.

    Returns
    -------
    RecipeMap

    Raises
    ------
    WidgetError
        No tensors, or not the same ones.
    """
    if not cells or [cell.name for cell in cells] != [cell.name for cell in other]:
        raise WidgetError(f"two plans of one model are needed, got {len(cells)} and {len(other)} tensors")
    kinds = tuple(dict.fromkeys(cell.kind for cell in cells if cell.layer != OUTSIDE))
    layers = max(cell.layer for cell in cells) + 1
    grid = np.full((len(kinds), layers), -1, np.int32)
    for i, cell in enumerate(cells):
        if cell.layer != OUTSIDE:
            grid[kinds.index(cell.kind), cell.layer] = i
    by_name = {cell.format.name: cell.format for cell in cells}
    formats = sorted(by_name.values(), key=lambda fmt: (-fmt.bpw, fmt.name))
    names = [fmt.name for fmt in formats]
    reasons = tuple(dict.fromkeys(cell.reason for cell in cells))
    differs = np.array([a.format != b.format for a, b in zip(cells, other, strict=True)], np.uint8)
    return RecipeMap(
        kinds,
        tuple(i for i, cell in enumerate(cells) if cell.layer == OUTSIDE),
        layers,
        tuple(names),
        np.array([shade(fmt) for fmt in formats], np.uint8),
        grid,
        tuple(cell.name for cell in cells),
        tuple(" × ".join(map(str, cell.shape)) for cell in cells),
        reasons,
        np.array([names.index(cell.format.name) for cell in cells], np.int32),
        np.array([reasons.index(cell.reason) for cell in cells], np.int32),
        np.array([cell.nbytes for cell in cells], np.float64),
        np.array([cell.fallback for cell in cells], np.uint8),
        differs,
        int(differs.argmax()) if differs.any() else int(np.argmax([cell.format.block_size for cell in cells])),
        np.array([shade(cell.format) for cell in cells], np.float64),
    )


def format_changes(changes: Sequence[tuple[Format, Format, int, str, str]], most: int = 3) -> FormatChanges:
    """List the changes that concern most tensors.

    Parameters
    ----------
    changes : sequence of (before, after, tensors, kinds, why)
    most : int
        How many to list.

    Returns
    -------
    FormatChanges

    Examples
    --------
    >>> from qviz.formats import get
    >>> changes = [(get("Q4_K"), get("Q6_K"), 2, "attn_v", "a"), (get("Q4_K"), get("Q5_K"), 9, "ffn_up", "b")]
    >>> few = format_changes(changes, 1)
    >>> few.kinds, few.tensors.tolist(), few.rest
    (('ffn_up',), [9], 2)
    """
    order = sorted(changes, key=lambda change: -change[2])
    told = order[:most]
    return FormatChanges(
        tuple(before.name for before, *_ in told),
        tuple(after.name for _, after, *_ in told),
        np.array([(shade(before), shade(after)) for before, after, *_ in told], np.uint8).reshape(-1, 2),
        np.array([n for _, _, n, *_ in told], np.int32),
        tuple(kinds for *_, kinds, _ in told),
        tuple(why for *_, why in told),
        sum(n for _, _, n, *_ in order[most:]),
    )


def byte_bars(plans: Sequence[tuple[str, Sequence[Cell]]]) -> ByteBars:
    """Add up where the bytes of each plan go.

    Parameters
    ----------
    plans : sequence of (name, cells)

    Returns
    -------
    ByteBars
    """
    totals = np.zeros((len(plans), len(PARTS)), np.float64)
    for row, (_, cells) in zip(totals, plans, strict=True):
        for cell in cells:
            for part, share in block_parts(cell.format).items():
                row[PARTS.index(part)] += share * cell.nbytes / cell.format.type_size
    return ByteBars(tuple(name for name, _ in plans), PARTS, totals)


def block_parts(fmt: Format) -> dict[str, int]:
    """Bytes of one block that hold codes, scales and mins; all of them are floats in a format without blocks.

    Examples
    --------
    >>> from qviz.formats import get
    >>> block_parts(get("Q4_K"))  # 6 of its 12 bytes of scales are minimums
    {'scales': 8, 'mins': 8, 'codes': 128}
    """
    if fmt.is_float:
        return {"floats": fmt.type_size}
    assert fmt.dtype.names is not None
    parts: dict[str, int] = {}
    for field in fmt.dtype.names:
        nbytes = fmt.dtype[field].itemsize
        if field == "scales" and "dmin" in fmt.dtype.names:
            parts["scales"] = parts.get("scales", 0) + nbytes // 2
            parts["mins"] = parts.get("mins", 0) + nbytes // 2
            continue
        part = next((part for part, names in _PARTS.items() if field in names), None)
        if part is None:
            raise WidgetError(f"{fmt}: no word for what its field {field!r} holds; expected one of {_PARTS}")
        parts[part] = parts.get(part, 0) + nbytes
    return parts


def shade(fmt: Format) -> int:
    """Colour of a format, by its bits per weight: 1 … 254 of the scale for errors, 0 for floats.

    Examples
    --------
    >>> from qviz.formats import get
    >>> shade(get("F16")), shade(get("Q2_K")) < shade(get("Q4_K")) < shade(get("Q8_0"))
    (0, True)
    """
    if fmt.is_float:
        return 0
    share = (fmt.bpw - _FEWEST) / (_MOST - _FEWEST)
    return 1 + round(253 * min(1.0, max(0.0, share)))
