"""A model on one page: the matrices of a layer in the order in which a token meets them, drawn to scale."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qviz._arguments import check_record
from qviz.errors import WidgetError

_LAYER = re.compile(r"blk\.(\d+)\.")


class ModelTensor(NamedTuple):
    """A tensor of a model, without its weights.

    Attributes
    ----------
    shape : tuple of int
        NumPy order.
    format : str
    nbytes : int
    kind : str
        What it does: ``"attn_q"``, ``"ffn_down"``, ``"output_norm"``.
    """

    shape: tuple[int, ...]
    format: str
    nbytes: int
    kind: str


check_record(ModelTensor, WidgetError)


@dataclass(frozen=True)
class MapTensor:
    """One box of the map.

    Attributes
    ----------
    name, kind, format : str
        `kind` is the name without its layer; of a bias, ``"attn_q.bias"``.
    rows, columns : int
        Outputs and inputs; a norm has one row.
    copies : int
        Experts, or 1.
    step : int
        Index into `ModelMap.steps`.
    nbytes : int
        Size of this tensor.
    share : float
        Share of the model's bytes that tensors of this kind have in all layers together, 0 … 1.
    """

    name: str
    kind: str
    format: str
    rows: int
    columns: int
    copies: int
    step: int
    nbytes: int
    share: float


@dataclass(frozen=True)
class ModelMap:
    """A model as steps of boxes.

    Attributes
    ----------
    title : str
    n_layers, layer : int
        How many, and the one on show.
    steps : tuple of str
        What happens, from left to right.
    inside : tuple of int
        1 for the steps of a layer, 0 for those before and after.
    adds : tuple of int
        1 for the steps whose result is added to the residual stream.
    tensors : tuple of MapTensor
    current : int
        The box on show; −1 for none.
    """

    title: str
    n_layers: int
    layer: int
    steps: tuple[str, ...]
    inside: tuple[int, ...]
    adds: tuple[int, ...]
    tensors: tuple[MapTensor, ...]
    current: int


class _Step(NamedTuple):
    """What happens, by which kinds of tensors; in each layer or once; whether the residual stream takes its result."""

    title: str
    kinds: tuple[str, ...]
    inside: bool = True
    adds: bool = False


_STEPS = (
    _Step("look up", ("token_embd", "position_embd"), inside=False),
    _Step("norm", ("attn_norm",)),
    _Step("ask", ("attn_q", "attn_k", "attn_v", "attn_qkv", "attn_q_norm", "attn_k_norm", "attn_sinks")),
    _Step("answer", ("attn_output",), adds=True),
    _Step("norm", ("post_attention_norm",), adds=True),
    _Step("norm", ("ffn_norm",)),
    _Step("route", ("ffn_gate_inp",)),
    _Step("widen", ("ffn_gate", "ffn_up", "ffn_gate_up", "ffn_gate_exps", "ffn_up_exps")),
    _Step("narrow", ("ffn_down", "ffn_down_exps"), adds=True),
    _Step("norm", ("post_ffw_norm",), adds=True),
    _Step("norm", ("output_norm",), inside=False),
    _Step("predict", ("output",), inside=False),
    _Step("the rest", (), inside=False),
)

MEANING: Mapping[str, tuple[str, str]] = {
    "token_embd": (
        "A row for each token of the vocabulary: what the model begins with.",
        "An error here reaches every layer, but only for tokens that use the row. Where there is no output matrix, it "
        "also moves every prediction.",
    ),
    "position_embd": ("A row for each position, added to the token's.", "An error here reaches every layer."),
    "attn_norm": ("Scales the residual stream before attention.", "Norms are small, and stay in F32."),
    "attn_q": (
        "Makes the queries: what each position looks for.",
        "An error moves scores, so a little attention goes to other tokens; the softmax forgives small ones.",
    ),
    "attn_k": (
        "Makes the keys: what each position offers to be found by.",
        "As for queries, but every later token meets the same wrong key: it is kept in the cache.",
    ),
    "attn_v": (
        "Makes the values: what is handed over when a position is looked at.",
        "An error passes straight through the average into the result, which is why recipes give it more bits.",
    ),
    "attn_qkv": ("Queries, keys and values in one matrix.", "Its last rows, the values, are the sensitive ones."),
    "attn_output": ("Mixes the heads.", "Its error is added to the residual stream, and stays there."),
    "attn_q_norm": ("Scales each query.", "Norms are small, and stay in F32."),
    "attn_k_norm": ("Scales each key.", "Norms are small, and stay in F32."),
    "attn_sinks": ("One more score a head, which takes attention and gives nothing.", "Stays in F32."),
    "post_attention_norm": ("Scales what attention found.", "Norms are small, and stay in F32."),
    "ffn_norm": ("Scales the residual stream before the feed-forward half.", "Norms are small, and stay in F32."),
    "ffn_gate_inp": (
        "The router: says which experts a token meets.",
        "An error can send a token to other experts; so it stays in F32.",
    ),
    "ffn_gate": ("Opens or closes each of the wide values.", "Its error is bent by the activation, then multiplied."),
    "ffn_up": ("Makes the wide values.", "Its error is multiplied by what the gate lets through."),
    "ffn_gate_up": ("Gate and wide values in one matrix.", "Its error goes into their product."),
    "ffn_down": (
        "Brings the wide values back to the stream.",
        "Few of its inputs are large, and its error is added to the residual stream: recipes give it more bits.",
    ),
    "post_ffw_norm": ("Scales what the feed-forward half found.", "Norms are small, and stay in F32."),
    "output_norm": ("Scales the stream for the last time.", "Norms are small, and stay in F32."),
    "output": (
        "A row for each token: how well it fits as the next one.",
        "Its error goes straight into the predictions; nothing comes after it that could forgive.",
    ),
}
"""Kind of tensor -> what it does, and where its error goes."""


def meaning(kind: str) -> tuple[str, str]:
    """What a kind of tensor does, and where its error goes.

    Examples
    --------
    >>> meaning("attn_v.bias")[0]
    'Is added to what attn_v makes.'
    >>> meaning("ffn_up_exps")[0]
    'Makes the wide values. One for each expert.'
    """
    plain = kind.removesuffix(".bias")
    if plain != kind:
        return f"Is added to what {plain} makes.", "Small, and stays in F32."
    if plain.endswith("_exps"):
        does, goes = MEANING[plain.removesuffix("_exps")]
        return f"{does} One for each expert.", goes
    return MEANING.get(plain, ("", ""))


def model_map(title: str, parts: Mapping[str, ModelTensor], layer: int = 0, current: str | None = None) -> ModelMap:
    """Put the tensors of a model where a token meets them.

    Parameters
    ----------
    title : str
    parts : mapping of str to ModelTensor
        Name -> tensor.
    layer : int
        The layer to show.
    current : str, optional
        Kind of the box on show; the first matrix of the layer unless given. None is on show if there is none of it.

    Returns
    -------
    ModelMap

    Raises
    ------
    WidgetError
        No tensors, or no such layer.

    Examples
    --------
    >>> parts = {"token_embd.weight": ModelTensor((9, 4), "F16", 72, "token_embd"),
    ...          "blk.0.attn_q.weight": ModelTensor((4, 4), "Q8_0", 17, "attn_q")}
    >>> drawn = model_map("a toy", parts)
    >>> drawn.steps, drawn.tensors[1].kind, round(drawn.tensors[1].share, 2)
    (('look up', 'ask'), 'attn_q', 0.19)
    """
    if not parts:
        raise WidgetError("a model without tensors has no map")
    layers = [int(match[1]) for name in parts if (match := _LAYER.match(name))]
    n_layers = max(layers, default=-1) + 1
    if n_layers and layer not in layers:
        raise WidgetError(f"no layer {layer}; {title} has tensors of layers {', '.join(map(str, sorted(set(layers))))}")
    total = sum(part.nbytes for part in parts.values()) or 1
    of_kind: dict[tuple[str, bool], int] = {}
    for name, part in parts.items():
        key = part.kind, _LAYER.match(name) is not None
        of_kind[key] = of_kind.get(key, 0) + part.nbytes
    shown = [name for name in parts if (match := _LAYER.match(name)) is None or int(match[1]) == layer]
    steps = [_step_of(parts[name].kind) for name in shown]
    there = sorted(set(steps))
    tensors = [
        _tensor(name, parts[name], there.index(step), of_kind[parts[name].kind, bool(_LAYER.match(name))] / total)
        for step, name in sorted(zip(steps, shown, strict=True), key=lambda pair: pair[0])
    ]
    return ModelMap(
        title,
        n_layers,
        layer,
        tuple(_STEPS[step].title for step in there),
        tuple(int(_STEPS[step].inside) for step in there),
        tuple(int(_adds(step, there)) for step in there),
        tuple(tensors),
        _current(tensors, current),
    )


def _step_of(kind: str) -> int:
    plain = kind.removesuffix(".bias")
    return next((n for n, step in enumerate(_STEPS) if plain in step.kinds), len(_STEPS) - 1)


def _adds(step: int, there: Sequence[int]) -> bool:
    """Whether the residual stream takes the result of a step, or that of the norm right behind it."""
    behind = _STEPS[step + 1] if step + 1 < len(_STEPS) else None
    normed = behind is not None and behind.adds and step + 1 in there
    return _STEPS[step].adds and not normed


def _tensor(name: str, part: ModelTensor, step: int, share: float) -> MapTensor:
    *more, columns = part.shape or (1,)
    rows = more[-1] if more else 1
    copies = more[0] if len(more) > 1 else 1
    return MapTensor(name, part.kind, part.format, rows, columns, copies, step, part.nbytes, share)


def _current(tensors: Sequence[MapTensor], kind: str | None) -> int:
    for n, tensor in enumerate(tensors):
        if tensor.kind == kind or (kind is None and tensor.name.startswith("blk.") and tensor.rows > 1):
            return n
    return 0 if kind is None else -1
