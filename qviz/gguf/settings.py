"""Settings out of metadata: each value is checked before anything is done with it, and each that was read is known.

A file from anywhere may say that a model has ``"two"``, ``2.5``, ``NaN`` or ten billion layers. Whoever needs a value
asks here for the type and range that it needs, so that an error names the key, what was wanted and what was found.

Examples
--------
>>> settings = Settings({"llama.block_count": 30, "llama.rope.freq_base": 1e4, "llama.x": 1}, "llama.")
>>> settings.count("block_count"), settings.number("rope.freq_base"), settings.flag("causal", True)
(30, 10000.0, True)
>>> settings.left()
['llama.x']
>>> settings.text("x")
Traceback (most recent call last):
qviz.errors.GGUFError: llama.x is 1; a text is wanted
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from qviz.architectures.base import REQUIRED, Required
from qviz.errors import GGUFError, QvizError, shortened

LARGEST_COUNT = (1 << 31) - 1  # ggml keeps counts in 32 bits

_LARGEST_FLOAT = float(np.finfo(np.float32).max)

_Default = TypeVar("_Default")
_Value = TypeVar("_Value")


class Settings:
    """A reader of typed values.

    Parameters
    ----------
    metadata : mapping of str to object
        A GGUF file's, or plain values. NumPy scalars and arrays count as what they hold.
    prefix : str
        Stands before each key: ``"llama."``.
    error : callable ``(text) -> QvizError``
        What is raised.

    Attributes
    ----------
    prefix : str
    used : set of str
        The whole keys that were asked for.

    Raises
    ------
    QvizError
        By each method, of the class `error`: a value that is missing, of another type, or out of range. A default is
        returned as it is, unchecked.
    """

    def __init__(
        self, metadata: Mapping[str, Any], prefix: str = "", error: Callable[[str], QvizError] = GGUFError
    ) -> None:
        if not isinstance(metadata, Mapping):
            raise error(f"metadata must be a mapping of keys to values, got {shown(metadata)}")
        self._metadata, self.prefix, self._error = metadata, prefix, error
        self.used: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Whether the file has the key (without the prefix); this is no use of it."""
        return self.prefix + key in self._metadata

    def left(self) -> list[str]:
        """The whole keys that begin with the prefix and that nobody asked for, in the order of the file."""
        return [key for key in self._metadata if str(key).startswith(self.prefix) and key not in self.used]

    def count(
        self, key: str, default: _Default | Required = REQUIRED, *, least: int = 1, most: int = LARGEST_COUNT
    ) -> int | _Default:
        """A whole number in `least` … `most`; a float is none, though it be 2.0."""

        def check(value: Any) -> int:
            return self._whole(key, value, least, most)

        return self._take(key, default, _whole_text(least, most), check)

    def counts(
        self,
        key: str,
        length: int,
        default: _Default | Required = REQUIRED,
        *,
        least: int = 1,
        most: int = LARGEST_COUNT,
    ) -> tuple[int, ...] | _Default:
        """`length` whole numbers, as of each layer: an array of so many, or one number that stands for all."""
        wanted = f"{_whole_text(least, most)}, or an array of {length:,}"

        def check(value: Any) -> tuple[int, ...]:
            items = _items(value)
            if items is None:
                return (self._whole(key, value, least, most, wanted),) * length
            self._measure(key, items, wanted, length)
            return tuple(self._whole(f"{key}[{i}]", item, least, most) for i, item in enumerate(items))

        return self._take(key, default, wanted, check)

    def number(
        self,
        key: str,
        default: _Default | Required = REQUIRED,
        *,
        above: float = -math.inf,
        least: float = -math.inf,
        most: float = math.inf,
    ) -> float | _Default:
        """A finite number, whole or not, that is greater than `above` and in `least` … `most`."""
        wanted = _range_text(above, least, most)

        def check(value: Any) -> float:
            plain = _finite(value)
            if plain is None or not (plain > above and least <= plain <= most):
                raise self._wrong(key, value, wanted)
            return plain

        return self._take(key, default, wanted, check)

    def flag(self, key: str, default: _Default | Required = REQUIRED) -> bool | _Default:
        """True or false; a number is neither."""
        wanted = "true or false"

        def check(value: Any) -> bool:
            if not isinstance(value, bool | np.bool_):
                raise self._wrong(key, value, wanted)
            return bool(value)

        return self._take(key, default, wanted, check)

    def text(
        self, key: str, default: _Default | Required = REQUIRED, *, choices: Sequence[str] | None = None
    ) -> str | _Default:
        """A string, one of `choices` where there are some."""
        wanted = "a text" if choices is None else f"one of {', '.join(map(repr, choices))}"

        def check(value: Any) -> str:
            if not isinstance(value, str) or (choices is not None and value not in choices):
                raise self._wrong(key, value, wanted)
            return str(value)

        return self._take(key, default, wanted, check)

    def texts(
        self, key: str, default: _Default | Required = REQUIRED, *, length: int | None = None
    ) -> list[str] | _Default:
        """Strings, `length` of them where it is given; bytes that are no UTF-8 are lone surrogates in them."""
        wanted = _array_text("texts", length)

        def check(value: Any) -> list[str]:
            items = self._sequence(key, value, wanted, length)
            for kind in set(map(type, items)):
                if not issubclass(kind, str):
                    i = next(i for i, item in enumerate(items) if type(item) is kind)
                    raise self._wrong(f"{key}[{i}]", items[i], "a text")
            return list(items)

        return self._take(key, default, wanted, check)

    def integers(
        self,
        key: str,
        default: _Default | Required = REQUIRED,
        *,
        length: int | None = None,
        least: int = -(1 << 63),
        most: int = (1 << 63) - 1,
    ) -> npt.NDArray[np.int64] | _Default:
        """Whole numbers in `least` … `most` as an int64 array, `length` of them where it is given."""
        wanted = _array_text("whole numbers", length)

        def check(value: Any) -> npt.NDArray[np.int64]:
            items = self._sequence(key, value, wanted, length)
            if set(map(type, items)) == {int} and least <= min(items) and max(items) <= most:
                return np.array(items, np.int64)
            return np.array([self._whole(f"{key}[{i}]", x, least, most) for i, x in enumerate(items)], np.int64)

        return self._take(key, default, wanted, check)

    def numbers(
        self, key: str, default: _Default | Required = REQUIRED, *, length: int | None = None
    ) -> npt.NDArray[np.float32] | _Default:
        """Finite numbers as a float32 array, `length` of them where it is given."""
        wanted = _array_text("numbers", length)

        def check(value: Any) -> npt.NDArray[np.float32]:
            items = self._sequence(key, value, wanted, length)
            if set(map(type, items)) == {float} and (np.abs(quick := np.array(items)) <= _LARGEST_FLOAT).all():
                return quick.astype(np.float32)
            for i, item in enumerate(items):
                plain = _finite(item)
                if plain is None or abs(plain) > _LARGEST_FLOAT:
                    raise self._wrong(f"{key}[{i}]", item, "a finite number")
            return np.array(items, np.float32)

        return self._take(key, default, wanted, check)

    def length(self, key: str, default: _Default | Required = REQUIRED) -> int | _Default:
        """How many items an array has; a long one in a file is not decoded for it."""
        whole, wanted = self.prefix + key, "an array"
        self.used.add(whole)
        peek = getattr(self._metadata, "peek", None)
        if peek is None or whole not in self._metadata:
            return self._take(key, default, wanted, lambda value: len(self._sequence(key, value, wanted, None)))
        value, count = peek(whole, 4)
        if count is None:
            raise self._wrong(key, value, wanted)
        return int(count)

    def raw(self, key: str) -> Any:
        """The value as it stands, for who checks it; a key that is missing is an error."""
        return self._take(key, REQUIRED, "a value", lambda value: value)

    def _take(
        self, key: str, default: _Default | Required, wanted: str, check: Callable[[Any], _Value]
    ) -> _Value | _Default:
        whole = self.prefix + key
        self.used.add(whole)
        if whole in self._metadata:
            return check(self._metadata[whole])
        if isinstance(default, Required):
            raise self._error(f"there is no {whole}; {wanted} is wanted")
        return default

    def _whole(self, key: str, value: Any, least: int, most: int, wanted: str | None = None) -> int:
        plain = _plain(value)
        if isinstance(plain, bool) or not isinstance(plain, int) or not least <= plain <= most:
            raise self._wrong(key, value, wanted or _whole_text(least, most))
        return int(plain)

    def _sequence(self, key: str, value: Any, wanted: str, length: int | None) -> Sequence[Any]:
        items = _items(value)
        if items is None:
            raise self._wrong(key, value, wanted)
        self._measure(key, items, wanted, length)
        return items

    def _measure(self, key: str, items: Sequence[Any], wanted: str, length: int | None) -> None:
        if length is not None and len(items) != length:
            raise self._error(f"{self.prefix}{key} has {len(items):,} values; {wanted} is wanted")

    def _wrong(self, key: str, value: Any, wanted: str) -> QvizError:
        return self._error(f"{self.prefix}{key} is {shown(value)}; {wanted} is wanted")


def shown(value: Any, limit: int = 80) -> str:
    """As `qviz.errors.shortened`, with the first few values of a list and how many there are.

    Examples
    --------
    >>> shown([1, 2, 3, 4] * 1000), shown("a" * 200, 10)
    ('[1, 2, 3, ...] (4,000 values)', "'aaaaaaaaaa'...")
    """
    value = _plain(value)
    if isinstance(value, list | tuple):
        first = ", ".join(shown(item, 20) if not isinstance(item, list | tuple) else "[...]" for item in value[:3])
        return f"[{first}, ...] ({len(value):,} values)" if len(value) > 3 else f"[{first}]"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    # a number from a file has a type of GGUF, which does not matter here
    return shortened(int(value) if isinstance(value, int) and not isinstance(value, bool) else value, limit)


def _plain(value: Any) -> Any:
    """A NumPy scalar as what it holds."""
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim) else value
    )


def _finite(value: Any) -> float | None:
    """A number that is finite, as a float; None of anything else."""
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of many digits
        return None


def _items(value: Any) -> Sequence[Any] | None:
    """The items of an array, None of anything else."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.ndim == 1 else None
    return value if isinstance(value, list | tuple) else None


def _whole_text(least: int, most: int) -> str:
    return f"a whole number from {least:,} to {most:,}"


def _array_text(items: str, length: int | None) -> str:
    return f"an array of {items}" if length is None else f"an array of {length:,} {items}"


def _range_text(above: float, least: float, most: float) -> str:
    parts = [f"above {above:g}"] if above > -math.inf else []
    parts += [f"at least {least:g}"] if least > -math.inf else []
    parts += [f"at most {most:g}"] if most < math.inf else []
    return " ".join(["a finite number", " and ".join(parts)]).rstrip()
