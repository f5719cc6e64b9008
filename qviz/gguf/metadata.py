"""The key-value section of a GGUF file, as a mapping that decodes a value when it is asked for.

A tokenizer brings a quarter of a million strings; nobody who opens a file to look at one tensor should wait
for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from qviz._files import OpenFile
from qviz.errors import GGUFError, shortened
from qviz.gguf._lookup import MissingKeyError, suggestion
from qviz.gguf.values import (
    ByteLayout,
    ValueType,
    decode,
    describe,
    encode,
    encode_length,
    encode_text,
    preview,
    type_of,
    typed,
)

MAX_KEY_BYTES = 65535
# Of a closed file, so much is copied; of more, the file is kept open in the background.
_KEPT = 1 << 24


class Stored(NamedTuple):
    """Where a value lies in the file, and what an array holds."""

    type: ValueType
    start: int
    stop: int
    item_type: ValueType | None = None


class Section:
    """Where values are read from when they are asked for: the file, or what was copied from it.

    Parameters
    ----------
    file : OpenFile
    """

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._start, self._copy = 0, b""

    def read(self, start: int, stop: int) -> bytes:
        """Bytes by their position in the file.

        Raises
        ------
        GGUFError
            The file was cut or changed by another program.
        """
        if self._copy:
            return self._copy[start - self._start : stop - self._start]
        self._file.check()
        return self._file.read(start, stop - start)

    def detach(self, start: int, stop: int) -> bool:
        """Make the file unnecessary, if that takes little memory: a copy of the bytes from `start` to `stop`."""
        if self._copy or start == stop:
            return True
        if stop - start > _KEPT:
            return False
        try:
            self._copy, self._start = self.read(start, stop), start
        except GGUFError:  # what was cut cannot be copied; it is refused when it is asked for
            return False
        return True


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
        if values is not None and not isinstance(values, Mapping):
            raise GGUFError("metadata must be a mapping from key to value", found=values)
        self._values = {_checked_key(key): typed(value, f"metadata {key!r}") for key, value in (values or {}).items()}
        self._stored: dict[str, Stored] = {}
        self._section: Section | None = None
        self._layout = ByteLayout()

    @classmethod
    def _from_file(cls, section: Section, layout: ByteLayout, stored: dict[str, Stored]) -> Metadata:
        self = cls()
        self._section, self._layout, self._stored = section, layout, stored
        self._values = dict.fromkeys(stored, _UNREAD)
        return self

    def __getitem__(self, key: str) -> Any:
        try:
            value = self._values[key]
        except (KeyError, TypeError):
            raise MissingKeyError(f"no metadata key {shortened(key)}{suggestion(key, self._values)}") from None
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
        result._section, result._layout = self._section, self._layout
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
            An array's first `limit` items, the beginning of a text that is very long, or the whole of any other value.
        length : int or None
            Number of items of the array, or bytes of a text that was cut; None for other values.
        """
        value = self._values.get(key, _UNREAD)
        stored = self._stored.get(key)
        if value is _UNREAD and stored is not None and limit is not None and self._section is not None:
            return preview(self._section.read, stored.start, stored.stop, stored.type, self._layout, limit)
        value = self[key]
        return (value[:limit], len(value)) if isinstance(value, list) else (value, None)

    def encoded(self, layout: ByteLayout) -> bytes:
        """The whole section as it stands in a file, the keys included."""
        parts: list[bytes] = []
        for key in self:
            what = f"metadata {key!r}"
            name = encode_text(key, what)
            parts += [encode_length(len(name), layout, what), name, layout.u32.pack(self._type(key)[0])]
            parts.append(self._encoded_value(key, layout, what))
        return b"".join(parts)

    def _encoded_value(self, key: str, layout: ByteLayout, what: str) -> bytes:
        stored, value = self._stored.get(key), self._values[key]
        if stored is None or not layout.same_bytes(self._layout):
            return encode(self[key], layout, what)
        if isinstance(value, list) and value != self._decode(key):  # somebody edited the list
            return encode(value, layout, what)
        return self._read(stored)

    def _type(self, key: str) -> tuple[ValueType, ValueType | None]:
        stored = self._stored.get(key)
        return type_of(self._values[key]) if stored is None else (stored.type, stored.item_type)

    def _read(self, stored: Stored) -> bytes:
        assert self._section is not None
        return self._section.read(stored.start, stored.stop)

    def _decode(self, key: str) -> Any:
        stored = self._stored[key]
        return decode(self._read(stored), 0, stored.type, self._layout)

    def detach(self) -> bool:
        """Whether the file may be closed: the section was copied, or nothing of it is needed."""
        if not self._stored or self._section is None:
            return True
        first = min(stored.start for stored in self._stored.values())
        return self._section.detach(first, max(stored.stop for stored in self._stored.values()))


_UNREAD: Any = object()


def _checked_key(key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise GGUFError("a metadata key must be a string that is not empty", found=key)
    if len(encode_text(key, f"metadata {key!r}")) > MAX_KEY_BYTES:
        raise GGUFError("a metadata key is too long", found=key, expected=f"at most {MAX_KEY_BYTES} bytes")
    return key
