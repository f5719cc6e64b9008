"""The key-value section of a GGUF file, as a mapping that decodes a value when it is asked for.

A tokenizer brings a quarter of a million strings; nobody who opens a file to look at one tensor should wait
for them.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from qviz.errors import GGUFError
from qviz.gguf._lookup import MissingKeyError, suggestion
from qviz.gguf.values import (
    Layout,
    ValueType,
    array_header,
    decode,
    describe,
    encode,
    encode_length,
    encode_text,
    type_of,
    typed,
)

MAX_KEY_BYTES = 65535


class Stored(NamedTuple):
    """Where a value lies in the file."""

    type: ValueType
    start: int
    stop: int


class Metadata(Mapping[str, Any]):
    """Metadata in the order of the file: `str` -> plain Python values that keep their GGUF type.

    It does not change: ``metadata | {"general.name": "mine"}`` and ``metadata.without("split.no")`` make new
    ones. A plain ``dict(metadata)`` keeps the types too.

    Parameters
    ----------
    values : mapping, optional
        Plain values get a type by the rules in `qviz.gguf.values`.

    Examples
    --------
    >>> m = Metadata({"general.architecture": "llama", "llama.block_count": 30})
    >>> m["llama.block_count"], m.types
    (30, {'general.architecture': 'str', 'llama.block_count': 'u32'})
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = {_checked_key(key): typed(value, f"metadata {key!r}") for key, value in (values or {}).items()}
        self._stored: dict[str, Stored] = {}
        self._buffer: Any = b""
        self._layout = Layout()

    @classmethod
    def _from_file(cls, buffer: Any, layout: Layout, stored: dict[str, Stored]) -> Metadata:
        self = cls()
        self._buffer, self._layout, self._stored = buffer, layout, stored
        self._values = dict.fromkeys(stored, _UNREAD)
        return self

    def __getitem__(self, key: str) -> Any:
        try:
            value = self._values[key]
        except (KeyError, TypeError):
            raise MissingKeyError(f"no metadata key {key!r}{suggestion(key, self._values)}") from None
        if value is _UNREAD:
            value = self._values[key] = self._decode(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default`."""
        return self[key] if key in self else default  # noqa: SIM401 - this is get; Mapping's would suggest keys

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __or__(self, other: Mapping[str, Any]) -> Metadata:
        """A copy with the keys of `other` added or replaced."""
        result = self.without()
        for key, value in Metadata(other)._values.items():
            result._values[key] = value
            result._stored.pop(key, None)
        return result

    def __repr__(self) -> str:
        return f"<Metadata: {len(self)} keys>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Metadata, (dict(self),)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def without(self, *keys: str) -> Metadata:
        """A copy that lacks `keys`."""
        result = Metadata()
        result._buffer, result._layout = self._buffer, self._layout
        result._values = {key: value for key, value in self._values.items() if key not in keys}
        result._stored = {key: stored for key, stored in self._stored.items() if key not in keys}
        return result

    @property
    def types(self) -> dict[str, str]:
        """The GGUF type of every value: ``"u32"``, ``"str"``, ``"arr[str]"`` ..."""
        return {key: describe(*self._type(key)) for key in self}

    def peek(self, key: str, limit: int | None) -> tuple[Any, int | None]:
        """A value of which a long array is decoded only in part.

        Parameters
        ----------
        key : str
        limit : int or None
            Most items wanted; None for all.

        Returns
        -------
        value : object
            An array's first `limit` items, or the whole of any other value.
        length : int or None
            Number of items of the array; None for other values.
        """
        value = self._values.get(key, _UNREAD)
        stored = self._stored.get(key)
        if value is _UNREAD and stored is not None and stored.type is ValueType.ARR:
            _, length, _ = array_header(self._file, stored.start, self._layout)
            return decode(self._file, stored.start, stored.type, self._layout, limit), length
        value = self[key]
        return (value[:limit], len(value)) if isinstance(value, list) else (value, None)

    def encoded(self, layout: Layout) -> bytes:
        """The whole section as it stands in a file, the keys included."""
        parts: list[bytes] = []
        for key in self:
            what = f"metadata {key!r}"
            name = encode_text(key, what)
            parts += [encode_length(len(name), layout, what), name, layout.u32.pack(self._type(key)[0])]
            parts.append(self._encoded_value(key, layout, what))
        return b"".join(parts)

    def _encoded_value(self, key: str, layout: Layout, what: str) -> bytes:
        stored, value = self._stored.get(key), self._values[key]
        if stored is None or not layout.same_bytes(self._layout):
            return encode(self[key], layout, what)
        if isinstance(value, list) and value != self._decode(key):  # somebody edited the list
            return encode(value, layout, what)
        return bytes(self._file[stored.start : stored.stop])

    @property
    def _file(self) -> Any:
        """The bytes that values are decoded from."""
        # A map that reaches past the end of its file kills the whole process when it is touched there.
        if isinstance(self._buffer, mmap.mmap) and self._buffer.size() < len(self._buffer):
            raise GGUFError(
                "the file shrank while it was open",
                found=f"{self._buffer.size()} bytes",
                expected=f"{len(self._buffer)} bytes; wait until it is written, then open it again",
            )
        return self._buffer

    def _type(self, key: str) -> tuple[ValueType, ValueType | None]:
        stored = self._stored.get(key)
        if stored is None:
            return type_of(self._values[key])
        if stored.type is not ValueType.ARR:
            return stored.type, None
        return stored.type, ValueType(array_header(self._file, stored.start, self._layout)[0])

    def _decode(self, key: str) -> Any:
        stored = self._stored[key]
        return decode(self._file, stored.start, stored.type, self._layout)

    def detach(self) -> None:
        """Copy the section out of the file's map, so that the map can be closed."""
        if not self._stored or isinstance(self._buffer, bytes):
            return
        first = min(stored.start for stored in self._stored.values())
        last = max(stored.stop for stored in self._stored.values())
        with contextlib.suppress(GGUFError):  # what shrank cannot be copied; it is refused when it is asked for
            self._buffer = bytes(self._file[first:last])
            self._stored = {k: Stored(s.type, s.start - first, s.stop - first) for k, s in self._stored.items()}


_UNREAD: Any = object()


def _checked_key(key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise GGUFError("a metadata key must be a string that is not empty", found=key)
    if len(encode_text(key, f"metadata {key!r}")) > MAX_KEY_BYTES:
        raise GGUFError("a metadata key is too long", found=key, expected=f"at most {MAX_KEY_BYTES} bytes")
    return key
