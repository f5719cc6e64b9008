"""What a Llama is made of, read from a GGUF file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qviz.errors import LlamaError


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
            Another architecture, a missing key, or a feature that is not implemented here.
        """
        arch = metadata.get("general.architecture")
        if arch != "llama":
            raise LlamaError(f"general.architecture is {arch!r}; only 'llama' models can be run here")

        def number(key: str, default: Any = None) -> Any:
            value = metadata.get(f"llama.{key}", default)
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise LlamaError(f"llama.{key} is {value!r}; a positive number is needed to run the model")
            return value

        scaling = metadata.get("llama.rope.scaling.type", "none")
        if scaling != "none":
            raise LlamaError(f"llama.rope.scaling.type is {scaling!r}; only unscaled RoPE is implemented here")
        if metadata.get("llama.expert_count", 0):
            raise LlamaError("the model is a mixture of experts; only dense Llama models can be run here")
        n_embd, n_head = number("embedding_length"), number("attention.head_count")
        head_size = number("attention.key_length", n_embd // n_head)
        config = cls(
            n_layers=number("block_count"),
            n_embd=n_embd,
            n_ff=number("feed_forward_length"),
            n_vocab=number("vocab_size", n_vocab),
            n_ctx=number("context_length"),
            n_head=n_head,
            n_head_kv=number("attention.head_count_kv", n_head),
            head_size=head_size,
            rope_size=number("rope.dimension_count", head_size),
            rope_base=float(number("rope.freq_base", 10000.0)),
            norm_eps=float(number("attention.layer_norm_rms_epsilon")),
        )
        if config.n_head % config.n_head_kv or config.rope_size % 2 or config.rope_size > config.head_size:
            raise LlamaError(
                f"{config.n_head} query heads over {config.n_head_kv} key heads, {config.rope_size} of "
                f"{config.head_size} values turned: heads must divide evenly, and pairs must fit a head"
            )
        return config
