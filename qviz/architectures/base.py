"""What a family of models is made of, as data: its tensors, its settings, and how it differs from its relatives.

Whoever runs, converts or draws a model asks its family's record, so that a name, a shape or a default stands in one
place. A shape is written in the words of the settings: ``("n_head * head_size", "n_embd")``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal


class _Required:
    """The default of a setting that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()

Role = Literal["embedding", "matrix", "bias", "norm", "factors"]


@dataclass(frozen=True)
class TensorPlace:
    """One tensor of a model, or one of each layer.

    Attributes
    ----------
    name : str
        In a GGUF file; ``{}`` stands for the layer: ``"blk.{}.attn_q.weight"``.
    shape : tuple of str
        In NumPy's order, each a product of settings' names: ``("n_head * head_size", "n_embd")``; see `size`.
    role : str
        ``"embedding"``: a row for each token; ``"matrix"``: multiplies activations; ``"bias"``: is added to what a
        matrix makes; ``"norm"``: a gain for each value; ``"factors"``: what each rotary frequency is divided by.
    source : str
        Its name in a Hugging Face checkpoint; empty where it is computed from config.json.
    optional : bool
        Whether a model may do without it.
    instead : str
        Name of the tensor that is used where an optional one is missing.
    """

    name: str
    shape: tuple[str, ...]
    role: Role
    source: str = ""
    optional: bool = False
    instead: str = ""

    @property
    def in_layers(self) -> bool:
        """Whether each layer has one."""
        return "{}" in self.name


@dataclass(frozen=True)
class Setting:
    """A number, flag or text of the metadata that the answer depends on.

    Attributes
    ----------
    key : str
        Without the architecture's prefix: ``"attention.head_count"``.
    name : str
        What shapes and the pass call it: ``"n_head"``.
    kind : {"count", "number", "text"}
        A whole number, a finite float, a word.
    default : object
        llama.cpp's value where the key is missing; a str names settings before it, as in `size`. `REQUIRED`: none.
    least, most : float
        The range.
    above : float
        Floats must be greater.
    in_layers : bool
        An array with a value for each layer is allowed. What runs here needs the same one in all.
    choices : tuple of str
        Of a text: what can be run here.
    """

    key: str
    name: str
    kind: Literal["count", "number", "text"] = "count"
    default: object = REQUIRED
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    in_layers: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inactive:
    """A key that says nothing where it has one of a few values; any other would change the answer and is refused.

    Attributes
    ----------
    key : str
        Without the architecture's prefix.
    values : tuple
        Those that say nothing.
    what : str
        What the other values ask for.
    from_setting : str
        Whole numbers from this setting's value on say nothing, either.
    """

    key: str
    values: tuple[object, ...]
    what: str
    from_setting: str = ""


@dataclass(frozen=True)
class Architecture:
    """A family of models.

    Attributes
    ----------
    name : str
        ``general.architecture`` of its GGUF files; its settings' keys begin with it.
    classes : tuple of str
        Hugging Face's names of the family, as config.json has them.
    about : str
        How it works, or how it differs from its plainest relative.
    settings : tuple of Setting
        In the order in which they are read: a default may name those before it.
    tensors : tuple of TensorPlace
    inactive : tuple of Inactive
    unread : tuple of str
        Keys that no answer depends on.
    source : str
        Where this is written down.
    """

    name: str
    classes: tuple[str, ...]
    about: str
    settings: tuple[Setting, ...]
    tensors: tuple[TensorPlace, ...]
    inactive: tuple[Inactive, ...] = ()
    unread: tuple[str, ...] = ()
    source: str = ""
    _places: Mapping[str, TensorPlace] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {place.name: place for place in self.tensors})

    def place(self, name: str) -> TensorPlace:
        """The place of that name, ``{}`` for the layer."""
        return self._places[name]

    def names(self, n_layers: int) -> Iterator[tuple[str, TensorPlace]]:
        """Every tensor that a model of `n_layers` may have, with its place, in the order of the pass."""
        for place in self.tensors:
            if not place.in_layers:
                yield place.name, place
        for layer in range(n_layers):
            for place in self.tensors:
                if place.in_layers:
                    yield place.name.format(layer), place


def size(product: str, values: Mapping[str, object]) -> int:
    """A length that is written as a product of settings, perhaps halved or divided by another.

    Examples
    --------
    >>> size("n_head * head_size", {"n_head": 4, "head_size": 16}), size("n_embd / n_head", {"n_embd": 64, "n_head": 4})
    (64, 16)
    """
    factors, _, divisor = product.partition(" / ")
    total = math.prod(_number(word, values) for word in factors.split(" * "))
    return total // _number(divisor, values) if divisor else total


def _number(word: str, values: Mapping[str, object]) -> int:
    value = int(word) if word.isdigit() else values[word]
    assert isinstance(value, int), f"{word} is {value!r}, no whole number to measure a tensor with"
    return value
