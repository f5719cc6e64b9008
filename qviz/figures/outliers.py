"""How large each channel is on both sides of a product, before and after its outliers are moved or mixed away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._types import FloatArray, IntArray
from qviz.errors import WidgetError


@dataclass(frozen=True, eq=False)
class ChannelRanges:
    """The largest magnitude of every input channel, of the inputs and of the weights.

    Attributes
    ----------
    order : int32 array (n,)
        The channel at each place: from the largest inputs to the smallest, as they are at first.
    inputs_before, inputs_after, weights_before, weights_after : float32 arrays (n,)
        Largest magnitudes in that order. Where channels were mixed, those after are sorted by themselves.
    mixed : bool
        Every channel after is a sum of all channels before.
    """

    order: IntArray
    inputs_before: FloatArray
    inputs_after: FloatArray
    weights_before: FloatArray
    weights_after: FloatArray
    mixed: bool


def channel_ranges(
    inputs: tuple[npt.ArrayLike, npt.ArrayLike], weights: tuple[npt.ArrayLike, npt.ArrayLike], *, mixed: bool = False
) -> ChannelRanges:
    """Put the channels into the order of their inputs.

    Parameters
    ----------
    inputs, weights : pairs of array_like (n,)
        Largest magnitude of each channel, before and after.
    mixed : bool
        The channels after are new ones; no channel before belongs to one of them.

    Returns
    -------
    ChannelRanges

    Raises
    ------
    WidgetError
        Arrays of different lengths, or nothing in them.

    Examples
    --------
    >>> ranges = channel_ranges(([1, 9, 4], [1, 3, 2]), ([2, 2, 1], [2, 6, 2]))
    >>> ranges.order.tolist(), ranges.inputs_after.tolist(), ranges.weights_after.tolist()
    ([1, 2, 0], [3.0, 2.0, 1.0], [6.0, 2.0, 2.0])
    """
    arrays: list[Any] = [real_array(a, "a magnitude", WidgetError) for a in (*inputs, *weights)]
    if not arrays[0].size or any(a.shape != (arrays[0].size,) for a in arrays):
        raise WidgetError(
            f"a magnitude for each channel is needed, four times; got shapes {', '.join(str(a.shape) for a in arrays)}"
        )
    order = np.argsort(-arrays[0], kind="stable").astype(np.int32)
    x, x_after, w, w_after = (a[order] for a in arrays)
    if mixed:
        x_after, w_after = (np.sort(a)[::-1].copy() for a in (x_after, w_after))
    return ChannelRanges(order, x, x_after, w, w_after, mixed)
