"""What a model is made of, read from a GGUF file's metadata by the table of its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qviz._arrays import whole_number
from qviz.architectures import ARCHITECTURES, REQUIRED, Architecture, Inactive, Setting, size
from qviz.errors import LlamaError
from qviz.gguf.settings import LARGEST_COUNT, Settings, shown
from qviz.gguf.settings import REQUIRED as NO_DEFAULT

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class LlamaConfig:
    """The numbers that turn tensors into a model.

    Attributes
    ----------
    n_layers, n_embd, n_ff, n_vocab, n_ctx : int
        Layers, width of the residual stream, width inside the feed-forward block, tokens, longest context.
    n_head, n_head_kv, head_size : int
        Query heads, key / value heads (fewer in grouped-query attention), width of one head.
    rope_size : int
        How much of each head is turned by its position.
    rope_base, norm_eps : float
        Base of the rotation frequencies; what RMSNorm adds below the root.
    attention_scale : float
        What a score is multiplied with.
    rope_factor, rope_magnitude : float
        What positions are divided by; what sines and cosines are multiplied with.
    """

    n_layers: int
    n_embd: int
    n_ff: int
    n_vocab: int
    n_ctx: int
    n_head: int
    n_head_kv: int
    head_size: int
    rope_size: int
    rope_base: float
    norm_eps: float
    attention_scale: float
    rope_factor: float = 1.0
    rope_magnitude: float = 1.0

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], n_vocab: int | None = None) -> LlamaConfig:
        """Read the ``llama.*`` keys.

        Parameters
        ----------
        metadata : mapping
            A GGUF file's.
        n_vocab : int, optional
            Rows of the embedding, where the file does not say how many tokens there are.

        Raises
        ------
        LlamaError
            Another architecture, a key that is missing or holds what it cannot, one that would change the answer and is
            not known here, or numbers that contradict each other.
        """
        if n_vocab is not None:
            n_vocab = whole_number(n_vocab, "n_vocab", LlamaError, least=1)
        values = read_settings(architecture_of(metadata), metadata)
        _check_heads(values)
        factor = values["rope_factor"] if values["rope_factor"] is not None else values["rope_factor_2023"]
        return cls(
            **{name: values[name] for name in cls.__dataclass_fields__ if name in values}
            | {
                "n_vocab": _vocabulary(metadata, values["n_vocab"], n_vocab),
                "attention_scale": values["attention_scale"] or values["head_size"] ** -0.5,
                "rope_factor": 1.0 if values["rope_scaling"] == "none" else factor or 1.0,
            }
        )


def architecture_of(metadata: Mapping[str, Any]) -> Architecture:
    """The record of a file's architecture.

    Raises
    ------
    LlamaError
        One that does not run here, or none.
    """
    names = tuple(ARCHITECTURES)
    name = Settings(metadata, error=LlamaError).text("general.architecture")
    if name not in names:
        raise LlamaError(
            f"general.architecture is {shown(name)}; what runs here is {', '.join(names)}. "
            f"Other models can be listed and quantized"
        )
    return ARCHITECTURES[name]


def read_settings(architecture: Architecture, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a family, by the names that its record gives them.

    Parameters
    ----------
    architecture : Architecture
    metadata : mapping

    Returns
    -------
    dict of str to int, float, str or None

    Raises
    ------
    LlamaError
        As for `LlamaConfig.from_metadata`.
    """
    settings = Settings(metadata, f"{architecture.name}.", LlamaError)
    values: dict[str, Any] = {}
    for setting in architecture.settings:
        values[setting.name] = _read(settings, setting, values)
    for key in architecture.unread:
        settings.used.add(f"{architecture.name}.{key}")
    for inactive in architecture.inactive:
        if inactive.key in settings:
            _check_silent(settings, inactive, values)
    if left := settings.left():
        raise LlamaError(
            f"the metadata have {', '.join(shown(key) for key in left[:3])}{' and more' if len(left) > 3 else ''}, "
            f"which is not known here and might change what the model computes; write the file anew without it if it "
            f"does not matter"
        )
    return values


def _read(settings: Settings, setting: Setting, values: Mapping[str, Any]) -> Any:
    default: Any = NO_DEFAULT if setting.default is REQUIRED else setting.default
    if setting.kind == "text":
        return settings.text(setting.key, default, choices=setting.choices or None)
    if setting.kind == "number":
        return settings.number(
            setting.key, default, above=setting.above, least=setting.least, most=min(setting.most, _LARGEST_FLOAT)
        )
    if isinstance(default, str):
        default = size(default, values)
    least, most = int(max(setting.least, 1)), int(min(setting.most, LARGEST_COUNT))
    if not setting.in_layers:
        return settings.count(setting.key, default, least=least, most=most)
    found = settings.counts(setting.key, values["n_layers"], default, least=least, most=most)
    if not isinstance(found, tuple):
        return found
    if len(set(found)) > 1:
        raise LlamaError(f"{setting.key} differs among the layers ({shown(list(found))}); such models do not run here")
    return found[0]


def _check_silent(settings: Settings, inactive: Inactive, values: Mapping[str, Any]) -> None:
    """Refuse a key that asks for something that does not run here."""
    value = settings.raw(inactive.key)
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if inactive.from_setting and number and value >= values[inactive.from_setting]:
        return
    for silent in inactive.values:
        # True equals 1: flags are compared with flags, numbers with numbers
        if (number or isinstance(value, bool)) and isinstance(silent, bool) != number and value == silent:
            return
    raise LlamaError(
        f"{settings.prefix}{inactive.key} is {shown(value)}: {inactive.what} does not run here, "
        f"and without it the answers would be wrong"
    )


def _check_heads(values: Mapping[str, Any]) -> None:
    heads, shared, width, turned = (values[name] for name in ("n_head", "n_head_kv", "head_size", "rope_size"))
    if heads % shared or turned % 2 or turned > width or width < 1:
        raise LlamaError(
            f"{heads} query heads over {shared} key heads, {turned} of {width} values turned: "
            f"heads must divide evenly, and pairs must fit a head"
        )
    if values["value_size"] != width:
        raise LlamaError(
            f"keys have {width} values a head and values {values['value_size']}; only heads of one width run here"
        )


def _vocabulary(metadata: Mapping[str, Any], stated: int | None, rows: int | None) -> int:
    """How many tokens there are: whatever says so must say the same."""
    tokens = Settings(metadata, error=LlamaError).length("tokenizer.ggml.tokens", None)
    said = {"vocab_size": stated, "tokenizer.ggml.tokens": tokens, "token_embd.weight": rows}
    known = {what: n for what, n in said.items() if n is not None}
    if not known:
        raise LlamaError("nothing says how many tokens there are: no vocab_size, no tokenizer.ggml.tokens")
    if len(set(known.values())) > 1:
        counts = ", ".join(f"{n:,} by {what}" for what, n in known.items())
        raise LlamaError(f"the file holds only a part of a model, or is damaged; tokens that there are: {counts}")
    return next(iter(known.values()))
