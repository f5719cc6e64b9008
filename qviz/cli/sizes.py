"""Sizes on the command line: bytes, or 500K, 120M, 2G, each a power of ten."""

from __future__ import annotations

import re
from typing import Any

import click

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}


class Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer versions only
    """Reads a size.

    Examples
    --------
    >>> Size().convert("1.5G", None, None), Size().convert("3k", None, None), Size().convert("2 GB", None, None)
    (1500000000, 3000, 2000000000)
    """

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        nbytes = int(float(match[1]) * _UNITS[match[2].upper()]) if match and len(match[1]) < 20 else 0
        if not nbytes:
            self.fail(f"{value!r} is no size; write bytes, or 500K, 120M, 2G", param, ctx)
        return nbytes
