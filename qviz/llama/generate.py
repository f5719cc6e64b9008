"""Text from a model, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qviz.errors import LlamaError
from qviz.llama.linear import FloatArray
from qviz.llama.model import Llama


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
        if not (self.temperature >= 0 and 0 < self.top_p <= 1 and self.top_k >= 0):
            raise LlamaError(f"{self}: temperature and top_k must be at least 0, top_p above 0 and at most 1")

    def start(self) -> Callable[[FloatArray], int]:
        """A fresh chooser: logits (n_vocab,) -> token."""
        rng = np.random.default_rng(self.seed)

        def choose(logits: FloatArray) -> int:
            if self.temperature == 0:
                return int(logits.argmax())
            order = np.argsort(-logits)[: self.top_k or None]
            p = np.exp((logits[order] - logits[order[0]]).astype(np.float64) / self.temperature)
            p /= p.sum()
            keep = int(np.searchsorted(np.cumsum(p), self.top_p)) + 1
            return int(rng.choice(order[:keep], p=p[:keep] / p[:keep].sum()))

        return choose


def generate_tokens(
    llama: Llama, prompt: Sequence[int], max_tokens: int = 64, sampler: Sampler | None = None, cache_type: str = "F16"
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
    cache_type : {"F16", "F32", "Q8_0", "Q4_0"}
        Format of the KV cache.

    Raises
    ------
    LlamaError
        An empty prompt, or one that leaves no room in the model's context.
    """
    if not len(prompt):
        raise LlamaError("the prompt is empty; a model continues at least one token")
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
    llama: Llama, prompt: str, max_tokens: int = 64, sampler: Sampler | None = None, cache_type: str = "F16"
) -> Iterator[str]:
    """Continue a text, piece by piece; stop taking pieces to stop the model.

    Parameters are those of `generate_tokens`, with text for tokens.

    Examples
    --------
    >>> from qviz import load
    >>> "".join(generate(Llama(load("tiny")), "The Government of the United", 1))
    ' States'
    """
    tokens = generate_tokens(llama, llama.tokenizer.encode(prompt, eos=False), max_tokens, sampler, cache_type)
    yield from llama.tokenizer.stream(tokens, continues=True)
