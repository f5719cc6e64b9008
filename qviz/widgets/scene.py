"""What an explorer shows at one moment, and how it travels to the browser.

A `Scene` holds the figures themselves, so it can be inspected from Python; `pack` turns it into one run of
bytes, so that a move of a slider is one message.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Readout:
    """One number with its name.

    Attributes
    ----------
    label, value : str
    hint : str
        Said in full where the pointer rests on it.
    """

    label: str
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Panel:
    """One figure and the words around it.

    Attributes
    ----------
    figure : frozen dataclass
        From `qviz.figures`.
    title, caption : str
    legend : tuple of (role, text)
        Colour roles of `qviz.figures._theme`.
    label : str
        What the picture says, for those who do not see it.
    options : mapping
        Small extras for drawing.
    """

    figure: Any
    title: str = ""
    caption: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    label: str = ""
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Table:
    """The numbers behind a figure.

    Attributes
    ----------
    caption : str
    columns : tuple of str
    rows : tuple of tuple of str
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Status:
    """A line of text under the figures; `level` is ``"info"`` or ``"error"``."""

    level: str
    text: str


@dataclass(frozen=True)
class Scene:
    """Everything on show.

    Attributes
    ----------
    layout : str
        How panels are arranged: ``"bits"``, ``"tensor"`` or ``"block"``.
    panels : mapping of str to Panel
    readouts : tuple of Readout
    summary : str
        One or two sentences that say what can be seen.
    tables : tuple of Table
    status : tuple of Status
    pages : tuple of (str, tuple of str)
        Panels that share one place, by the title of a tab; all others are always on show.
    """

    layout: str
    panels: Mapping[str, Panel]
    readouts: tuple[Readout, ...] = ()
    summary: str = ""
    tables: tuple[Table, ...] = ()
    status: tuple[Status, ...] = ()
    pages: tuple[tuple[str, tuple[str, ...]], ...] = ()


def pack(scene: Scene) -> bytes:
    """A scene as bytes: the length of a JSON text (u32, little-endian), the text, then all arrays.

    In the text an array is ``{"$": dtype, "at": first byte, "n": bytes}``, counted from the end of the text.
    Numbers that JSON has no word for (NaN, infinity) become null; inside arrays they travel as they are.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    bytes
    """
    arrays: list[bytes] = []
    at = 0

    def plain(value: Any) -> Any:
        nonlocal at
        if value is None or type(value) in (str, int, bool):  # nearly all: cells of tables
            return value
        if isinstance(value, np.ndarray):
            raw = np.ascontiguousarray(value).tobytes()
            place = {"$": value.dtype.str[1:], "at": at, "n": len(raw)}
            if value.ndim > 1:
                place["shape"] = value.shape
            arrays.append(raw)
            at += len(raw)
            return place
        if is_dataclass(value) and not isinstance(value, type):
            return {
                "type": type(value).__name__,
                **{f.name: plain(getattr(value, f.name)) for f in fields(value)},
            }
        if isinstance(value, Mapping):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    text = json.dumps(plain(scene), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return b"".join([struct.pack("<I", len(text)), text, *arrays])


def unpack(frame: bytes) -> dict[str, Any]:
    """Read `pack`'s bytes back as the browser does: dataclasses become dicts, arrays NumPy arrays."""
    (length,) = struct.unpack_from("<I", frame)
    body = frame[4 + length :]

    def restore(value: dict[str, Any]) -> Any:
        if "$" not in value:
            return value
        dtype = np.dtype(value["$"])
        array = np.frombuffer(body, dtype, count=value["n"] // dtype.itemsize, offset=value["at"])
        return array.reshape(value.get("shape", array.shape))

    decoded: dict[str, Any] = json.loads(frame[4 : 4 + length], object_hook=restore)
    return decoded
