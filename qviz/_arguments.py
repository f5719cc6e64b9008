"""Calls that are wrong are refused before they begin: callbacks, and arguments unlike their annotations."""

from __future__ import annotations

import builtins
import collections.abc
import dataclasses
import functools
import inspect
import itertools
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from qviz._arrays import MOST_NUMBERS
from qviz._types import Progress, no_progress
from qviz.errors import QvizError, shortened

P = ParamSpec("P")
R = TypeVar("R")
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_ARRAY_LIKE = frozenset(typing.get_args(npt.ArrayLike)) or frozenset([npt.ArrayLike])
_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", type(None): "None"}


def reporter(progress: Any, error: Callable[[str], QvizError]) -> Progress:
    """`progress` as the `Progress` that work calls: `no_progress` for None.

    Parameters
    ----------
    progress : Progress or None
    error : callable
        Makes the error that is raised where `progress` cannot be called with ``(what, done, total)``.

    Examples
    --------
    >>> reporter(True, QvizError)
    Traceback (most recent call last):
    qviz.errors.QvizError: progress is True; a callable (what, done, total) is wanted
    """
    if progress is None:
        return no_progress
    fits = callable(progress)
    try:
        if fits:
            inspect.signature(progress).bind("", 0, None)
    except TypeError:
        fits = False
    except ValueError:  # written in C, without a signature: it is tried
        pass
    if not fits:
        raise error(f"progress is {shortened(progress)}; a callable (what, done, total) is wanted")
    told: Progress = progress
    return told


def checked(error: Callable[[str], QvizError]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function to refuse arguments that are unlike their annotations; what is `Any` is not looked at.

    Numbers of NumPy's are numbers. A list where an array is declared becomes one, and an array where a list is
    declared becomes a list.

    Parameters
    ----------
    error : callable
        Makes the error.

    Examples
    --------
    >>> @checked(QvizError)
    ... def twice(x: int) -> int:
    ...     return 2 * x
    >>> twice(2.5)
    Traceback (most recent call last):
    qviz.errors.QvizError: twice: x is 2.5; a whole number is wanted
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        who = function.__qualname__.removesuffix(".__init__").removesuffix(".__new__")
        unchecked = {p.name for p in signature.parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

        @functools.cache  # annotations are texts until somebody asks
        def hints() -> dict[str, Any]:
            names = _Names({**vars(builtins), **getattr(inspect.unwrap(function), "__globals__", {})})
            found = typing.get_type_hints(function, localns=names)
            return {name: hint for name, hint in found.items() if name not in unchecked}

        @functools.cache
        def plain() -> dict[str, tuple[type | None, Any]]:
            return {name: _plain(hints().get(name, Any)) for name in signature.parameters}

        order = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                kinds, given = plain(), (*zip(order, args, strict=False), *kwargs.items())
                fits = (_is_plain(x, *kinds.get(name, (_Anything, None))) for name, x in given)
                if len(args) <= len(order) and all(fits):
                    return function(*args, **kwargs)  # nothing to look at twice
                bound = signature.bind(*args, **kwargs)  # Python says what is missing or too much
                for name, x in bound.arguments.items():
                    hint = hints().get(name, Any)
                    fitted = _fitted(x, hint)
                    if fitted is _NOT:
                        raise error(f"{who}: {name} is {shortened(x)}; {_in_words(hint)} is wanted{_but(x)}")
                    bound.arguments[name] = fitted
                return function(*bound.args, **bound.kwargs)
            except MemoryError as problem:
                raise error(f"{who}: there is not enough memory for so much; take less of it") from problem

        return call

    return decorate


def check_calls(names: dict[str, Any], public: Iterable[str], error: Callable[[str], QvizError]) -> None:
    """Let the public functions of a room refuse arguments that are unlike their annotations, as `checked` does.

    Parameters
    ----------
    names : dict
        The room's ``globals()``, which are changed.
    public : iterable of str
        Its ``__all__``.
    error : callable
        Makes the error.
    """
    for name in public:
        found = names.get(name)  # none where a name is brought in by its first use
        if callable(found) and inspect.isfunction(inspect.unwrap(found)):  # also one that keeps its results
            names[name] = checked(error)(found)


def check_records(names: dict[str, Any], public: Iterable[str], error: Callable[[str], QvizError]) -> None:
    """Let the public records of a room refuse, when they are made, what is unlike their annotations.

    Parameters
    ----------
    names : dict
        The room's ``globals()``.
    public : iterable of str
        Its ``__all__``.
    error : callable
        Makes the error.
    """
    for name in public:
        found = names.get(name)
        if isinstance(found, type) and dataclasses.is_dataclass(found):
            check_record(found, error)


def check_methods(cls: type, error: Callable[[str], QvizError]) -> None:
    """Let a class's constructor and public methods refuse what is unlike their annotations, as `checked` does."""
    for name, method in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(method, classmethod):
            setattr(cls, name, classmethod(checked(error)(method.__func__)))
        elif inspect.isfunction(method):
            setattr(cls, name, checked(error)(method))


def check_record(cls: type, error: Callable[[str], QvizError]) -> None:
    """Let a record refuse, when it is made, what is unlike its annotations, as `checked` does."""
    made = "__new__" if issubclass(cls, tuple) else "__init__"
    setattr(cls, made, checked(error)(getattr(cls, made)))


_NUMBERS = (np.float32, np.float64, np.uint8, np.int32)
_MOST_ITEMS = 1 << 20  # of a list; what has no end has more
_NOT = object()  # what an argument is that its annotation does not allow


class _Anything:
    """A type that is not known here."""

    def __class_getitem__(cls, _item: Any) -> type[_Anything]:
        return cls


class _Names(dict[str, Any]):
    """What names in annotations mean; those that only type checkers import are not looked at."""

    def __missing__(self, name: str) -> Any:
        if name.startswith("__"):  # what debuggers look for in a frame
            raise KeyError(name)
        return _Anything


def _plain(hint: Any) -> tuple[type | None, Any]:
    """The class, and the numbers of an array, that fit an annotation as they are.

    None for what is not looked at; `_Anything`, which nothing is made of, where there is more to it.
    """
    if hint is Any:
        return None, None
    if typing.get_origin(hint) is np.ndarray:
        of = typing.get_args(typing.get_args(hint)[1])
        return (np.ndarray, np.dtype(of[0])) if of and of[0] in _NUMBERS else (_Anything, None)
    return (hint, None) if isinstance(hint, type) and typing.get_origin(hint) is None else (_Anything, None)


def _is_plain(x: Any, kind: type | None, dtype: Any) -> bool:
    if kind is None:
        return True
    same: bool = type(x) is kind  # by a name of its own: type checkers would take what was compared for all there is
    if not same or (kind is int and not -(1 << 63) <= x < 1 << 64):
        return False
    return dtype is None or bool(x.dtype == dtype and x.size <= MOST_NUMBERS)


def _fitted(x: Any, hint: Any) -> Any:
    """`x` as its annotation has it, or `_NOT`."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object, _Anything):
        return x
    if hint is bool:
        return x if isinstance(x, bool | np.bool_) or (isinstance(x, int) and x in (0, 1)) else _NOT
    if hint is int or hint is float:
        whole = isinstance(x, int | np.integer) and not isinstance(x, bool) and -(1 << 63) <= x < 1 << 64
        if whole:
            return int(x)  # 255 + 1 is nothing in uint8
        return x if (hint is float and isinstance(x, float | np.floating)) else _NOT
    if _is_array_like(hint):
        if x is None and type(None) in parts:
            return x
        if callable(dequantize := getattr(x, "dequantize", None)) and not isinstance(x, type):
            return dequantize()
        return x if _array(x, "fiub") is not _NOT else _NOT
    if origin is np.ndarray:
        dtype = typing.get_args(parts[1])[0] if len(parts) > 1 and typing.get_args(parts[1]) else Any
        whole = isinstance(dtype, type) and issubclass(dtype, np.integer)
        return _array(x, "iub" if whole else "fiub", dtype)
    if origin in (typing.Union, types.UnionType):
        return next((fitted for part in parts if (fitted := _fitted(x, part)) is not _NOT), _NOT)
    if origin is typing.Literal:
        return x if isinstance(x, str) and x in parts else _NOT
    if origin in _LISTS:
        return _items(x, origin, parts)
    kind = origin or hint
    if kind in (dict, collections.abc.Mapping) and parts:
        return _entries(x, parts) if isinstance(x, kind) else _NOT
    if isinstance(kind, type) and not getattr(kind, "_is_protocol", False):
        return x if isinstance(x, kind) else _NOT
    return x


def _items(x: Any, origin: Any, parts: tuple[Any, ...]) -> Any:
    if isinstance(x, np.ndarray):
        x = x.tolist() if x.ndim and x.size <= _MOST_ITEMS else None
    if isinstance(x, str | bytes) or not isinstance(x, collections.abc.Iterable):
        return _NOT
    if not isinstance(x, collections.abc.Sequence):
        if origin in (list, tuple):
            return _NOT
        x = list(itertools.islice(x, _MOST_ITEMS + 1))  # once: what makes its items as it goes has no second time
    if len(x) > _MOST_ITEMS:
        return _NOT
    if origin is tuple and len(parts) > 1 and parts[1] is not ...:
        if len(x) != len(parts):
            return _NOT
    else:
        parts = parts[:1] * len(x)
    fitted = [_fitted(*pair) for pair in zip(x, parts, strict=True)] if parts else x
    if any(item is _NOT for item in fitted):
        return _NOT
    same = all(a is b for a, b in zip(fitted, x, strict=True))
    return x if same else tuple(fitted) if isinstance(x, tuple) else fitted


def _entries(x: Any, parts: tuple[Any, ...]) -> Any:
    if any(_fitted(key, parts[0]) is _NOT for key in x):
        return _NOT
    if parts[1] is Any:  # values are not asked for: a model would read its file
        return x
    fitted = {key: _fitted(x[key], parts[1]) for key in x}
    if any(value is _NOT for value in fitted.values()):
        return _NOT
    return x if all(fitted[key] is x[key] for key in x) else fitted


def _array(x: Any, kinds: str, dtype: Any = Any) -> Any:
    """`x` as an array, and as float32 or float64 where that is declared: kernels read no other float."""
    if np.ma.is_masked(x):
        return _NOT
    try:
        array = np.asarray(x)
    except MemoryError:
        raise
    except Exception:  # rows of different lengths; a tensor on a GPU
        return _NOT
    # an empty list has no kind of its own
    if array.size > MOST_NUMBERS or (array.dtype.kind not in kinds and (array.size or array.dtype.kind != "f")):
        return _NOT
    if dtype not in (np.float32, np.float64) or array.dtype == dtype:
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    with np.errstate(over="ignore"):  # as in `_arrays.real_array`
        return array.astype(dtype)


def _but(x: Any) -> str:
    """What else is asked of an array than to be one."""
    if np.ma.is_masked(x):
        return ", without masked values"
    return f", of {MOST_NUMBERS:,} numbers at most" if isinstance(x, np.ndarray) and x.size > MOST_NUMBERS else ""


def _is_array_like(hint: Any) -> bool:
    either = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return hint is npt.ArrayLike or (either and frozenset(typing.get_args(hint)) >= _ARRAY_LIKE)


def _in_words(hint: Any) -> str:
    """What an annotation asks for, in words."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if _is_array_like(hint):
        return "an array of numbers" + (" or None" if type(None) in parts else "")
    if origin is np.ndarray:
        return "an array of numbers" if _fitted([0.5], hint) is not _NOT else "an array of whole numbers"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_in_words, parts))
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin is tuple and len(parts) > 1 and parts[1] is not ...:
        return f"a list of {len(parts)} items ({', '.join(map(_in_words, parts))})"
    if origin in _LISTS:
        return f"a list ({_in_words(parts[0])} for each item)" if parts else "a list"
    kind = origin or hint
    if kind in (collections.abc.Mapping, dict):
        of = f" (from {_in_words(parts[0])} to {_in_words(parts[1])})" if parts and parts[1] is not Any else ""
        return f"a mapping{of}"
    if kind is collections.abc.Callable:
        return "a callable"
    name = getattr(kind, "__name__", str(kind))
    return _WORDS.get(kind) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
