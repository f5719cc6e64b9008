"""What ``llama-quantize`` can be told besides a recipe: one record of all its switches."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from qviz._arrays import flag, whole_numbers
from qviz._files import read_text
from qviz.errors import RecipeError, shortened
from qviz.formats import Format, get

_LAYER = re.compile(r"blk\.(\d+)\.")
# llama.cpp's patterns are those of C++; a few mean something else in Python, or nothing in C++.
_PIECE = re.compile(r"\\.|\[\^?(?:\[:\w+:\]|\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|\(\?.?|.", re.DOTALL)
_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}

_NUMBERS = {
    "int": re.compile(r"[ ]*[+-]?[0-9]+"),
    "float": re.compile(r"[ ]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|nan)", re.IGNORECASE),
}


def _several(values: Any, what: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """One, or a list of them, as a tuple."""
    items = (values,) if isinstance(values, kinds) else values
    if not isinstance(items, list | tuple) or not all(isinstance(item, kinds) for item in items):
        wanted = " or ".join("text" if kind is str else kind.__name__ for kind in kinds)
        raise RecipeError(f"{what} is {shortened(values)}; a {wanted} or a list of them is wanted")
    return tuple(items)


@dataclass(frozen=True, slots=True)
class TensorType:
    r"""A row of ``--tensor-type``: tensors whose name the pattern is found in get this format.

    Parameters
    ----------
    pattern : str
        A regular expression, in lower case as llama.cpp makes it: upper-case classes such as ``\S`` change their
        meaning, so they are refused.
    format : str or Format
    """

    pattern: str
    format: Format

    def __init__(self, pattern: str, format: str | Format) -> None:
        if not isinstance(pattern, str):
            raise RecipeError(f"pattern is {shortened(pattern)}; a regular expression is wanted")
        object.__setattr__(self, "pattern", pattern.lower())
        object.__setattr__(self, "format", get(format))
        if re.search(r"\\[A-Z]", pattern):
            raise RecipeError(
                f"pattern {pattern!r} has a class in upper case, which llama.cpp would turn into its opposite; "
                f"write it as a set, such as [^ ]"
            )
        try:
            re.compile(_in_python(self.pattern))
        except re.error as problem:
            raise RecipeError(f"{pattern!r} is not a regular expression: {problem}") from None

    def fits(self, name: str) -> bool:
        """Whether the pattern is found in a tensor's name."""
        return re.search(_in_python(self.pattern), name) is not None

    @classmethod
    def parse(cls, text: str) -> TensorType:
        """From ``PATTERN=TYPE``, cut at the first ``=``.

        Examples
        --------
        >>> TensorType.parse("ffn_down=q6_K").format.name
        'Q6_K'
        """
        pattern, sign, name = _text(text).partition("=")
        if not (pattern and sign and name):
            raise RecipeError(f"--tensor-type {shortened(text)} is no PATTERN=TYPE, such as attn_v=q6_k")
        return cls(pattern, name)

    def __str__(self) -> str:
        return f"{self.pattern}={self.format.name.lower()}"


@functools.cache
def _in_python(pattern: str) -> str:
    """A pattern as C++ reads it, in Python's words: ``[[:digit:]]`` is ``[0-9]``."""
    written = ""
    for piece in _PIECE.findall(pattern):
        odd = piece in ("{", "[", "[]", "[^]", r"\a") or (piece[:2] == "(?" and piece[2:] not in (":", "=", "!"))
        if piece[0] == "[" and not odd:
            classes = re.findall(r"\[:(\w+):\]", piece)
            odd = "[." in piece or "[=" in piece or not _POSIX.keys() >= set(classes)
            for name in () if odd else classes:
                piece = piece.replace(f"[:{name}:]", _POSIX[name])
        if odd:
            raise RecipeError(f"pattern {pattern!r} has {piece!r}, which llama.cpp refuses or reads otherwise")
        written += piece
    return written


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How a recipe is changed, as the switches of ``llama-quantize`` of the same names do.

    Parameters
    ----------
    pure : bool
        The base format everywhere, no rules.
    leave_output_tensor : bool
        ``output.weight`` stays as it is.
    output_tensor_type, token_embedding_type : str or Format, optional
        What ``output.weight`` and the token embeddings become, whatever the rules say, `pure` or not.
    tensor_type : sequence of TensorType or str
        ``PATTERN=TYPE``; the first that fits a tensor decides. Such tensors are not counted by rules that ask for the
        first of a kind.
    include_weights, exclude_weights : sequence of str
        Use the importance matrix only for tensors whose names contain one of these, or none of these; not both.
    keep_split : bool
        A model in several files stays in as many.
    prune_layers : sequence of int
        Layers to leave out; those above move down.
    override_kv : mapping of str to int, float, bool or str
        Metadata to write, which also counts when the rules ask for it.

    Examples
    --------
    >>> Switches(token_embedding_type="q8_0", prune_layers=[3, 1]).prune_layers
    (1, 3)
    """

    pure: bool = False
    leave_output_tensor: bool = False
    output_tensor_type: Format | str | None = None
    token_embedding_type: Format | str | None = None
    tensor_type: tuple[TensorType, ...] = ()
    include_weights: tuple[str, ...] = ()
    exclude_weights: tuple[str, ...] = ()
    keep_split: bool = False
    prune_layers: tuple[int, ...] = ()
    override_kv: Mapping[str, int | float | bool | str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name in ("output_tensor_type", "token_embedding_type"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else get(value))
        for name in ("pure", "leave_output_tensor", "keep_split"):
            object.__setattr__(self, name, flag(getattr(self, name), name, RecipeError))
        rows = _several(self.tensor_type, "tensor_type", (str, TensorType))
        rows = tuple(row if isinstance(row, TensorType) else TensorType.parse(row) for row in rows)
        object.__setattr__(self, "tensor_type", rows)
        for name in ("include_weights", "exclude_weights"):
            object.__setattr__(self, name, _several(getattr(self, name), name, (str,)))
        if self.include_weights and self.exclude_weights:
            raise RecipeError("include_weights and exclude_weights are both given; give one of them")
        layers = whole_numbers(self.prune_layers, "prune_layers", RecipeError)
        object.__setattr__(self, "prune_layers", tuple(sorted(set(layers))))
        if not isinstance(self.override_kv, Mapping):
            raise RecipeError(f"override_kv is {shortened(self.override_kv)}; a mapping from key to value is wanted")
        for key, value in self.override_kv.items():
            if not isinstance(key, str) or not isinstance(value, int | float | str):
                raise RecipeError(
                    f"override_kv {shortened(key)} is {shortened(value)}; an int, a float, a bool or a text is wanted"
                )
            if key in ("split.no", "split.count", "split.tensors.count"):
                raise RecipeError(f"override_kv {key!r} says how the file is laid out, and cannot be chosen")
        object.__setattr__(self, "override_kv", MappingProxyType(dict(self.override_kv)))

    def new_names(self, names: Iterable[str]) -> dict[str, str]:
        """Name in the source -> name in the new file, without what `prune_layers` leaves out.

        Raises
        ------
        RecipeError
            The model has no such layer, or would have none left.
        """
        if not self.prune_layers:
            return {name: name for name in names}
        layers = {name: int(m[1]) for name in names if (m := _LAYER.search(name))}
        present = sorted(set(layers.values()))
        if missing := [layer for layer in self.prune_layers if layer not in present]:
            raise RecipeError(f"prune_layers names layer {missing[0]}; this model has layers {_span(present)}")
        kept = [layer for layer in present if layer not in self.prune_layers]
        if not kept:
            raise RecipeError("prune_layers leaves no layer; keep one at least")
        # layers below the first that goes keep their numbers
        moved = {layer: layer if layer < self.prune_layers[0] else None for layer in kept}
        following = max((layer for layer in kept if layer < self.prune_layers[0]), default=-1) + 1
        for layer in kept:
            if moved[layer] is None:
                moved[layer] = following
                following += 1
        return {
            name: _LAYER.sub(f"blk.{moved[layers[name]]}.", name, count=1) if name in layers else name
            for name in names
            if layers.get(name) not in self.prune_layers
        }

    def chosen(self, importance: Mapping[str, Any]) -> list[str]:
        """The names in an importance matrix that `include_weights` and `exclude_weights` leave."""
        return [
            name
            for name in importance
            if not any(text in name for text in self.exclude_weights)
            and (not self.include_weights or any(text in name for text in self.include_weights))
        ]


NO_SWITCHES = Switches()
"""No switch at all: everything is as the recipe says."""


def read_tensor_types(path: str | os.PathLike[str]) -> tuple[TensorType, ...]:
    """``PATTERN=TYPE`` after ``PATTERN=TYPE`` from a text file, with white space between.

    Raises
    ------
    RecipeError
        The file cannot be read, or a word in it is no such row.
    """
    return tuple(map(TensorType.parse, read_text(path, limit=1 << 20, error=RecipeError).split()))


def _text(x: Any) -> str:
    if not isinstance(x, str):
        raise RecipeError(f"{shortened(x)} is no text")
    return x


def parse_override(text: str) -> tuple[str, int | float | bool | str]:
    """From ``KEY=TYPE:VALUE`` with TYPE int, float, bool or str.

    Examples
    --------
    >>> parse_override("tokenizer.ggml.add_bos_token=bool:false")
    ('tokenizer.ggml.add_bos_token', False)
    """
    key, sign, typed = _text(text).partition("=")
    kind, colon, value = typed.partition(":")
    readers: dict[str, Any] = {
        "int": int,
        "float": float,
        "bool": {"true": True, "false": False}.__getitem__,
        "str": str,
    }
    if not (key and sign and colon) or kind not in readers:
        raise RecipeError(f"--override-kv {shortened(text)} is no KEY=TYPE:VALUE with TYPE int, float, bool or str")
    if kind == "str" and len(value.encode()) > 127:
        raise RecipeError(f"--override-kv {key}: the text has {len(value.encode())} bytes; llama.cpp takes 127 at most")
    try:
        if kind in _NUMBERS and not _NUMBERS[kind].fullmatch(value):  # Python reads 1_000, too, and other digits
            raise ValueError
        number = readers[kind](value)
        if kind == "int" and not -(1 << 63) <= number < 1 << 63:
            raise ValueError
        return key, number
    except (ValueError, KeyError):
        raise RecipeError(f"--override-kv {shortened(key)}: {shortened(value)} is no {kind}") from None


def _span(layers: list[int]) -> str:
    return f"{layers[0]} … {layers[-1]}" if layers else "that have no numbers"
