"""What a model is made of, read from a GGUF file's metadata by the table of its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qviz._arrays import whole_number
from qviz.architectures import ARCHITECTURES, Architecture
from qviz.errors import LlamaError
from qviz.gguf.family import read_settings
from qviz.gguf.settings import Settings, shown


@dataclass(frozen=True)
class TransformerConfig:
    """The numbers that turn tensors into a model.

    Attributes
    ----------
    n_layers, n_embd, n_ff, n_vocab, n_ctx : int
        Layers, width of the residual stream, width inside the feed-forward block, tokens, longest context.
    n_head, n_head_kv, head_size : int
        Query heads, key / value heads (fewer in grouped-query attention), width of one head.
    rope_size : int
        How much of each head is turned by its position; 0 for models without rotary positions.
    rope_base, norm_eps : float
        Base of the rotation frequencies; what a norm adds below the root.
    attention_scale : float
        What a score is multiplied with.
    rope_factor, rope_magnitude : float
        What positions are divided by; what sines and cosines are multiplied with.
    rope_yarn : bool
        Whether the factor is YaRN's.
    rope_original : int
        The context that a model was trained on before it was stretched.
    turned, windowed : tuple of bool
        For each layer: whether positions turn it, whether it attends within the last `window` tokens only.
    window : int
    window_rope_base : float
        `rope_base` of windowed layers.
    windows_unscaled : bool
        Whether nothing stretches positions in windowed layers.
    attention_cap, logit_cap : float
        A soft cap c of scores and logits, ``c · tanh(x / c)``; 0 for none.
    embedding_scale, residual_scale, logit_scale : float
        What embeddings, the results of both halves of a layer, and logits are multiplied with.
    n_expert, n_expert_used, n_ff_expert : int
        Experts of a layer (0: a single feed-forward half), those that a token meets, and how wide they are.
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
    rope_yarn: bool = False
    rope_original: int = 0
    turned: tuple[bool, ...] = ()
    windowed: tuple[bool, ...] = ()
    window: int = 0
    window_rope_base: float = 0.0
    windows_unscaled: bool = False
    attention_cap: float = 0.0
    logit_cap: float = 0.0
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_expert: int = 0

    @property
    def windows_turn_apart(self) -> bool:
        """Whether windowed layers turn at another speed than the others."""
        if not any(self.windowed):
            return False
        stretched = self.rope_factor != 1 or self.rope_magnitude != 1
        return self.window_rope_base != self.rope_base or (self.windows_unscaled and stretched)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], n_vocab: int | None = None) -> TransformerConfig:
        """Read the keys of a file's architecture, ``llama.*``.

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
        architecture = architecture_of(metadata)
        values = {"rope_size": 0, "rope_base": 1.0, **read_settings(architecture, metadata, LlamaError)}
        _check_heads(values)
        _check_experts(values)
        derived = {
            "n_vocab": _vocabulary(metadata, values["n_vocab"], n_vocab),
            "attention_scale": values.get("attention_scale") or _attention_scale(architecture, values),
            "embedding_scale": _embedding_scale(architecture, values),
            "residual_scale": values.get("residual_scale") or 1.0,
            "logit_scale": 1 / values.get("logit_divisor", 1.0),
            "n_ff_expert": values.get("n_ff_expert", values["n_ff"]),
            **_rope(values),
            **_layers(architecture, values),
        }
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values} | derived)


def _attention_scale(architecture: Architecture, values: Mapping[str, Any]) -> float:
    wide = values["n_layers"] == architecture.wide_scale
    width = values["n_embd"] // values["n_head"] if wide else values["head_size"]
    return float(width**-0.5)


def _embedding_scale(architecture: Architecture, values: Mapping[str, Any]) -> float:
    if architecture.embedding_root:
        return float(np.sqrt(np.float32(values["n_embd"])))
    return values.get("embedding_scale") or 1.0


def _rope(values: Mapping[str, Any]) -> dict[str, Any]:
    """How positions are stretched."""
    factor = values.get("rope_factor")
    factor = factor if factor is not None else values.get("rope_factor_2023")
    kind = values.get("rope_scaling", "none")
    scaled = kind in ("linear", "yarn")
    return {"rope_factor": (factor or 1.0) if scaled else 1.0, "rope_yarn": kind == "yarn"}


def _layers(architecture: Architecture, values: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from layer to layer."""
    n, step = values["n_layers"], architecture.unturned
    turns = architecture.rope != "none" and values.get("turns", True)
    window, pattern = values.get("window") or 0, values.get("window_pattern")
    pattern = architecture.windowed if pattern is None else pattern
    if not isinstance(pattern, tuple):  # all but each p-th; 0: all
        pattern = tuple(pattern == 0 or i % pattern < pattern - 1 for i in range(n))
    return {
        "turned": tuple(turns and not (step and (i + 1) % step == 0) for i in range(n)),
        "window": window,
        "windowed": pattern if window else (False,) * n,
        "window_rope_base": values.get("window_rope_base") or values["rope_base"],
        "windows_unscaled": architecture.window_rope == "unscaled",
    }


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


def _check_experts(values: Mapping[str, Any]) -> None:
    there, used = values.get("n_expert", 0), values.get("n_expert_used", 0)
    if used > there or (there and not used):
        raise LlamaError(
            f"{used} experts of {there} for each token: at least one, and no more than there are, can be used; "
            f"a model without experts has neither"
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
