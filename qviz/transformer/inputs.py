"""What one weight matrix of a running model receives: the activations that calibration and pictures need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qviz._arrays import whole_number
from qviz._types import FloatArray
from qviz.errors import LlamaError
from qviz.gguf.settings import shown
from qviz.transformer.evaluate import windows_of
from qviz.transformer.model import Transformer

_WINDOWS = 8  # windows that run together


class _SeenError(Exception):
    """The inputs have been seen; the rest of the forward pass is not needed."""


def run_to(run: Transformer, tensor: str, take: Callable[[FloatArray], object], forward: Callable[[], object]) -> bool:
    """Call `forward`, hand `take` what one matrix receives, and end the pass there.

    Returns
    -------
    bool
        Whether the pass got to that matrix.
    """

    def look(name: str, x: FloatArray) -> None:
        if name == tensor:
            take(x)
            raise _SeenError

    run.on_linear_input = look
    try:
        forward()
    except _SeenError:
        return True
    finally:
        run.on_linear_input = None
    return False


def linear_inputs(model: Any, tensor: str, text: str | Sequence[int], n_tokens: int = 4096) -> FloatArray:
    """Run a text through a model in float32, and catch what one matrix gets to see.

    The model reads windows of its own context length (256 tokens at most), as in evaluation; each forward pass ends
    where the matrix stands.

    Parameters
    ----------
    model : mapping of tensor name to QTensor, with ``.metadata``
        Such as `qviz.load` returns.
    tensor : str
        Name of the matrix, such as ``"blk.3.attn_v.weight"``.
    text : str or sequence of int
        Text, or its tokens.
    n_tokens : int
        How many inputs.

    Returns
    -------
    float32 array (n_tokens, n_in)

    Raises
    ------
    LlamaError
        No such matrix, or a text that is too short.

    Examples
    --------
    >>> from qviz import load, models
    >>> linear_inputs(load("tiny"), "blk.0.attn_q.weight", models.heldout_text(), n_tokens=300).shape
    (300, 256)
    """
    n_tokens = whole_number(n_tokens, "n_tokens", LlamaError, least=1)
    if not isinstance(tensor, str):
        raise LlamaError(f"tensor is {shown(tensor)}; the name of a matrix is wanted, such as 'blk.0.attn_q.weight'")
    caught: list[FloatArray] = []

    run = Transformer(model, activations="float")
    known = [linear.name for layer in run.layers for linear in layer.values() if hasattr(linear, "name")]
    if tensor not in known:
        raise LlamaError(f"no matrix {tensor!r} in the layers of this model; there are {', '.join(known[:7])}, …")
    width = min(run.config.n_ctx, 256)
    part = text[: 8 * n_tokens] if isinstance(text, str) else text  # a whole book takes longer to cut into tokens
    windows = windows_of(run, part, width, None)
    if windows.size < n_tokens:
        windows = windows_of(run, text, width, None)
    if windows.size < n_tokens:
        raise LlamaError(f"the text has {windows.size} tokens in whole windows, {n_tokens} were asked for")
    windows = windows[: -(-n_tokens // windows.shape[1])]
    for start in range(0, len(windows), _WINDOWS):
        some = windows[start : start + _WINDOWS]
        if not run_to(run, tensor, lambda x: caught.append(x.copy()), functools.partial(run.window_logits, some)):
            raise LlamaError(f"{tensor} was not used in the forward pass")  # pragma: no cover
    return np.concatenate(caught)[:n_tokens]
