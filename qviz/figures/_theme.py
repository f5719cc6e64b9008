"""Colours: every one that a figure or widget uses, and none anywhere else.

The two colour scales are drawn in OKLab (Björn Ottosson, 2020), where equal steps look equally large. Both
survive the common colour-vision deficiencies: blue against orange for signed numbers, and for errors a scale
whose lightness alone orders it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.uint8]  # (256, 3) sRGB

ZERO = 127
"""Code of exactly 0 in a signed image: codes 0 … 254 are the scale."""
EXACT = 0
"""Code of "no error at all" in an error image: codes 1 … 254 are the scale."""
NOT_FINITE = 255
"""Code of NaN and infinity in either."""

_MAGENTA = (214, 0, 147)
_GREY = (138, 141, 146)

# Anchors as (lightness, chroma, hue in degrees), spaced evenly.
_BLUE_TO_ORANGE = {
    False: ((0.38, 0.11, 257), (0.62, 0.13, 250), (0.97, 0.005, 90), (0.68, 0.15, 60), (0.41, 0.105, 50)),
    True: ((0.86, 0.10, 240), (0.58, 0.14, 252), (0.24, 0.005, 260), (0.60, 0.13, 58), (0.88, 0.12, 78)),
}
_DARK_TO_BRIGHT = (
    (0.22, 0.07, 300),
    (0.37, 0.11, 278),
    (0.50, 0.09, 235),
    (0.62, 0.09, 195),
    (0.74, 0.13, 155),
    (0.84, 0.16, 120),
    (0.93, 0.15, 100),
)

# Roles, not hues: a panel asks for "weight", never for blue.
_ROLES = {
    #              light      dark
    "weight": ("#1f6fb5", "#6ab4f7"),  # what went in
    "level": ("#b15200", "#ffa94d"),  # what the grid offers, and the error it makes
    "level-fill": ("#f0913a", "#e8923a"),
    "changed": ("#b3006e", "#ff7ac8"),  # a bit that was flipped and what it broke
    "ok": ("#1b7f4d", "#5fd39a"),
    "ink": ("#1c1e21", "#eceef1"),
    "soft": ("#5a6068", "#a9b0b9"),
    "line": ("#d9dce0", "#3d4249"),
    "card": ("#f6f7f9", "#1d2024"),
    "paper": ("#ffffff", "#121417"),
    # the fields of a block, in the order in which they stand
    "field-0": ("#b15200", "#ffa94d"),
    "field-1": ("#1f6fb5", "#6ab4f7"),
    "field-2": ("#7a3fa0", "#c9a0ee"),
    "field-3": ("#00797a", "#4fd1d0"),
    "field-4": ("#8a6d00", "#e3c84d"),
}


@cache
def diverging(dark: bool = False) -> Table:
    """Blue – paper – orange, for signed numbers; code 127 is the middle.

    Returns
    -------
    uint8 array (256, 3)

    Examples
    --------
    >>> [diverging()[code].tolist() for code in (0, 127, 254)]  # deep blue, near white, deep orange
    [[21, 65, 123], [246, 245, 241], [118, 53, 5]]
    """
    return _table(_ramp(_BLUE_TO_ORANGE[dark], 255), _MAGENTA)


@cache
def sequential() -> Table:
    """Dark violet – teal – yellow for sizes of errors, the same on dark and light pages; code 0 is grey.

    Returns
    -------
    uint8 array (256, 3)
    """
    return _table(np.array([_GREY]), _ramp(_DARK_TO_BRIGHT, 254), _MAGENTA)


def tables() -> bytes:
    """The three colour tables, 768 bytes each: diverging light, diverging dark, sequential."""
    return b"".join(table.tobytes() for table in (diverging(), diverging(dark=True), sequential()))


def css() -> str:
    """Every role as a CSS custom property: ``--qviz-weight`` and so on, for light pages and for dark ones."""
    blocks = []
    for selector, column in ((".qviz", 0), (".qviz.qviz-dark", 1)):
        lines = "".join(f"  --qviz-{role}: {pair[column]};\n" for role, pair in _ROLES.items())
        blocks.append(f"{selector} {{\n{lines}}}\n")
    return "".join(blocks)


def colours(dark: bool = False) -> dict[str, str]:
    """Every role and its colour, for pictures that no stylesheet reaches.

    Examples
    --------
    >>> colours()["paper"], colours(dark=True)["paper"]
    ('#ffffff', '#121417')
    """
    return {role: pair[dark] for role, pair in _ROLES.items()}


def _table(*parts: npt.ArrayLike) -> Table:
    table = np.concatenate([np.atleast_2d(np.asarray(part)) for part in parts]).astype(np.uint8)
    table.setflags(write=False)
    return table


def _ramp(anchors: tuple[tuple[float, float, float], ...], n: int) -> Table:
    """`n` sRGB colours through anchors in OKLCH, straight in OKLab between them."""
    lightness, chroma, hue = np.array(anchors).T
    lab = np.stack([lightness, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))], axis=1)
    where = np.linspace(0, len(anchors) - 1, n)
    return _oklab_to_srgb(np.stack([np.interp(where, range(len(anchors)), column) for column in lab.T], axis=1))


def _oklab_to_srgb(lab: npt.NDArray[np.float64]) -> Table:
    to_lms = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = ((lab @ to_lms.T) ** 3 @ to_rgb.T).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: Table = np.rint(255 * encoded).astype(np.uint8)
    return colours
