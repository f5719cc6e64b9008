"""Importance matrices of a whole model, measured on a text as llama.cpp's ``llama-imatrix`` does.

The text is cut into tokens whole, and then into chunks; a BOS token replaces the first of each where the model wants
one; what is left at the end is dropped. While the model reads, the input x of every matrix of its layers is squared and
summed, column by column; an expert's, over the tokens that are sent to it. Embedding and output are left out.

Sums are kept in float64, where ``llama-imatrix`` adds in float32.

Examples
--------
>>> from qviz import load, models
>>> found = collect(load("tiny"), models.calibration_text(), chunks=2)
>>> len(found), found["blk.0.attn_q.weight"].shape, found.chunk_count, found.chunk_size
(56, (256,), 2, 256)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arguments import reporter
from qviz._arrays import whole_number
from qviz._types import FloatArray, Progress
from qviz.calibration.imatrix import Entry, Imatrix
from qviz.errors import LlamaError, shortened
from qviz.transformer import Transformer
from qviz.transformer.evaluate import windows_of

CHUNK = 512  # tokens, unless the model's context is shorter
_LEAST = 16  # llama.cpp ignores products of fewer rows
_EXPERT = re.compile(r"(.*)\[(\d+)\]")


class Squares:
    """An ``on_linear_input(name, x)`` callback that sums x² for each matrix of the layers.

    Parameters
    ----------
    experts : callable ``(name) -> int``
        How many experts a tensor holds.

    Attributes
    ----------
    sums : dict of str to float64 array (experts, n)
    counts : dict of str to int64 array (experts,)
        Over how many tokens.
    """

    def __init__(self, experts: Callable[[str], int]) -> None:
        self._experts = experts
        self.sums: dict[str, npt.NDArray[np.float64]] = {}
        self.counts: dict[str, npt.NDArray[np.int64]] = {}

    def __call__(self, name: str, x: FloatArray) -> None:
        """Add the inputs x (n_tokens, n_in) of the matrix `name`, or of one expert's, ``name[3]``."""
        if not name.startswith("blk."):
            return
        match = _EXPERT.fullmatch(name)
        expert, name = (int(match[2]), match[1]) if match else (0, name)
        if name not in self.sums:
            several = self._experts(name) if match else 1
            self.sums[name] = np.zeros((several, x.shape[1]))
            self.counts[name] = np.zeros(several, np.int64)
        self.sums[name][expert] += np.einsum("ij,ij->j", x.astype(np.float64), x)
        self.counts[name][expert] += len(x)


def collect(
    model: Any,
    text: str | Sequence[int],
    *,
    n_ctx: int | None = None,
    chunks: int | None = None,
    activations: str = "int8",
    dataset: str = "",
    progress: Progress | None = None,
) -> Imatrix:
    """Run a text through a model, and measure how much each input column of each matrix matters.

    Parameters
    ----------
    model : mapping of tensor name to QTensor, with ``.metadata``
        Such as `qviz.load` returns.
    text : str or sequence of int
        Text, or its tokens.
    n_ctx : int, optional
        Tokens of a chunk, at least 16; 512 unless given, or the model's context if that is shorter.
    chunks : int, optional
        Only so many, from the beginning of the text; all of them unless given.
    activations : {"int8", "float"}
        How the model computes, see `qviz.Transformer`; llama.cpp rounds to int8.
    dataset : str
        What the text is called.
    progress : Progress, optional
        Told before each chunk, and at the end.

    Returns
    -------
    Imatrix

    Raises
    ------
    LlamaError
        A model that does not run, a text of less than two chunks, inputs that are not finite.
    """
    if not isinstance(dataset, str):
        raise LlamaError(f"dataset is {shortened(dataset)}; a text is wanted")
    squares = Squares(lambda name: int(model[name].shape[0]))
    run = Transformer(model, activations=activations, on_linear_input=squares)
    longest = run.config.n_ctx
    n_ctx = min(CHUNK, longest) if n_ctx is None else whole_number(n_ctx, "n_ctx", LlamaError, least=_LEAST)
    if chunks is not None:
        chunks = whole_number(chunks, "chunks", LlamaError, least=1)
    windows = windows_of(run, text, n_ctx, None)
    if len(windows) < 2:
        raise LlamaError(
            f"the text fills {len(windows)} chunk of {n_ctx} tokens, and importance needs at least two; give a longer "
            f"text or shorter chunks"
        )
    windows, report = windows[:chunks], reporter(progress, LlamaError)
    for done, window in enumerate(windows):
        report("importance matrix", done, len(windows))
        x = run.embed(window[None])
        for i in range(run.config.n_layers):  # the prediction itself is not needed
            x = run.layer(i, x)
    report("importance matrix", len(windows), len(windows))
    return _imatrix(squares, n_ctx, len(windows), dataset)


def _imatrix(squares: Squares, n_ctx: int, n_chunks: int, dataset: str) -> Imatrix:
    entries = {}
    for name, sums in squares.sums.items():
        with np.errstate(over="ignore"):
            entries[name] = Entry(sums.astype(np.float32), squares.counts[name])
        if not np.isfinite(entries[name].sums).all():
            raise LlamaError(f"what {name} receives is not finite; the model's weights are damaged")
    return Imatrix(entries, datasets=[dataset] if dataset else [], chunk_count=n_chunks, chunk_size=n_ctx)
