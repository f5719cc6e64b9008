"""Two files of one model: tensor by tensor, and in what they answer.

Examples
--------
>>> from qviz import load
>>> found = compare_models(load("tiny"), load("tiny"), text=None)
>>> found.tensors[0].name, found.tensors[0].sqnr_db, found.only_a
('token_embd.weight', inf, ())
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import transformer
from qviz._arguments import reporter
from qviz._arrays import whole_number
from qviz._types import Progress
from qviz.errors import LlamaError, ModelError, QvizError

MAX_TOKENS = 2048  # scored, unless asked for more
PROMPT, CONTINUED = 32, 64  # tokens: of the text, and as many more as both may continue it by

_PIECE = 1 << 22  # weights that are decoded at a time


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """One tensor in both files.

    Attributes
    ----------
    name : str
    shape : tuple of int
    format_a, format_b : str
    bytes_a, bytes_b : int
    sqnr_db : float or None
        B's weights against A's: infinite where they are equal, None where one of the formats cannot be decoded.
    """

    name: str
    shape: tuple[int, ...]
    format_a: str
    format_b: str
    bytes_a: int
    bytes_b: int
    sqnr_db: float | None


@dataclass(frozen=True, slots=True)
class Parting:
    """Where greedy continuations of one prompt part.

    Attributes
    ----------
    prompt : str
    step : int or None
        Tokens that both chose alike before; None if they never parted.
    steps : int
        How many both were asked for.
    text_a, text_b : str
        The continuations.
    """

    prompt: str
    step: int | None
    steps: int
    text_a: str
    text_b: str


@dataclass(frozen=True, slots=True)
class ModelDifference:
    """What `compare_models` found.

    Attributes
    ----------
    tensors : tuple of TensorDifference
        In the order of A's file.
    only_a, only_b : tuple of str
        Tensors that the other file lacks, or has in another shape.
    quality : Perplexity or None
        How well B does on a text, against A.
    parting : Parting or None
    note : str
        Why nothing was read, if so.
    """

    tensors: tuple[TensorDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    quality: transformer.Perplexity | None = None
    parting: Parting | None = None
    note: str = ""

    @property
    def bytes_a(self) -> int:
        """Bytes in A of all tensors in both."""
        return sum(tensor.bytes_a for tensor in self.tensors)

    @property
    def bytes_b(self) -> int:
        """Bytes in B of all tensors in both."""
        return sum(tensor.bytes_b for tensor in self.tensors)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it: an infinite ratio becomes a text."""
        tensors = [asdict(tensor) for tensor in self.tensors]
        for tensor in tensors:
            if tensor["sqnr_db"] is not None and not math.isfinite(tensor["sqnr_db"]):
                tensor["sqnr_db"] = str(tensor["sqnr_db"])
        return {
            "tensors": tensors,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "bytes_a": self.bytes_a,
            "bytes_b": self.bytes_b,
            "quality": None if self.quality is None else self.quality.as_dict(),
            "parting": None if self.parting is None else asdict(self.parting),
            "note": self.note,
        }


def compare_models(
    a: Any,
    b: Any,
    text: str | Sequence[int] | None,
    *,
    max_tokens: int = MAX_TOKENS,
    must_run: bool = False,
    progress: Progress | None = None,
) -> ModelDifference:
    """Compare two models: their tensors, and what they make of a text.

    Parameters
    ----------
    a, b : Model
        As `qviz.load` opens them; A is what B is measured against.
    text : str, sequence of int or None
        What both read; its beginning is what both continue. None leaves this out.
    max_tokens : int
        Score only about so many tokens.
    must_run : bool
        Raise what keeps a model from reading the text, in place of a note.
    progress : Progress, optional

    Returns
    -------
    ModelDifference
    """
    max_tokens = whole_number(max_tokens, "max_tokens", ModelError, least=1)
    report = reporter(progress, QvizError)
    shapes = {name: info.shape for name, info in b.tensor_info.items()}
    shared = [name for name, info in a.tensor_info.items() if shapes.get(name) == info.shape]
    tensors = []
    for done, name in enumerate(shared):
        report("tensors", done, len(shared))
        tensors.append(_tensor(a, b, name))
    report("tensors", len(shared), len(shared))
    only_a = tuple(name for name in a.tensor_info if name not in shared)
    only_b = tuple(name for name in b.tensor_info if name not in shared)
    if text is None:
        return ModelDifference(tuple(tensors), only_a, only_b)
    try:
        run_a, run_b = transformer.Transformer(a), transformer.Transformer(b)
        quality = transformer.perplexity(run_b, text, run_a, max_tokens=max_tokens, progress=report)
        parting = _parting(run_a, run_b, text)
    except LlamaError as error:
        if must_run:
            raise
        return ModelDifference(tuple(tensors), only_a, only_b, note=str(error))
    return ModelDifference(tuple(tensors), only_a, only_b, quality, parting)


def _tensor(a: Any, b: Any, name: str) -> TensorDifference:
    one, two = a.tensor_info[name], b.tensor_info[name]
    sqnr: float | None = None
    if one.format.can_decode and two.format.can_decode:
        sqnr = _sqnr(zip(_rows(a, one), _rows(b, two), strict=True))
    return TensorDifference(name, one.shape, str(one.format), str(two.format), one.nbytes, two.nbytes, sqnr)


def _rows(model: Any, info: Any) -> Iterator[npt.NDArray[np.float64]]:
    """A tensor's weights, so many rows at a time that they do not fill the memory."""
    n = info.shape[-1] if info.shape else 1
    rows = math.prod(info.shape[:-1]) if n else 0
    step = max(_PIECE // max(n, 1), 1)
    for first in range(0, rows, step):
        part = model.file.read_rows(info.name, first, min(first + step, rows))
        yield part.dequantize().astype(np.float64)


def _sqnr(pieces: Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]) -> float:
    """Signal over noise in decibel, of sums over all pieces."""
    signal = noise = 0.0
    for x, y in pieces:
        signal += float((x * x).sum())
        noise += float(((x - y) ** 2).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _parting(a: Any, b: Any, text: str | Sequence[int]) -> Parting:
    ids = a.tokenizer.encode(text[: PROMPT * 32] if isinstance(text, str) else "", eos=False)
    prompt = (ids if isinstance(text, str) else list(text))[:PROMPT]
    steps = min(CONTINUED, a.config.n_ctx - len(prompt), b.config.n_ctx - len(prompt))
    one, two = (list(transformer.generate_tokens(run, prompt, steps)) for run in (a, b))
    parted = next((i for i, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), None)
    if parted is None and len(one) != len(two):  # one of them ended
        parted = min(len(one), len(two))
    said = ["".join(a.tokenizer.stream(tokens, continues=True)) for tokens in (one, two)]
    return Parting(a.tokenizer.decode(prompt), parted, steps, *said)


def lines(apart: ModelDifference, names: Mapping[str, str]) -> Iterator[str]:
    """A difference for the eyes, line by line.

    Parameters
    ----------
    apart : ModelDifference
    names : mapping
        What ``"a"`` and ``"b"`` are called.
    """
    if not apart.tensors and not apart.only_a and not apart.only_b:
        raise QvizError("neither file has a tensor; there is nothing to compare")
    width = max([6, *(len(tensor.name) for tensor in apart.tensors)])
    yield f"{'tensor':{width}}  {'A':>8} {'bytes':>15}  {'B':>8} {'bytes':>15}  SQNR dB"
    for t in apart.tensors:
        sqnr = "?" if t.sqnr_db is None else "equal" if t.sqnr_db == math.inf else f"{t.sqnr_db:.2f}"
        yield f"{t.name:{width}}  {t.format_a:>8} {t.bytes_a:>15,}  {t.format_b:>8} {t.bytes_b:>15,}  {sqnr:>7}"
    yield f"{'all':{width}}  {'':8} {apart.bytes_a:>15,}  {'':8} {apart.bytes_b:>15,}"
    for which, only in (("a", apart.only_a), ("b", apart.only_b)):
        if only:
            more = f" and {len(only) - 5} more" if len(only) > 5 else ""
            yield f"only in {names[which]}, or there in another shape: {', '.join(only[:5])}{more}"
    if apart.note:
        yield f"no text was read: {apart.note}"
    if apart.quality is not None:
        yield str(apart.quality)
    if apart.parting is not None:
        p = apart.parting
        alike = "never" if p.step is None else f"at token {p.step + 1}"
        yield f"greedy continuations of {p.steps} tokens part {alike}, after: {p.prompt!r}"
        yield f"A: {p.text_a!r}"
        yield f"B: {p.text_b!r}"
