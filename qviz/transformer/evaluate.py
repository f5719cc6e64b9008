"""Perplexity, KL divergence and token agreement, as llama.cpp's ``perplexity`` tool defines them.

A text is cut into windows of `n_ctx` tokens; a BOS token replaces the first of each where the model wants one; the
second half of a window is scored, so that every scored token has at least n_ctx / 2 tokens before it
(llama.cpp ``tools/perplexity/perplexity.cpp``: ``perplexity``, ``kl_divergence``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arguments import reporter
from qviz._arrays import whole_array, whole_number
from qviz._machine.buffers import give_back
from qviz._machine.team import cores, in_parallel, on_each_thread
from qviz._types import Progress
from qviz.errors import LlamaError
from qviz.gguf.settings import shown
from qviz.transformer.kernels import ops
from qviz.transformer.model import Transformer

_BATCH = 1024  # tokens that a core runs at once
_ROOM = 192 << 20  # bytes for what all cores have in hand, however many they are


@dataclass(frozen=True)
class Perplexity:
    """What a model makes of a text; each ``_se`` is the standard error of the value before it.

    Attributes
    ----------
    n_tokens : int
        Tokens scored.
    ppl, ppl_se : float
        Perplexity: exp of the mean negative log-likelihood of a token.
    base_ppl : float or None
        The baseline's perplexity on the same tokens. The rest is None without a baseline.
    delta, delta_se : float or None
        ``ppl − base_ppl``, paired: the error of the difference, smaller than either one's own.
    log_ratio, log_ratio_se : float or None
        ``ln(ppl / base_ppl)``, paired.
    kld, kld_se : float or None
        Mean Kullback–Leibler divergence from the baseline's prediction, in nats a token.
    same_top, same_top_se : float or None
        How often both prefer the same token, 0 … 1.
    n_ctx : int
        Length of a window.
    """

    n_tokens: int
    ppl: float
    ppl_se: float
    n_ctx: int
    base_ppl: float | None = None
    delta: float | None = None
    delta_se: float | None = None
    log_ratio: float | None = None
    log_ratio_se: float | None = None
    kld: float | None = None
    kld_se: float | None = None
    same_top: float | None = None
    same_top_se: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"perplexity {self.ppl:.4f} ± {self.ppl_se:.4f} on {self.n_tokens:,} tokens"
        if self.delta is None:
            return text
        return (
            f"{text}; {self.delta:+.4f} ± {self.delta_se:.4f} against the baseline, KL divergence "
            f"{self.kld:.5f} ± {self.kld_se:.5f} nats, same first choice {self.same_top:.2%}"
        )


@dataclass(frozen=True, eq=False)
class TokenScores:
    """The same token by token: what `Perplexity` has the means of.

    Attributes
    ----------
    nll : float64 array (n_tokens,)
        −ln of the probability that each scored token had.
    n_ctx : int
        Length of a window.
    base_nll : float64 array (n_tokens,) or None
        The baseline's. The rest is None without a baseline, too.
    kld : float64 array (n_tokens,) or None
        Kullback–Leibler divergence from the baseline's prediction, in nats.
    same : bool array (n_tokens,) or None
        Whether both prefer the same token.
    """

    nll: npt.NDArray[np.float64]
    n_ctx: int
    base_nll: npt.NDArray[np.float64] | None = None
    kld: npt.NDArray[np.float64] | None = None
    same: npt.NDArray[np.bool_] | None = None

    def summary(self) -> Perplexity:
        """The means over all tokens, with their standard errors."""
        mean, error = _mean(self.nll)
        ppl = _perplexity(mean)
        if self.base_nll is None or self.kld is None or self.same is None:
            return Perplexity(self.nll.size, ppl, ppl * error, self.n_ctx)
        base_ppl = _perplexity(float(self.base_nll.mean()))
        ratio, ratio_se = _mean(self.nll - self.base_nll)
        # error of exp(a) − exp(b) to first order, with what the two have in common taken out
        delta_se = _mean(ppl * (self.nll - mean) - base_ppl * (self.base_nll - self.base_nll.mean()))[1]
        kld, kld_se = _mean(self.kld)
        same, same_se = _mean(self.same.astype(np.float64))
        return Perplexity(
            self.nll.size,
            ppl,
            ppl * error,
            self.n_ctx,
            base_ppl,
            ppl - base_ppl,
            delta_se,
            ratio,
            ratio_se,
            kld,
            kld_se,
            same,
            same_se,
        )


def windows_of(
    llama: Transformer, text: str | Sequence[int], n_ctx: int, max_tokens: int | None
) -> npt.NDArray[np.int64]:
    """The windows (n, n_ctx) that a text is cut into.

    Parameters
    ----------
    llama : Transformer
    text : str or sequence of int
        Text, or its tokens.
    n_ctx : int
    max_tokens : int or None
        Only so many windows that about so many tokens are scored, evenly spread over the text: its parts differ, and
        its beginning stands for none of the others.

    Raises
    ------
    LlamaError
        If the text is shorter than one window.
    """
    n_ctx = whole_number(n_ctx, "n_ctx", LlamaError, least=4, most=llama.config.n_ctx)
    ids = llama.tokenizer.encode(text) if isinstance(text, str) else text
    if isinstance(ids, Sequence) and not len(ids):
        raise LlamaError(f"the text is empty; one window takes {n_ctx} tokens")
    tokens = whole_array(ids, "tokens", LlamaError, shape=("n_tokens",), least=0, most=llama.config.n_vocab - 1)
    n = n_all = tokens.size // n_ctx
    if n == 0:
        raise LlamaError(f"the text has {tokens.size} tokens; one window takes {n_ctx}, so give a longer text")
    if max_tokens is not None:
        max_tokens = whole_number(max_tokens, "max_tokens", LlamaError, least=1)
        n = min(n, -(-max_tokens // (n_ctx - n_ctx // 2 - 1)))
    chosen = np.linspace(0, n_all - 1, n).round().astype(np.int64)
    windows = tokens[: n_all * n_ctx].reshape(n_all, n_ctx)[chosen]
    if llama.tokenizer.add_bos:
        assert llama.tokenizer.bos is not None
        windows[:, 0] = llama.tokenizer.bos
    return windows


def compare(
    models: Mapping[str, Any],
    text: str | Sequence[int],
    baseline: Any = None,
    *,
    n_ctx: int | None = None,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Perplexity]:
    """Evaluate several models on one text, window by window, against one run of the baseline.

    Parameters
    ----------
    models : mapping of name to Transformer (or what `Transformer` takes)
    text : str or sequence of int
    baseline : Transformer, or what it takes, optional
        Usually the unquantized model.
    n_ctx : int, optional
        The model's context, at most 512, unless given.
    max_tokens : int, optional
        Score only about so many tokens, in windows that are evenly spread over the text.
    progress : callable ``(what, done, total)``, optional
        Called after each step of work; whatever it raises ends the run.

    Returns
    -------
    dict of str to Perplexity

    Raises
    ------
    LlamaError
        A text that is too short, or a baseline with another vocabulary.
    """
    scores = score_tokens(models, text, baseline, n_ctx=n_ctx, max_tokens=max_tokens, progress=progress)
    return {name: score.summary() for name, score in scores.items()}


def score_tokens(
    models: Mapping[str, Any],
    text: str | Sequence[int],
    baseline: Any = None,
    *,
    n_ctx: int | None = None,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> dict[str, TokenScores]:
    """What `compare` takes the means of: every scored token by itself.

    Parameters
    ----------
    models, text, baseline, n_ctx, max_tokens, progress
        As for `compare`.

    Returns
    -------
    dict of str to TokenScores

    Raises
    ------
    LlamaError
        As from `compare`.
    """
    if not isinstance(models, Mapping):
        raise LlamaError(f"models is {shown(models)}; a mapping of names to models is wanted")
    runs, base = _ready(models, baseline)
    if not runs:
        return {}
    reference = base if base is not None else next(iter(runs.values()))
    n_ctx = min(512, *(run.config.n_ctx for run in (*runs.values(), reference))) if n_ctx is None else n_ctx
    windows = windows_of(reference, text, n_ctx, max_tokens)
    n_ctx = windows.shape[1]  # an int8 would overflow below
    first = n_ctx // 2
    at_once = _windows_at_once(reference, n_ctx)
    if base is not None:  # whose predictions lie beside those of each model
        at_once = max(1, at_once * 3 // 4)
    total, done = len(windows) * (len(runs) + (base is not None)), 0
    base_nll: list[npt.NDArray[np.float64]] = []
    kept: dict[str, list[list[npt.NDArray[Any]]]] = {name: [] for name in runs}

    report = reporter(progress, LlamaError)

    def told(n: int) -> None:
        nonlocal done
        done += n
        report("scoring", done, total)

    try:
        for begin in range(0, len(windows), at_once):
            block = windows[begin : begin + at_once]
            shares = np.array_split(block, min(cores(), len(block)))  # each core runs windows of its own, start to end
            expected: list[Any] = [None] * len(shares)
            if base is not None:
                scored = _each(lambda part: _scored(base, part, first), shares)
                expected = [log_probs for log_probs, _ in scored]
                base_nll += [nll for _, nll in scored]
                told(len(block))
            for name, run in runs.items():
                if run is base:
                    fresh = base_nll[-len(shares) :]
                    rows = [
                        [nll, *_apart(log_probs, log_probs)] for log_probs, nll in zip(expected, fresh, strict=True)
                    ]
                else:
                    rows = _each(lambda part, beside, run=run: _compared(run, part, first, beside), shares, expected)
                kept[name] += rows
                told(len(block))
    finally:
        on_each_thread(give_back)
    before = (np.concatenate(base_nll),) if base is not None else ()
    joined = {name: [np.concatenate(c) for c in zip(*rows, strict=True)] for name, rows in kept.items()}
    return {name: TokenScores(nll, n_ctx, *before, *apart) for name, (nll, *apart) in joined.items()}


def perplexity(
    model: Any,
    text: str | Sequence[int],
    baseline: Any = None,
    *,
    n_ctx: int | None = None,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Perplexity:
    """Perplexity of a model on a text; with a baseline, also how far its predictions moved.

    Parameters
    ----------
    model : Transformer, or what `qviz.load` returns
    text, baseline, n_ctx, max_tokens, progress
        As for `compare`.

    Returns
    -------
    Perplexity

    Examples
    --------
    >>> from qviz import load
    >>> from qviz.models import heldout_text
    >>> p = perplexity(load("tiny"), heldout_text()[:4000])
    >>> p.n_tokens % 127, 5 < p.ppl < 200  # 127 tokens of each window of 256 are scored
    (0, True)
    """
    return compare({"": model}, text, baseline, n_ctx=n_ctx, max_tokens=max_tokens, progress=progress)[""]


def _ready(models: Mapping[str, Any], baseline: Any) -> tuple[dict[str, Transformer], Transformer | None]:
    """Make every model and the baseline a `Transformer`; refuse them unless all have one vocabulary."""
    runs = {name: _transformer(model) for name, model in models.items()}
    base = None if baseline is None else _transformer(baseline)
    for name, run in runs.items():
        reference = base if base is not None else next(iter(runs.values()))
        if run.config.n_vocab != reference.config.n_vocab or run.tokenizer.tokens != reference.tokenizer.tokens:
            raise LlamaError(f"{name} has another vocabulary than the baseline; only the same tokens can be compared")
    return runs, base


def _transformer(model: Any) -> Transformer:
    return model if isinstance(model, Transformer) else Transformer(model)


def _windows_at_once(llama: Transformer, n_ctx: int) -> int:
    """Windows that are run together: enough for every core, unless their activations and predictions take too much."""
    c = llama.config
    a_token = 4 * (c.n_vocab + 16 * max(c.n_ff, c.n_embd))  # two predictions of half the tokens; buffers of each step
    affordable = _ROOM // (n_ctx * a_token)
    return max(1, min(max(1, _BATCH // n_ctx) * cores(), max(min(cores(), 4), affordable)))


def _each(work: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """``work`` of each row of a few columns, on as many cores as there are."""
    rows = list(zip(*columns, strict=True))
    results: list[Any] = [None] * len(rows)

    def some(a: int, b: int) -> None:
        results[a:b] = [work(*row) for row in rows[a:b]]

    in_parallel(len(rows), some, least=1)
    return results


def _scored(llama: Transformer, windows: Any, first: int) -> tuple[Any, npt.NDArray[np.float64]]:
    """Log-probabilities of the scored positions (n, n_vocab), and −log p of what came."""
    targets = windows[:, first + 1 :].reshape(-1)
    logits = llama.window_logits(windows, first, windows.shape[1] - 1).reshape(targets.size, -1)
    ops.log_softmax(logits)
    nll = -logits[np.arange(targets.size), targets].astype(np.float64)
    if not np.isfinite(nll).all():  # one NaN or infinity spoils the whole row
        raise LlamaError(f"{llama.name} computes NaN or infinity; its weights are damaged")
    return logits, nll


def _compared(llama: Transformer, windows: Any, first: int, expected: Any) -> list[npt.NDArray[Any]]:
    """−log p of what came, and how far that is from what a baseline expected, if there is one."""
    log_probs, nll = _scored(llama, windows, first)
    return [nll] if expected is None else [nll, *_apart(expected, log_probs)]


def _apart(expected: Any, log_probs: Any) -> list[npt.NDArray[Any]]:
    """Divergence of each row from what the baseline expected, and whether both prefer the same token."""
    kld, same = np.empty(len(expected)), np.empty(len(expected), np.bool_)
    ops.divergence(expected, log_probs, kld, same)
    return [kld, same]


def _mean(x: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(x.mean()), float(x.std() / math.sqrt(max(x.size - 1, 1)))


def _perplexity(nll: float) -> float:
    try:
        return math.exp(nll)
    except OverflowError:
        raise LlamaError(
            f"a token has {nll:.0f} nats of surprise on average, so the perplexity is more than a float holds; "
            f"the model's weights are damaged"
        ) from None
