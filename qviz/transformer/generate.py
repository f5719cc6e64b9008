"""Text from a model, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qviz._arrays import finite_number, real_array, whole_array, whole_number
from qviz._types import FloatArray
from qviz.errors import LlamaError
from qviz.gguf.settings import shown
from qviz.transformer.cache import CacheKind
from qviz.transformer.model import Transformer


@dataclass(frozen=True)
class Sampler:
    """How the next token is chosen.

    Attributes
    ----------
    temperature : float
        0 takes the likeliest token; larger values flatten the distribution.
    top_k : int
        Only so many likeliest tokens; 0 for all.
    top_p : float
        Only the likeliest tokens that together have this probability.
    seed : int
    """

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        finite_number(self.temperature, "temperature", LlamaError, least=0)
        finite_number(self.top_p, "top_p", LlamaError, above=0, most=1)
        whole_number(self.top_k, "top_k", LlamaError, least=0)
        whole_number(self.seed, "seed", LlamaError, least=0)

    def start(self) -> Callable[[FloatArray], int]:
        """A fresh chooser: logits (n_vocab,) -> token."""
        rng = np.random.default_rng(self.seed)

        def choose(logits: FloatArray) -> int:
            logits = real_array(logits, "logits", LlamaError, shape=("n_vocab",))
            if np.isnan(logits).any() or logits.max() == np.inf:
                raise LlamaError(
                    "the model computes NaN or infinity, so no token can be chosen; its weights are damaged"
                )
            if self.temperature == 0:
                return int(logits.argmax())
            order = np.argsort(-logits)[: self.top_k or None]
            with np.errstate(over="ignore"):  # what is far below the best has no share
                p = np.exp((logits[order] - logits[order[0]]).astype(np.float64) / self.temperature)
            p /= p.sum()
            keep = int(np.searchsorted(np.cumsum(p), self.top_p)) + 1
            return int(rng.choice(order[:keep], p=p[:keep] / p[:keep].sum()))

        return choose


def generate_tokens(
    llama: Transformer,
    prompt: Sequence[int],
    max_tokens: int = 64,
    sampler: Sampler | None = None,
    cache_type: CacheKind | None = None,
) -> Iterator[int]:
    """Tokens that continue a prompt, one at a time; stops at the end-of-text token.

    Parameters
    ----------
    llama : Llama
    prompt : sequence of int
        Its tokens.
    max_tokens : int
    sampler : Sampler, optional
        The likeliest token each time unless given.
    cache_type : {"F16", "F32", "Q8_0", "Q4_0"} or (str, str), optional
        Format of the KV cache, or of keys and of values; the model's own unless given.

    Raises
    ------
    LlamaError
        An empty prompt, or one that leaves no room in the model's context.
    """
    _check_runs(llama, sampler)
    max_tokens = whole_number(max_tokens, "max_tokens", LlamaError, least=0)
    if isinstance(prompt, Sequence) and not len(prompt):
        raise LlamaError("the prompt is empty; a model continues at least one token")
    prompt = whole_array(
        prompt, "the prompt", LlamaError, shape=("n_tokens",), least=0, most=llama.config.n_vocab - 1
    ).tolist()
    room = llama.config.n_ctx - len(prompt)
    if room < 1:
        raise LlamaError(f"the prompt has {len(prompt)} tokens; the model's context is {llama.config.n_ctx}")
    choose = (sampler or Sampler()).start()
    n = min(max_tokens, room)
    cache = llama.new_cache(len(prompt) + n, cache_type)
    logits = llama.logits(prompt, cache, last_only=True)
    for k in range(n):
        token = choose(logits[-1])
        if token in llama.tokenizer.ends:
            return
        yield token
        if k + 1 < n:
            logits = llama.logits([token], cache)


def generate(
    llama: Transformer,
    prompt: str,
    max_tokens: int = 64,
    sampler: Sampler | None = None,
    cache_type: CacheKind | None = None,
) -> Iterator[str]:
    """Continue a text, piece by piece; stop taking pieces to stop the model.

    Parameters are those of `generate_tokens`, with text for tokens.

    Examples
    --------
    >>> from qviz import load
    >>> "".join(generate(Transformer(load("tiny")), "The Government of the United", 1))
    ' States'
    """
    _check_runs(llama, sampler)
    if not isinstance(prompt, str):
        raise LlamaError(f"the prompt is {shown(prompt)}; a text is wanted, tokens go to generate_tokens")
    tokens = generate_tokens(llama, llama.tokenizer.encode(prompt, eos=False), max_tokens, sampler, cache_type)
    yield from llama.tokenizer.stream(tokens, continues=True)


def _check_runs(llama: Transformer, sampler: Sampler | None) -> None:
    if not isinstance(llama, Transformer):
        raise LlamaError(f"{shown(llama)} does not run; make it a qviz.Transformer first")
    if not isinstance(sampler, Sampler | None):
        raise LlamaError(f"sampler is {shown(sampler)}; a Sampler is wanted")
