"""Other metadata in a model file, its tensors untouched.

The tensor infos and the tensors behind them are copied as they stand, by the system: offsets count from where tensors
start, so they stay right whatever the metadata take. The file appears whole, in place of the older one or beside it.

**Types.** A key that exists keeps its type. A new one gets the type that its text asks for: ``true`` and ``false`` are
a bool; a whole number is the first of u32, i32, u64, i64 that holds it; a number with a point or an exponent is an f32;
a list in brackets, as JSON writes it, is an array by the rules of `qviz.gguf.values`; anything else is a text. A type
that is given (``u8`` … ``f64``, ``bool``, ``str``, ``arr[u8]`` …) wins over both.

Examples
--------
>>> parse("7"), parse("7", "str"), parse("[1, 2]", "arr[u8]").item_type, parse("v1.0")
(7, '7', <ValueType.U8: 0>, 'v1.0')
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qviz._files import as_path, copy_bytes, replacing
from qviz.errors import GGUFError
from qviz.gguf._lookup import MissingKeyError, suggestion
from qviz.gguf.header import ALIGNMENT_KEY, MAGIC
from qviz.gguf.metadata import Metadata
from qviz.gguf.reader import Part
from qviz.gguf.splits import COUNT, NUMBER, TENSORS
from qviz.gguf.values import Array, ValueType, describe, encode_length, numbers, type_of, typed
from qviz.gguf.writer import pad

CHAT_TEMPLATE = "tokenizer.chat_template"

_WHOLE = re.compile(r"[+-]?\d{1,20}")
_REAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")
_TYPE = re.compile(r"arr\[(\w+)\]|(\w+)")


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What became of one key; None is a key that was not there, or is no more."""

    key: str
    type: str
    before: Any
    after: Any


def parse(text: str, type: str | None = None) -> Any:
    """A value from text, as the head of this file says.

    Parameters
    ----------
    text : str
    type : str, optional
        ``"u32"``, ``"str"``, ``"arr[i32]"`` ...

    Returns
    -------
    bool, str, number or Array

    Raises
    ------
    GGUFError
        No such type, or a text that is no value of it.
    """
    if type is None:
        return _guessed(text)
    wanted, is_array = _type_named(type)
    if is_array:
        return _array(text, wanted)
    if wanted is ValueType.STR:
        return text
    if wanted is ValueType.BOOL:
        if text not in ("true", "false"):
            raise GGUFError("this is not a bool", found=text, expected="true or false")
        return text == "true"
    kind = numbers()[wanted]
    try:
        return kind(int(text) if _WHOLE.fullmatch(text) else float(text))
    except ValueError:
        raise GGUFError(f"this is not a {wanted}", found=text, expected="a number") from None


def _type_named(name: str) -> tuple[ValueType, bool]:
    """A type, and whether an array of it is meant."""
    known = {str(type_): type_ for type_ in ValueType if type_ is not ValueType.ARR}
    match = _TYPE.fullmatch(name)
    value_type = known.get((match[1] or match[2]) if match else "")
    if value_type is None or match is None:
        raise GGUFError("no such type", found=name, expected=f"{', '.join(known)}, or arr[...] of one of these")
    return value_type, bool(match[1])


def _guessed(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if _WHOLE.fullmatch(text):
        return typed(int(text), "the value")
    if _REAL.fullmatch(text):
        return typed(float(text), "the value")
    if text.startswith("[") and (items := _json_list(text)):
        return typed(items, "the value")
    return text


def _array(text: str, item: ValueType) -> Array:
    items = _json_list(text)
    if items is None:
        raise GGUFError(f"this is not an array of {item}", found=text, expected="a list such as [1, 2], as JSON")
    return Array(items, item)


def _json_list(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def edit(
    path: str | os.PathLike[str],
    *,
    set: Mapping[str, Any] | None = None,
    remove: Collection[str] = (),
    out: str | os.PathLike[str] | None = None,
) -> list[KeyChange]:
    """Set and remove metadata keys of a GGUF file.

    Parameters
    ----------
    path : path-like
        The file; of a split model the first part, which has the metadata.
    set : mapping of str to object
        New values. A plain value takes the type that its key has in the file, or one by the rules of
        `qviz.gguf.values`; a value that has a type (``U8(3)``, ``Array(...)``) keeps it. A new key comes last.
    remove : collection of str
        Keys that are there.
    out : path-like, optional
        Where to; the file itself unless given.

    Returns
    -------
    list of KeyChange
        What is different now; empty if nothing is, and then nothing was written, unless `out` is given.

    Raises
    ------
    MissingKeyError
        A key to remove that is not there.
    GGUFError
        A value that does not fit, a key that says how the file is laid out, a file that cannot be read or written.
    """
    wanted = {} if set is None else set
    if not isinstance(wanted, Mapping):
        raise GGUFError("set must be a mapping from key to value", found=set)
    if isinstance(remove, str) or not isinstance(remove, Collection) or not all(isinstance(k, str) for k in remove):
        raise GGUFError("remove must be a list of keys", found=remove)
    part = Part(as_path(path))
    try:
        metadata, changes = edited(part.metadata, wanted, remove)
        if part.metadata.get(NUMBER, 0):
            raise GGUFError(
                "this is a later part of a split model, and metadata stand in the first; edit that one",
                path=part.path,
                found=f"{NUMBER} {part.metadata[NUMBER]}",
            )
        if changes or out is not None:
            _write(part, metadata, as_path(out) if out is not None else part.path)
        return changes
    finally:
        part.close()
        part.file.close()


def edited(metadata: Metadata, set: Mapping[str, Any], remove: Collection[str]) -> tuple[Metadata, list[KeyChange]]:
    """Metadata with other values, and what is different; see `edit`."""
    for key in (*set, *remove):
        split_part = key in (NUMBER, COUNT, TENSORS) and (key in set or metadata.get(COUNT, 0))
        if key == ALIGNMENT_KEY or split_part:
            raise GGUFError(f"{key} says how the file is laid out, and cannot be edited; leave it as it is")
        if key in set and key in remove:
            raise GGUFError(f"{key!r} is to be set and to be removed; leave one of the two out")
    if missing := [key for key in remove if key not in metadata]:
        raise MissingKeyError(f"no metadata key {missing[0]!r} to remove{suggestion(missing[0], metadata)}")
    types, new = metadata.types, {}
    changes = [KeyChange(key, types[key], metadata[key], None) for key in dict.fromkeys(remove)]
    for key, value in set.items():
        new[key] = _like(metadata[key], value, key) if key in metadata else typed(value, f"metadata {key!r}")
        type_, before = describe(*type_of(new[key])), metadata.get(key)
        if key not in metadata or types[key] != type_ or before != new[key]:
            changes.append(KeyChange(key, type_, before, new[key]))
    return metadata.without(*remove) | new, changes


def _like(old: Any, value: Any, key: str) -> Any:
    """`value`, with the type of `old` unless it has one of its own."""
    type_, item = type_of(old)
    if isinstance(value, Array) or hasattr(value, "value_type"):
        return value
    what = f"metadata {key!r} is a {describe(type_, item)} and stays one"
    if type_ is ValueType.ARR and isinstance(value, list | tuple) and item is not None:
        return Array(value, item)
    if type_ in (ValueType.STR, ValueType.BOOL) and isinstance(value, str if type_ is ValueType.STR else bool):
        return value
    if type_ in numbers() and isinstance(value, int | float) and not isinstance(value, bool):
        return numbers()[type_](value)
    raise GGUFError(what, found=value, expected=f"a {describe(type_, item)}, or a value that has a type, as U8(3)")


def _write(part: Part, metadata: Metadata, target: Path) -> None:
    layout = part.layout
    infos = [region for region in part.regions if region.kind == "tensor info"]
    start, stop = (infos[0].start, infos[-1].stop) if infos else (0, 0)
    head = b"".join(
        (
            MAGIC,
            layout.u32.pack(layout.version),
            encode_length(len(part.tensor_info), layout, "the number of tensors"),
            encode_length(len(metadata), layout, "the number of metadata keys"),
            metadata.encoded(layout),
        )
    )
    part.file.check(part.data_offset)
    with replacing(target) as file:
        file.write(head)
        copy_bytes(part.file, start, stop - start, file, target)
        pad(file, len(head) + stop - start, part.alignment)
        copy_bytes(part.file, part.data_offset, part.size - part.data_offset, file, target)
        part.file.check(part.data_offset)
        part.close()
        part.file.close()  # Windows replaces no file that is open
