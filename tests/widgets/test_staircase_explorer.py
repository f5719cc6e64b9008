"""The staircase, driven without a browser: its loss beside the whole product, its path worked out by hand."""

import numpy as np
import pytest
from bounds import form_bound

from qviz.errors import WidgetError
from qviz.figures import staircase
from qviz.grids import AffineGrid
from qviz.widgets import StaircaseExplorer

RNG = np.random.default_rng(2)
W = RNG.standard_normal((3, 32)).astype(np.float32)
X = (RNG.standard_normal((200, 32)) @ (RNG.standard_normal((32, 32)) / 6 + np.eye(32))).astype(np.float32)


def test_the_loss_is_that_of_the_rows_output():
    explorer = StaircaseExplorer(W, X, group_size=16, row=1, column=20)
    stairs, grid = explorer.figure["stairs"], AffineGrid(2, 16)
    rounded = grid.fake_quantize(W)[1].astype(np.float64)
    whole = np.square(X.astype(np.float64) @ W[1]).sum()
    for level, loss in zip(stairs.levels, stairs.level_loss, strict=True):
        rounded[20] = level
        lost = np.square(X.astype(np.float64) @ (rounded - W[1])).sum()
        bound = form_bound((rounded - W[1])[None], X.T @ X, len(X)) + loss * form_bound(W[1][None], X.T @ X, len(X))
        assert abs(loss * whole - lost) <= 2 * bound
    assert stairs.path[0] == W[1, 20]
    assert stairs.path_level[0] == np.argmin(np.abs(stairs.levels - W[1, 20]))


def test_a_path_by_hand():
    # levels 0, 1, 2; the best place is 1.25. From 0.5 (a tie: to the even level 0) it is told to climb by 0.2 · 1.25
    s = staircase([0, 1, 2], (1.25, 1.0, 0.5), 0.5, rate=0.2, steps=4, current=2)
    np.testing.assert_allclose(s.path, [0.5, 0.75, 0.8, 0.85, 0.9], rtol=0, atol=4 * np.finfo(float).eps)
    assert s.path_level.tolist() == [0, 1, 1, 1, 1]
    assert s.path_loss.tolist() == [0.5 + 1.25**2] + [0.5 + 0.25**2] * 4
    assert s.slopes.tolist() == [-2.5] + [-0.5] * 4
    # at 1.5 it begins to jump; beyond the last level by more than half a step nothing is heard
    far = staircase([0, 1, 2], (9.0, 1.0, 0.0), 2.2, rate=0.1, steps=5, current=0)
    assert far.path[-1] == far.path[1] > 2.5
    falling = staircase([0, 1, 2], (1.25, 1.0, 0.5), 0.75, rate=0.2, steps=4, current=0, falling=True)
    np.testing.assert_allclose(
        np.diff(falling.path), [0.05, 0.0375, 0.025, 0.0125], rtol=0, atol=1e-15
    )  # stated: float64


def test_a_gradient_that_is_not_let_through_moves_nothing():
    explorer = StaircaseExplorer(W, X, group_size=16)
    assert np.ptp(explorer.figure["stairs"].path) > 0
    explorer.controls["through"].value = False
    stairs = explorer.figure["stairs"]
    assert np.ptp(stairs.path) == 0
    assert not stairs.slopes.any()
    assert "nothing: stairs are level" in explorer.figure.scene.summary


def test_steps_are_walked_from_the_picture():
    explorer = StaircaseExplorer(W, X, group_size=16)
    explorer.figure._handle_custom_msg({"event": "step", "step": 7}, [])
    assert explorer.controls["step"].value == explorer.controls["play"].value == 7
    explorer.figure._handle_custom_msg({"event": "step", "step": 999}, [])
    assert explorer.figure["stairs"].current == 60


@pytest.mark.parametrize(
    ("args", "how", "says"),
    [
        ((W, X[:, :5]), {}, "32 input columns, the inputs 5"),
        ((W, X), {"row": 3}, r"no weight \[3, 0\]"),
        ((W, X), {"bits": 8}, "2 to 4"),
        ((W[0], X), {}, "shape"),
    ],
)
def test_what_is_refused(args, how, says):
    with pytest.raises(WidgetError, match=says):
        StaircaseExplorer(*args, **how)
    with pytest.raises(WidgetError, match="two levels"):
        staircase([1], (0, 1, 0), 0, rate=1, steps=1, current=0)
    with pytest.raises(WidgetError, match="step 3"):
        staircase([0, 1], (0, 1, 0), 0, rate=1, steps=1, current=3)
