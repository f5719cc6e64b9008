"""What a family of models is made of, as data: its tensors, its settings, and how it differs from its relatives.

Whoever runs, converts or draws a model asks its family's record, so that a name, a shape or a default stands in one
place. A shape is written in the words of the settings: ``("n_head * head_size", "n_embd")``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal


class Required:
    """The default of a setting that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = Required()

Role = Literal["embedding", "positions", "matrix", "experts", "bias", "norm", "factors", "sinks"]
When = Literal["always", "dense", "experts"]
Change = Literal["pairs", "plus one", "transposed", "even rows", "odd rows", "first half", "second half"]
OF_TWO: Final = ("even rows", "odd rows", "first half", "second half")
"""Changes by which one tensor becomes two."""


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
        ``"embedding"``: a row for each token; ``"positions"``: a row for each position; ``"matrix"``: multiplies
        activations; ``"experts"``: several matrices, of which each token meets a few; ``"bias"``: is added to what a
        matrix or a norm makes; ``"norm"``: a gain for each value; ``"factors"``: what each rotary frequency is divided
        by; ``"sinks"``: one more score for each head, which takes attention and gives nothing.
    source : str
        Its name in a Hugging Face checkpoint, ``{}`` for the layer and ``{expert}`` where experts stand one by one;
        empty where it is computed from config.json.
    optional : bool
        Whether a model may do without it.
    instead : str
        Name of the tensor that is used where an optional one is missing.
    part : str
        What the pass calls it, where that is not how its GGUF name reads: ``"ffn_norm"``.
    change : tuple of str
        What becomes of Hugging Face's tensor, step by step. ``"pairs"``: partners of a rotation come to stand side by
        side; ``"plus one"``; ``"transposed"``; every other row, or half of the rows, of a tensor that holds two.
    when : {"always", "dense", "experts"}
        Models of a family may have experts, or none.
    apart : tuple of str
        Names of each expert's own part of it, as `source`, where packers take apart what Hugging Face keeps in one
        tensor. There rows are outputs. The first is the one that is written here.
    """

    name: str
    shape: tuple[str, ...]
    role: Role
    source: str = ""
    optional: bool = False
    instead: str = ""
    part: str = ""
    change: tuple[Change, ...] = ()
    when: When = "always"
    apart: tuple[str, ...] = ()

    @property
    def in_layers(self) -> bool:
        """Whether each layer has one."""
        return "{}" in self.name

    @property
    def kind(self) -> str:
        """What the pass calls it: ``"attn_q"``, ``"attn_q.bias"``."""
        words = self.name.split(".")
        kind = self.part or words[-2]
        return f"{kind}.bias" if words[-1] == "bias" else kind


@dataclass(frozen=True)
class Setting:
    """A number, flag or text of the metadata that the answer depends on.

    Attributes
    ----------
    key : str
        Without the architecture's prefix: ``"attention.head_count"``.
    name : str
        What shapes and the pass call it: ``"n_head"``.
    kind : {"count", "number", "text", "flag", "pattern"}
        A whole number, a finite float, a word, true or false; which layers: every one but each p-th, or a flag each.
    default : object
        llama.cpp's value where the key is missing; a str names settings before it, as in `size`. `REQUIRED`: none.
    least, most : float
        The range.
    above : float
        Floats must be greater.
    in_layers : bool
        An array with a value for each layer is allowed. What runs here needs the same one in all.
    choices : tuple of str
        Texts that can be run here.
    source : str
        Its key in config.json; empty where it follows from several, or from none.
    """

    key: str
    name: str
    kind: Literal["count", "number", "text", "flag", "pattern"] = "count"
    default: object = REQUIRED
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    in_layers: bool = False
    choices: tuple[str, ...] = ()
    source: str = ""


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
    like_setting : str
        Nor does the value of this setting.
    """

    key: str
    values: tuple[object, ...]
    what: str
    from_setting: str = ""
    like_setting: str = ""


@dataclass(frozen=True)
class Architecture:
    """A family of models.

    Attributes
    ----------
    name : str
        ``general.architecture`` of its GGUF files; its settings' keys begin with it.
    classes : mapping of str to mapping
        Hugging Face's names of the family, as config.json has them, and what each means where config.json is silent;
        ``model_type`` where it is not `name`.
    about : str
        How it works, or how it differs from its plainest relative.
    settings : tuple of Setting
        In the order in which they are read: a default may name those before it.
    tensors : tuple of TensorPlace
    inactive : tuple of Inactive
    unread : tuple of str
        Keys that no answer depends on.
    only : mapping of str to tuple
        Keys of config.json that must have one of a few values: GGUF has no words for others.
    prefix : str
        What most names of tensors in a folder begin with; some folders leave it out.
    norm : {"rms", "layer"}
        By the root of the mean square, or by mean and variance.
    rope : {"pairs", "halves", "none"}
        What turns: neighbours (2i, 2i + 1), values half a head apart, or nothing.
    activation : {"silu", "gelu", "clamped"}
        Inside the feed-forward half; ``"clamped"`` is gpt-oss's ``g · sigmoid(1.702 g) · (u + 1)``.
    embedding_root : bool
        Embeddings are multiplied by √n_embd.
    windowed : int
        Layers attend within a window but each so-maniest one, unless the file has a pattern of its own; 0: none does.
    window_rope : {"same", "unscaled"}
        Whether scaling of positions holds in windowed layers, too.
    unturned : int
        Each so-maniest layer turns nothing; 0: all turn.
    wide_scale : int
        A model of so many layers scales scores by √(n_embd / n_head), whatever the width of a head.
    source : str
        Where this is written down.
    """

    name: str
    classes: Mapping[str, Mapping[str, object]]
    about: str
    settings: tuple[Setting, ...]
    tensors: tuple[TensorPlace, ...]
    inactive: tuple[Inactive, ...] = ()
    unread: tuple[str, ...] = ()
    only: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    prefix: str = "model."
    norm: Literal["rms", "layer"] = "rms"
    rope: Literal["pairs", "halves", "none"] = "pairs"
    activation: Literal["silu", "gelu", "clamped"] = "silu"
    embedding_root: bool = False
    windowed: int = 0
    window_rope: Literal["same", "unscaled"] = "same"
    unturned: int = 0
    wide_scale: int = 0
    source: str = ""
    _places: Mapping[str, TensorPlace] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {place.name: place for place in self.tensors})

    def place(self, name: str) -> TensorPlace:
        """The place of that name, ``{}`` for the layer."""
        return self._places[name]

    def names(self, n_layers: int, experts: bool = False) -> Iterator[tuple[str, TensorPlace]]:
        """Every tensor that a model of `n_layers`, with or without experts, may have, with its place.

        Those outside the layers come first, then layer by layer in the order of the pass.
        """
        places = [place for place in self.tensors if place.when in ("always", "experts" if experts else "dense")]
        for place in places:
            if not place.in_layers:
                yield place.name, place
        for layer in range(n_layers):
            for place in places:
                if place.in_layers:
                    yield place.name.format(layer), place


def size(product: str, values: Mapping[str, object]) -> int:
    """A length that is written as a product of settings, perhaps divided by another, or as a sum of those.

    Examples
    --------
    >>> size("n_head * head_size", {"n_head": 4, "head_size": 16}), size("n_embd / n_head", {"n_embd": 64, "n_head": 4})
    (64, 16)
    >>> size("2 * n_embd + 1", {"n_embd": 64})
    129
    """
    if " + " in product:
        return sum(size(part, values) for part in product.split(" + "))
    factors, _, divisor = product.partition(" / ")
    total = math.prod(_number(word, values) for word in factors.split(" * "))
    return total // _number(divisor, values) if divisor else total


def _number(word: str, values: Mapping[str, object]) -> int:
    value = int(word) if word.isdigit() else values[word]
    assert isinstance(value, int), f"{word} is {value!r}, no whole number to measure a tensor with"
    return value
