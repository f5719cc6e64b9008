"""Calls that are wrong are refused before they begin: callbacks, and arguments unlike their annotations."""

from __future__ import annotations

import builtins
import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

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
        signature, who = inspect.signature(function), function.__qualname__.removesuffix(".__init__")
        unchecked = {p.name for p in signature.parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

        @functools.cache  # annotations are texts until somebody asks
        def hints() -> dict[str, Any]:
            names = _Names({**vars(builtins), **getattr(function, "__globals__", {})})
            found = typing.get_type_hints(function, localns=names)
            return {name: hint for name, hint in found.items() if name not in unchecked}

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)  # Python says what is missing or too much
            for name, x in bound.arguments.items():
                hint = hints().get(name, Any)
                fitted = _fitted(x, hint)
                if fitted is _NOT:
                    raise error(f"{who}: {name} is {shortened(x)}; {_in_words(hint)} is wanted")
                bound.arguments[name] = fitted
            return function(*bound.args, **bound.kwargs)

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
        if inspect.isfunction(names.get(name)):
            names[name] = checked(error)(names[name])


def check_methods(cls: type, error: Callable[[str], QvizError]) -> None:
    """Let a class's constructor and public methods refuse what is unlike their annotations, as `checked` does."""
    for name, method in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(method, classmethod):
            setattr(cls, name, classmethod(checked(error)(method.__func__)))
        elif inspect.isfunction(method):
            setattr(cls, name, checked(error)(method))


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
        return _array(x, "iub" if whole else "fiub")
    if origin in (typing.Union, types.UnionType):
        return next((fitted for part in parts if (fitted := _fitted(x, part)) is not _NOT), _NOT)
    if origin is typing.Literal:
        return x if isinstance(x, str) and x in parts else _NOT
    if origin in _LISTS:
        return _items(x, origin, parts)
    kind = origin or hint
    if kind in (dict, collections.abc.Mapping) and parts and isinstance(x, kind) and parts[1] in _WORDS:
        fits = all(_fitted(key, parts[0]) is not _NOT and _fitted(x[key], parts[1]) is not _NOT for key in x)
        return x if fits else _NOT
    if isinstance(kind, type) and not getattr(kind, "_is_protocol", False):
        return x if isinstance(x, kind) else _NOT
    return x


def _items(x: Any, origin: Any, parts: tuple[Any, ...]) -> Any:
    if isinstance(x, np.ndarray) and x.ndim:
        x = x.tolist()
    if isinstance(x, collections.abc.KeysView | collections.abc.ValuesView):
        x = list(x)
    if isinstance(x, str | bytes) or not isinstance(x, collections.abc.Iterable | collections.abc.Sequence):
        return _NOT
    if not isinstance(x, collections.abc.Sequence):
        return x if origin is collections.abc.Iterable or isinstance(x, origin) else _NOT
    if origin is tuple and len(parts) > 1 and parts[1] is not ...:
        fits = len(x) == len(parts) and all(_fitted(*pair) is not _NOT for pair in zip(x, parts, strict=True))
    else:
        fits = not parts or all(_fitted(item, parts[0]) is not _NOT for item in x)
    return x if fits else _NOT


def _array(x: Any, kinds: str) -> Any:
    try:
        array = np.asarray(x)
    except MemoryError:
        raise
    except Exception:  # rows of different lengths; a tensor on a GPU
        return _NOT
    # an empty list has no kind of its own
    return array if array.dtype.kind in kinds or (array.size == 0 and array.dtype.kind == "f") else _NOT


def _is_array_like(hint: Any) -> bool:
    return hint is npt.ArrayLike or frozenset(typing.get_args(hint)) >= _ARRAY_LIKE


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
        return f"a mapping (to {_in_words(parts[1])} for each item)" if parts and parts[1] in _WORDS else "a mapping"
    if kind is collections.abc.Callable:
        return "a callable"
    name = getattr(kind, "__name__", str(kind))
    return _WORDS.get(kind) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
