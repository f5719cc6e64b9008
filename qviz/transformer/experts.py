"""A mixture of experts: many small feed-forward halves, of which a router lets each token meet a few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._types import FloatArray
from qviz.formats.base import QTensor
from qviz.transformer.linear import Linear


class ExpertLinears(Sequence[Linear]):
    """One matrix of each expert of a layer.

    Parameters
    ----------
    weight : QTensor (n_expert, n_out, n_in)
    name : str
        Name of the tensor. An expert's matrix is called ``"blk.0.ffn_up_exps.weight[3]"``.
    activations : {"int8", "float"}
        See `Linear`.
    bias : float32 array (n_expert, n_out), optional

    Attributes
    ----------
    name, weight, bias
        As given.

    Raises
    ------
    LlamaError
        As from `Linear`.
    """

    def __init__(self, weight: QTensor, name: str, activations: str, bias: FloatArray | None = None) -> None:
        self.name, self.weight, self.bias = name, weight, bias
        self._linears = [
            Linear(
                QTensor(weight.format, weight.blocks[e], weight.shape[1:]),
                f"{name}[{e}]",
                activations,
                bias=None if bias is None else bias[e],
            )
            for e in range(weight.shape[0])
        ]

    def __getitem__(self, expert: Any) -> Any:
        return self._linears[expert]

    def __len__(self) -> int:
        return len(self._linears)

    def __repr__(self) -> str:
        return f"<{len(self)} experts of {self.name}: {self.weight.format} {self.weight.shape}>"


def choose(scores: FloatArray, n_used: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The experts that tokens meet, and how much each counts: the softmax of the highest scores among themselves.

    Parameters
    ----------
    scores : float32 array (n_tokens, n_expert)
    n_used : int

    Returns
    -------
    chosen : int64 array (n_tokens, n_used)
        Best first.
    weights : float32 array (n_tokens, n_used)

    Examples
    --------
    >>> import numpy as np
    >>> chosen, weights = choose(np.float32([[1, 3, 2]]), 2)
    >>> chosen.tolist(), weights.round(3).tolist()
    ([[1, 2]], [[0.7310000061988831, 0.26899999380111694]])
    """
    with np.errstate(all="ignore"):  # a damaged model computes NaN, and says so only when it is scored
        chosen = np.argsort(-scores, axis=-1, kind="stable")[:, :n_used]
        best = np.take_along_axis(scores, chosen, -1)
        shares = np.exp(best - best[:, :1])
        return chosen, shares / shares.sum(-1, keepdims=True)


def groups(chosen: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Each expert that some token meets, with the tokens, and which of a token's choices it is."""
    for expert in np.unique(chosen).tolist():
        rows, places = np.nonzero(chosen == expert)
        yield expert, rows, places
