"""Metadata values: plain Python values that remember which of GGUF's thirteen types they are.

A GGUF file says of every value whether it is a ``u32`` or an ``i64``, and readers refuse the wrong one, so
the type must survive ``{**file.metadata, "general.name": "mine"}``. Hence numbers read from a file are
instances of small subclasses of `int` and `float` (`U32`, `F32` ...), and arrays are lists with an
`Array.item_type`. They compare, print and serialise as what they are.

**Plain Python values** get a type when they are written: `bool` → bool; `str` → str; `float` → f32; `int` →
the first of u32, i32, u64, i64 that holds it; a list → an array of the first of i32, u32, i64, u64, or of
f32, bool, str that holds every item. That is what model files use for the same keys. To ask for another type,
wrap the value: ``U16(3)``, ``F64(0.1)``, ``Array([1, 2], "u8")``. NumPy scalars and 1-D arrays keep the type
of their dtype.

Strings are UTF-8; a byte that is not (token lists have them) is kept as a lone surrogate, as Python does for
file names, and written back unchanged.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, SupportsFloat, SupportsInt

import numpy as np

from qviz.errors import GGUFError, shortened

Endian = Literal["little", "big"]

# An array may hold arrays; nothing needs more levels than this, and each costs a stack frame.
MAX_NESTING = 32
# Bytes of a text that are shown where only a glimpse was asked for.
MAX_PREVIEW = 1 << 16


class ValueType(enum.IntEnum):
    """The types a metadata value can have, with the ids that a file stores."""

    U8 = 0
    I8 = 1
    U16 = 2
    I16 = 3
    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    STR = 8
    ARR = 9
    U64 = 10
    I64 = 11
    F64 = 12

    def __str__(self) -> str:
        return self.name.lower()


# The struct / NumPy letters of the types with a fixed size, in the order of their ids.
_FIXED: list[ValueType] = [t for t in ValueType if t not in (ValueType.STR, ValueType.ARR)]
_CODES: dict[ValueType, str] = dict(zip(_FIXED, "BbHhIif?Qqd", strict=True))
SIZES = {type_: struct.calcsize(f"={code}") for type_, code in _CODES.items()}
_DTYPES = {np.dtype(code): type_ for type_, code in _CODES.items()}


class _Int(int):
    """A whole number with its GGUF type."""

    value_type: ClassVar[ValueType]

    def __new__(cls, value: SupportsInt) -> Self:
        low, high = _int_range(cls.value_type)
        try:
            number = super().__new__(cls, value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or number != value or not low <= number <= high:
            raise GGUFError(
                f"{shortened(value, 60)} is not a {cls.value_type}", expected=f"a whole number in {low} … {high}"
            )
        return number


class U8(_Int):
    """An 8-bit unsigned integer."""

    value_type = ValueType.U8


class I8(_Int):
    """An 8-bit integer."""

    value_type = ValueType.I8


class U16(_Int):
    """A 16-bit unsigned integer."""

    value_type = ValueType.U16


class I16(_Int):
    """A 16-bit integer."""

    value_type = ValueType.I16


class U32(_Int):
    """A 32-bit unsigned integer."""

    value_type = ValueType.U32


class I32(_Int):
    """A 32-bit integer."""

    value_type = ValueType.I32


class U64(_Int):
    """A 64-bit unsigned integer."""

    value_type = ValueType.U64


class I64(_Int):
    """A 64-bit integer."""

    value_type = ValueType.I64


class F32(float):
    """A float32: rounded to one on creation, and printed with the digits that tell it from its neighbours.

    Examples
    --------
    >>> F32(1e-5), F32(1e-5) == 1e-5
    (1e-05, False)
    """

    value_type: ClassVar[ValueType] = ValueType.F32

    def __new__(cls, value: SupportsFloat) -> Self:  # noqa: D102 - the class says it
        number = _real(value, cls.value_type)
        with np.errstate(over="ignore"):
            rounded = float(np.float32(number))
        if math.isinf(rounded) and not math.isinf(number):
            raise GGUFError("too large for a f32", found=value, expected="a smaller number, or F64(...)")
        return super().__new__(cls, rounded)

    def __repr__(self) -> str:
        return str(np.float32(self))


class F64(float):
    """A float64."""

    value_type: ClassVar[ValueType] = ValueType.F64

    def __new__(cls, value: SupportsFloat) -> Self:  # noqa: D102 - the class says it
        return super().__new__(cls, _real(value, cls.value_type))


def _real(value: SupportsFloat, type_: ValueType) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise GGUFError(f"{shortened(value, 60)} is not a {type_}", expected="a number") from None


class Array(list[Any]):
    """A list whose items all have one GGUF type.

    Parameters
    ----------
    items : iterable
    item_type : ValueType or str
        ``"i32"``, ``"str"`` ...; ``"arr"`` for an array of arrays.

    Examples
    --------
    >>> Array([1, 2], "u8")
    [1, 2]
    """

    item_type: ValueType

    def __init__(self, items: Iterable[Any], item_type: ValueType | str) -> None:
        try:
            super().__init__(items)
        except TypeError:
            raise GGUFError(f"{shortened(items, 60)} is not a list of items for an array") from None
        try:
            self.item_type = ValueType[item_type.upper()] if isinstance(item_type, str) else ValueType(item_type)
        except (KeyError, ValueError):
            known = ", ".join(str(t) for t in ValueType)
            raise GGUFError(f"no value type {shortened(item_type, 60)}", expected=f"one of {known}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Array, (list(self), self.item_type)


_TYPED: dict[ValueType, type[Any]] = {
    **{cls.value_type: cls for cls in (U8, I8, U16, I16, U32, I32, U64, I64, F32, F64)},
    ValueType.BOOL: bool,
}


@dataclass(frozen=True)
class ByteLayout:
    """How numbers and lengths are written: the byte order, and 4- or 8-byte lengths.

    Parameters
    ----------
    version : int
        1, 2 or 3. Version 1 has 4-byte counts and lengths; 2 and 3 differ in nothing.
    endian : {"little", "big"}
    """

    version: int = 3
    endian: Endian = "little"
    order: str = field(init=False)
    u32: struct.Struct = field(init=False, repr=False, compare=False)
    u64: struct.Struct = field(init=False, repr=False, compare=False)
    length: struct.Struct = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        order = "<" if self.endian == "little" else ">"
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "u32", struct.Struct(f"{order}I"))
        object.__setattr__(self, "u64", struct.Struct(f"{order}Q"))
        object.__setattr__(self, "length", self.u32 if self.version == 1 else self.u64)

    def same_bytes(self, other: ByteLayout) -> bool:
        """True if values look the same in both: versions 2 and 3 do."""
        return self.endian == other.endian and self.length.size == other.length.size


def describe(type_: ValueType, item_type: ValueType | None) -> str:
    """``"u32"``, ``"arr[str]"``."""
    return str(type_) if item_type is None else f"{type_}[{item_type}]"


def numbers() -> Mapping[ValueType, type[Any]]:
    """The classes of typed numbers, by type."""
    return {type_: cls for type_, cls in _TYPED.items() if type_ is not ValueType.BOOL}


def type_of(value: Any) -> tuple[ValueType, ValueType | None]:
    """Type of a typed value, and of its items if it is an array; see `typed`."""
    if isinstance(value, Array):
        return ValueType.ARR, value.item_type
    if isinstance(value, str):
        return ValueType.STR, None
    return (ValueType.BOOL, None) if isinstance(value, bool) else (value.value_type, None)


# -- reading: the reader has checked every length before anything here runs


def decode(buffer: Any, start: int, type_: ValueType, layout: ByteLayout) -> Any:
    """Read one value.

    Parameters
    ----------
    buffer : bytes-like
    start : int
        Where the value begins (for an array: at its item type).
    type_ : ValueType
        Its type.
    layout : ByteLayout
        Byte order and width of lengths.

    Returns
    -------
    bool, str, int, float or Array
    """
    return _decode(buffer, start, type_, layout)[0]


def _decode(buffer: Any, pos: int, type_: ValueType, layout: ByteLayout) -> tuple[Any, int]:
    if type_ is ValueType.ARR:
        item_type, count, pos = array_header(buffer, pos, layout)
        return _decode_items(buffer, pos, ValueType(item_type), count, layout)
    if type_ is ValueType.STR:
        (length,) = layout.length.unpack_from(buffer, pos)
        pos += layout.length.size
        return str(buffer[pos : pos + length], "utf-8", "surrogateescape"), pos + length
    (value,) = struct.unpack_from(f"{layout.order}{_CODES[type_]}", buffer, pos)
    return _TYPED[type_](value), pos + SIZES[type_]


def preview(
    read: Callable[[int, int], bytes], start: int, stop: int, type_: ValueType, layout: ByteLayout, limit: int
) -> tuple[Any, int | None]:
    """The beginning of a value, in time and memory that do not depend on how long it is.

    Parameters
    ----------
    read : callable
        ``(start, stop) -> bytes`` of the file.
    start, stop : int
        Where the value lies.
    type_ : ValueType
    layout : ByteLayout
    limit : int
        Most items of an array, and of an array in it.

    Returns
    -------
    value : object
        Texts are cut after `MAX_PREVIEW` bytes. An array within an array ends the list if its end is not in sight.
    length : int or None
        Items of an array; bytes of a text that was cut; None for anything else.
    """
    width = layout.length.size
    if type_ is ValueType.STR:
        (length,) = layout.length.unpack(read(start, start + width))
        text = _cut_text(read(start + width, start + width + min(length, MAX_PREVIEW + 1)))
        return text, length if length > MAX_PREVIEW else None
    if type_ is not ValueType.ARR:
        return decode(read(start, stop), 0, type_, layout), None
    number, count, pos = array_header(read(start, start + 4 + width), 0, layout)
    item_type, pos = ValueType(number), pos + start
    if item_type in SIZES:
        wanted = min(count, limit)
        raw = read(pos, pos + wanted * SIZES[item_type])
        return _decode_items(raw, 0, item_type, wanted, layout)[0], count
    items: list[Any] = []
    for _ in range(min(count, limit)):
        item, length = preview(read, pos, stop, item_type, layout, limit)
        items.append(item)
        if item_type is ValueType.STR:
            pos += width + int(layout.length.unpack(read(pos, pos + width))[0])
        elif item.item_type not in SIZES and item:
            break
        else:
            pos += 4 + width + (length or 0) * SIZES.get(item.item_type, 0)
    return Array(items, item_type), count


def _cut_text(raw: bytes) -> str:
    """Text that is not cut inside of a character."""
    if len(raw) <= MAX_PREVIEW:
        return str(raw, "utf-8", "surrogateescape")
    end = MAX_PREVIEW
    while end > MAX_PREVIEW - 4 and raw[end] & 0xC0 == 0x80:
        end -= 1
    return str(raw[:end], "utf-8", "surrogateescape")


def array_header(buffer: Any, pos: int, layout: ByteLayout) -> tuple[int, int, int]:
    """Item type, number of items, and where the first one starts."""
    (item_type,) = layout.u32.unpack_from(buffer, pos)
    (count,) = layout.length.unpack_from(buffer, pos + 4)
    return item_type, count, pos + 4 + layout.length.size


def _decode_items(buffer: Any, pos: int, item_type: ValueType, count: int, layout: ByteLayout) -> tuple[Array, int]:
    items: list[Any] = []
    if item_type in SIZES:
        dtype = np.dtype(f"{layout.order}{_CODES[item_type]}")
        values = np.frombuffer(buffer, np.uint8 if item_type is ValueType.BOOL else dtype, count, pos)
        items = (values != 0).tolist() if item_type is ValueType.BOOL else values.tolist()
        return Array(items, item_type), pos + count * SIZES[item_type]
    if item_type is ValueType.STR:
        unpack, width = layout.length.unpack_from, layout.length.size
        for _ in range(count):
            start = pos + width
            pos = start + unpack(buffer, pos)[0]
            items.append(str(buffer[start:pos], "utf-8", "surrogateescape"))
        return Array(items, item_type), pos
    for _ in range(count):
        item, pos = _decode(buffer, pos, item_type, layout)
        items.append(item)
    return Array(items, item_type), pos


# -- writing


def typed(value: Any, what: str) -> Any:
    """Give a plain Python value its GGUF type by the rules at the head of this file.

    Parameters
    ----------
    value : object
    what : str
        Names the value in the error.

    Raises
    ------
    GGUFError
        If GGUF has no type for it.
    """
    if isinstance(value, bool | str | Array | _Int | F32 | F64):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return _typed_numpy(value, what)
    if isinstance(value, int):
        return _narrowest((value,), what, (U32, I32, U64, I64))(value)
    if isinstance(value, float):
        return F32(value)
    if isinstance(value, list | tuple):
        return Array(value, _item_type(value, what))
    raise GGUFError(
        f"{what} cannot be stored as GGUF metadata",
        found=f"{type(value).__name__} {shortened(value, 60)}",
        expected="a bool, int, float, str, or a list of one of these",
    )


def _typed_numpy(value: Any, what: str) -> Any:
    type_ = _DTYPES.get(value.dtype.newbyteorder("="))
    if type_ is None or value.ndim > 1:
        raise GGUFError(
            f"{what} cannot be stored as GGUF metadata",
            found=f"a NumPy value of {value.dtype} and shape {value.shape}",
            expected="a scalar or 1-D array of bool, an integer or float32 / float64",
        )
    return Array(value.tolist(), type_) if value.ndim else _TYPED[type_](value.item())


def _narrowest(values: Collection[int], what: str, order: tuple[type[_Int], ...]) -> type[_Int]:
    low, high = min(values), max(values)
    for cls in order:
        first, last = _int_range(cls.value_type)
        if first <= low and high <= last:
            return cls
    raise GGUFError(f"{what} does not fit 64 bits", found=shortened(low if low < -(2**63) else high, 60))


def _int_range(type_: ValueType) -> tuple[int, int]:
    info = np.iinfo(np.dtype(_CODES[type_]))
    return int(info.min), int(info.max)


def _item_type(items: list[Any] | tuple[Any, ...], what: str) -> ValueType:
    if not items:
        raise GGUFError(f"{what} is empty, so the type of its items is unknown", expected='e.g. Array([], "i32")')
    kinds = {_kind(item) for item in items}
    if len(kinds) == 1 and (kind := kinds.pop()) is not None:
        return _narrowest(items, what, (I32, U32, I64, U64)).value_type if kind is ValueType.I32 else kind
    raise GGUFError(
        f"{what} has items that do not share a type",
        found=sorted({type(item).__name__ for item in items}),
        expected="all bool, all int, all float, all str or all lists",
    )


def _kind(item: Any) -> ValueType | None:
    """I32 stands for every plain int."""
    if isinstance(item, Array):
        return ValueType.ARR
    if isinstance(item, _Int | F32 | F64):
        return item.value_type
    if isinstance(item, np.generic):
        return _DTYPES.get(item.dtype.newbyteorder("="))
    kinds = {bool: ValueType.BOOL, int: ValueType.I32, float: ValueType.F32, str: ValueType.STR}
    return kinds.get(type(item)) or (ValueType.ARR if isinstance(item, list | tuple) else None)


def encode(value: Any, layout: ByteLayout, what: str) -> bytes:
    """Write one typed value, without its type id.

    Raises
    ------
    GGUFError
        An item that does not fit the array's type, a string that is not Unicode, arrays nested too deeply.
    """
    return b"".join(_encode(value, layout, what, 0))


def _encode(value: Any, layout: ByteLayout, what: str, depth: int) -> Iterable[bytes]:
    if isinstance(value, Array):
        if depth == MAX_NESTING:
            raise GGUFError(f"{what} is nested too deeply", expected=f"at most {MAX_NESTING} levels of arrays")
        yield layout.u32.pack(value.item_type)
        yield encode_length(len(value), layout, what)
        yield from _encode_items(value, layout, what, depth)
    elif isinstance(value, str):
        raw = encode_text(value, what)
        yield encode_length(len(raw), layout, what)
        yield raw
    else:
        yield struct.pack(f"{layout.order}{_CODES[type_of(value)[0]]}", value)


def _encode_items(items: Array, layout: ByteLayout, what: str, depth: int) -> Iterable[bytes]:
    item_type = items.item_type
    if item_type in SIZES:
        try:
            yield struct.pack(f"{layout.order}{len(items)}{_CODES[item_type]}", *items)
        except (struct.error, OverflowError, TypeError, ValueError):
            index = next(i for i, item in enumerate(items) if not _fits(item, item_type))
            raise GGUFError(f"{what}[{index}] is not a {item_type}", found=shortened(items[index], 60)) from None
        if item_type is ValueType.BOOL and not all(isinstance(item, bool | np.bool_) for item in items):
            index = next(i for i, item in enumerate(items) if not isinstance(item, bool | np.bool_))
            raise GGUFError(f"{what}[{index}] is not a bool", found=shortened(items[index], 60))
        return
    for index, item in enumerate(items):
        name = f"{what}[{index}]"
        value = typed(item, name)
        if type_of(value)[0] is not item_type:
            raise GGUFError(f"{name} is not a {item_type}", found=shortened(item, 60))
        yield from _encode(value, layout, name, depth + 1)


def _fits(item: Any, type_: ValueType) -> bool:
    try:
        struct.pack(f"={_CODES[type_]}", item)
    except (struct.error, OverflowError, TypeError, ValueError):
        return False
    return True


def encode_text(text: str, what: str) -> bytes:
    """UTF-8, with lone surrogates turned back into the bytes they stand for."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise GGUFError(f"{what} is not Unicode text", found=text[error.start : error.end]) from None


def encode_length(length: int, layout: ByteLayout, what: str) -> bytes:
    """A count or length; version 1 has only 4 bytes for it."""
    if length >> (8 * layout.length.size):
        raise GGUFError(f"{what} is too long for GGUF version {layout.version}", found=length, expected="version=3")
    return layout.length.pack(length)
