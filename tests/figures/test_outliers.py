"""Channels in the order of their inputs, and what a rotation makes of that order."""

import pytest

from qviz.errors import WidgetError
from qviz.figures import channel_ranges


def test_channels_keep_their_places():
    ranges = channel_ranges(([1, 9, 4], [1, 3, 2]), ([2, 2, 1], [2, 6, 2]))
    assert ranges.order.tolist() == [1, 2, 0]
    assert ranges.inputs_before.tolist() == [9, 4, 1]
    assert ranges.inputs_after.tolist() == [3, 2, 1]
    assert ranges.weights_before.tolist() == [2, 1, 2]
    assert ranges.weights_after.tolist() == [6, 2, 2]
    assert not ranges.mixed


def test_mixed_channels_are_sorted_by_themselves():
    ranges = channel_ranges(([1, 9, 4], [5, 2, 7]), ([2, 2, 1], [1, 3, 2]), mixed=True)
    assert ranges.inputs_after.tolist() == [7, 5, 2]
    assert ranges.weights_after.tolist() == [3, 2, 1]
    assert ranges.inputs_before.tolist() == [9, 4, 1]


@pytest.mark.parametrize("wrong", [[1, 2], [], [[1, 2, 3]]])
def test_arrays_that_do_not_fit(wrong):
    with pytest.raises(WidgetError, match="a magnitude for each channel"):
        channel_ranges(([1, 2, 3], wrong), ([1, 2, 3], [1, 2, 3]))
