"""The error for a name that a file does not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from qviz.errors import GGUFError


class MissingKeyError(GGUFError, KeyError):
    """A file has no tensor or metadata of that name; a `KeyError` too, as of any mapping."""


def suggestion(name: object, known: Iterable[str]) -> str:
    """``"; close: ..."`` or, where nothing is, the first names that exist."""
    names = list(islice(known, 2000))
    close = difflib.get_close_matches(name, names, 3) if isinstance(name, str) else []
    if close:
        return f"; close: {', '.join(map(repr, close))}"
    return f"; there are {', '.join(map(repr, names[:3]))} ..." if names else "; there are none"
