"""JSON from anywhere: its size, depth, and number of values are bounded before it is parsed.

Python's parser makes an object of 56 bytes and more of the two bytes ``[]``, and steps down into a function for every
level. So the brackets and commas outside of strings are counted first, which costs a hundredth of a second for each
megabyte and no memory to speak of.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from typing import Any

import numpy as np

from qviz._files.opening import as_path, read_bytes
from qviz._files.problems import failure
from qviz.errors import CheckpointError, QvizError, shortened

MAX_JSON_BYTES = 100_000_000
"""The largest tokenizers have a third of it."""
MAX_JSON_VALUES = 1 << 22
"""Lists, objects and their items; the largest tokenizers have half of it."""
_MAX_DEPTH = 64
_MAX_DIGITS = 400  # more than any float64 needs
_CHUNK = 1 << 20


class NotJSONError(Exception):
    """Why a text cannot be taken; goes into the error of whoever asked."""


def read_json(
    path: str | os.PathLike[str],
    *,
    required: bool = True,
    error: type[QvizError] = CheckpointError,
    max_bytes: int = MAX_JSON_BYTES,
    max_values: int = MAX_JSON_VALUES,
) -> dict[str, Any]:
    """A JSON object from a file; an empty one if the file may be missing and is.

    Parameters
    ----------
    path : path-like
    required : bool
        Whether the file has to be there.
    error : type
        Kind of the error.
    max_bytes, max_values : int
        Larger ones are refused.

    Returns
    -------
    dict

    Raises
    ------
    QvizError
        The kind asked for: not there though required, not a regular file, not UTF-8, not JSON, not an object, with a
        name twice, or beyond a limit.
    """
    where = as_path(path)
    if not os.path.lexists(where):
        if required:
            problem = f"there is no {where.name}; name the folder of a Hugging Face model"
            raise failure(error, problem, where.parent)
        return {}
    try:
        value = parse_json(read_bytes(where, limit=max_bytes, error=error), max_values)
    except NotJSONError as problem:
        raise failure(error, f"is not a JSON object: {problem}", where) from None
    if not isinstance(value, dict):
        raise failure(error, f"is not a JSON object: it is a {type(value).__name__}", where)
    return value


def parse_json(raw: bytes, max_values: int = MAX_JSON_VALUES) -> Any:
    """The value of a JSON text in UTF-8.

    Parameters
    ----------
    raw : bytes
        A byte-order mark at the head is skipped.
    max_values : int
        Most lists, objects and items that are accepted.

    Raises
    ------
    NotJSONError
        Says why.

    Examples
    --------
    >>> parse_json(b'{"a": [1, 2.5, "x"]}')
    {'a': [1, 2.5, 'x']}
    >>> parse_json(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    qviz._files.jsontext.NotJSONError: 'a' appears twice
    """
    _bounded(raw, max_values)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise NotJSONError(f"it is not UTF-8 at byte {problem.start}") from None
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_int=_whole, parse_float=_real)
    except RecursionError:
        raise NotJSONError("it is nested too deeply") from None
    except ValueError as problem:
        raise NotJSONError(str(problem)) from None
    if re.search(rb"\\u[dD][89a-fA-F]", raw):
        _refuse_half_characters(value)
    return value


def _bounded(raw: bytes, max_values: int) -> None:
    """Refuse what has too many values or levels; brackets and commas inside of strings do not count."""
    data = raw
    if b"\\" in raw:
        data = re.sub(rb"\\.", b"__", raw, flags=re.DOTALL)  # an escaped quote ends no string
    values, depth, inside = 1, 0, 0
    for start in range(0, len(data), _CHUNK):
        part = np.frombuffer(data, np.uint8, min(_CHUNK, len(data) - start), start)
        quotes = np.add.accumulate(part == ord('"'), dtype=np.uint8) + np.uint8(inside)
        outside = (quotes & 1) == 0
        inside = int(quotes[-1] & 1)
        opening = ((part == ord("[")) | (part == ord("{"))) & outside
        closing = ((part == ord("]")) | (part == ord("}"))) & outside
        values += int(np.count_nonzero(opening)) + int(np.count_nonzero((part == ord(",")) & outside))
        if values > max_values:
            raise NotJSONError(f"it holds more values than are accepted, {max_values:,}")
        steps = np.add.accumulate(opening.view(np.int8) - closing.view(np.int8), dtype=np.int32)
        if depth + int(steps.max(initial=0)) > _MAX_DEPTH:
            raise NotJSONError(f"it is nested more than {_MAX_DEPTH} levels deep")
        depth += int(steps[-1])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise NotJSONError(f"{shortened(twice, 60)} appears twice")
    return result


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise NotJSONError(f"it holds a number of {len(digits):,} digits")
    return int(digits)


def _real(digits: str) -> float:
    if len(digits) > _MAX_DIGITS:
        raise NotJSONError(f"it holds a number of {len(digits):,} digits")
    return float(digits)


def _refuse_half_characters(value: Any) -> None:
    r"""Refuse ``"\ud800"``: half of a character, which no file name and no GGUF file can hold."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str) and not item.isascii():
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise NotJSONError(f"{shortened(item, 60)} holds half of a character (a lone surrogate)") from None
