"""The pictures of a run of GPTQ, against the formulas in float64 and against GPTQ that stops in the middle."""

from __future__ import annotations

import bounds
import eliminations
import numpy as np
import pytest

from qviz.calibration import ActivationStats
from qviz.errors import WidgetError
from qviz.figures.gptq import (
    factor_image,
    gptq_run,
    hessian_image,
    loss_race,
    moved_image,
    pull_row,
    step_row,
    telling_column,
)
from qviz.grids import AffineGrid
from qviz.methods import gptq, obs_factor, rtn

rng = np.random.default_rng(8)
N = 48
X = (rng.standard_normal((400, N)) @ (rng.standard_normal((N, N)) * rng.permutation(np.geomspace(3, 0.2, N)))).astype(
    np.float32
)
W = rng.standard_normal((6, N)).astype(np.float32)
STATS = ActivationStats.from_inputs(X)


GRID = AffineGrid(3, 16)


def run_of(grid=GRID, batch=8, static=False, stats=STATS, **options):
    result = gptq(W, stats, grid, column_batch=batch, static_groups=static, trace=True, **options)
    return gptq_run(W, result, rtn(W, None, grid), grid, column_batch=batch, static_groups=static)


def naive_states(run):
    """Matrices in memory after every column, by the loop of the paper's algorithm in float64, and their bounds.

    Each entry is a weight less products of an error and an entry of U; what is taken off is what GPTQ found.
    """
    matrix, U = run.weight.astype(np.float64), run.factor.astype(np.float64)
    late, states = np.zeros_like(matrix), []
    size = np.abs(matrix)
    for i in range(run.n):
        last = run.batch_of(i)[1]
        e = run.errors[:, i].astype(np.float64)
        bound = (run.n + 4) * bounds.U * size
        bounds.assert_within(run.adjusted[:, i], matrix[:, i], bound[:, i])
        found = (run.adjusted[:, i].astype(np.float64) - run.rounded[:, i]) / U[i, i]
        bounds.assert_within(e, found, bounds.size_bound(found, 2) + bounds.size_bound(run.rounded[:, i] / U[i, i], 1))
        matrix[:, i] = run.rounded[:, i]
        matrix[:, i + 1 : last] -= np.outer(e, U[i, i + 1 : last])
        late[:, last:] -= np.outer(e, U[i, last:])
        size[:, i + 1 :] += np.abs(np.outer(e, U[i, i + 1 :]))
        if i + 1 == last:
            matrix[:, last:] += late[:, last:]
            late[:] = 0
        states.append((matrix.copy(), (run.n + 4) * bounds.U * size))
    return states


@pytest.mark.parametrize("options", [{}, {"act_order": True}, {"act_order": True, "static": True}])
@pytest.mark.parametrize("batch", [1, 7, 48, 128])
def test_memory_after_every_column(options, batch):
    run, before = run_of(batch=batch, **options), None
    for i, (state, bound) in enumerate(naive_states(run)):
        bounds.assert_within(run.now(i), state, bound)
        bounds.assert_within(run.now(i, 2), state[2], bound[2])
        bounds.assert_within(run.before(i)[:, i], run.adjusted[:, i], 2 * bound[:, i])
        if i:
            bounds.assert_within(run.before(i), run.now(i - 1), 2 * before)
        before = bound
    np.testing.assert_array_equal(run.now(N - 1), run.rounded)


def test_what_waits_for_the_end_of_a_batch():
    run = run_of(batch=8)
    assert [run.waits(i) for i in (0, 6, 7, 8, 47)] == [8, 8, N, 16, N]
    np.testing.assert_array_equal(run.now(6)[:, 8:], run.weight[:, 8:])
    assert (run.now(7)[:, 8:] != run.weight[:, 8:]).any()
    assert all(run_of(batch=1).waits(i) == N for i in range(N))


def test_processing_order():
    run = run_of(act_order=True)
    diagonal = np.diagonal(STATS.hessian)
    assert (np.diff(diagonal[run.order]) <= 0).all()
    np.testing.assert_array_equal(run.weight, W[:, run.order])
    result = gptq(W, STATS, AffineGrid(3, 16), act_order=True, column_batch=8)
    np.testing.assert_array_equal(run.rounded[:, np.argsort(run.order)], result.weight)
    steps = run.rounded / run.scales
    bounds.assert_within(steps, np.rint(steps), bounds.size_bound(steps, 2))


@pytest.mark.parametrize("act_order", [False, True])
def test_running_losses_by_the_formula(act_order):
    run = run_of(act_order=act_order)
    H = run.hessian.astype(np.float64)
    for i in (0, 13, N - 1):
        off = np.zeros(W.shape)
        off[:, : i + 1] = (run.nearest.astype(np.float64) - run.weight)[:, : i + 1]
        size = (np.abs(run.nearest) + np.abs(run.weight))[:, : i + 1]
        change = np.pad(bounds.size_bound(size, 1), ((0, 0), (0, N - i - 1)))
        expected = np.einsum("ri,ij,rj->", off, H, off) / 2
        moved = np.abs(off) @ np.abs(H) * 2 * change + change @ np.abs(H) * change
        summed = (len(W) + 2 * N) * bounds.DOUBLE * (np.abs(off) @ np.abs(H) * np.abs(off)).sum()
        bounds.assert_within(run.nearest_loss[i], expected, moved.sum() / 2 + summed)
        # the columns to come stand where they make up for most: so this is the least that H allows
        done = (run.rounded - run.weight)[:, : i + 1].astype(np.float64)
        best = np.linalg.solve(H[i + 1 :, i + 1 :], -H[i + 1 :, : i + 1] @ done.T).T
        off = np.concatenate([done, best], axis=1)
        bound = bounds.response_bound(
            lambda h, end=i + 1: eliminations.losses(h, run.weight, run.rounded)[:end].sum() / 2, run.hessian
        )
        bounds.assert_within(run.loss[i], np.einsum("ri,ij,rj->", off, H, off) / 2, bound)
    race = loss_race(run, 13)
    assert race.nearest[-1] == 1
    share = run.loss[-1] / run.nearest_loss[-1]
    bounds.assert_within(race.ours[-1], share, bounds.size_bound(share, 1))
    assert race.ours[-1] < 0.6


def test_one_row_around_the_cursor():
    run = run_of(batch=8)
    shown = step_row(run, 3, 20, width=16)
    assert (shown.first, shown.column, shown.row) == (16, 20, 3)
    assert shown.inputs.tolist() == list(range(16, 32))
    np.testing.assert_array_equal(shown.original, W[3, 16:32])
    np.testing.assert_array_equal(shown.now[:5], run.rounded[3, 16:21])
    bound = bounds.sum_bound(np.r_[W[3, 20], run.errors[3, :20] * run.factor[:20, 20]], roundings=4)
    bounds.assert_within(shown.before[4], run.adjusted[3, 20], 2 * bound)
    assert (shown.now[5:8] != shown.before[5:8]).all()
    assert (shown.now[8:] == shown.before[8:]).all()
    assert shown.waits == 24
    assert shown.levels == 8
    on_levels = (shown.now[:5] - shown.bottoms[:5]) / shown.steps[:5]
    ends = np.abs(shown.now[:5]) + np.abs(shown.bottoms[:5])
    bounds.assert_within(on_levels, np.rint(on_levels), bounds.size_bound(ends / shown.steps[:5], 4))
    assert 0 <= np.rint(on_levels).min() <= np.rint(on_levels).max() <= 7
    assert shown.low < min(W[3].min(), run.adjusted[3].min())
    assert [step_row(run, 3, i, width=16).first for i in (0, 7, 8, 15, 16, 40)] == [0, 0, 8, 8, 16, 32]
    assert step_row(run, 3, N - 1, width=12).first == N - 12
    assert step_row(run, 3, 5, width=500).original.size == N


def test_shares_of_what_a_column_passes_on():
    run = run_of(batch=8)
    U = run.factor.astype(np.float64)
    pull = np.abs(np.triu(U, 1)[20])
    shares = step_row(run, 3, 20, width=N).shares
    expected = np.where((np.arange(N) > 20) & (np.arange(N) < 24), pull / pull.sum(), 0)
    bounds.assert_within(shares, expected, bounds.size_bound(expected, 4) + bounds.U * expected * N)
    whole = step_row(run_of(batch=1), 3, 20, width=N).shares
    bounds.assert_within(whole.sum(dtype=np.float64), 1, bounds.size_bound(1, 4 + N))
    assert not step_row(run, 3, N - 1, width=N).shares.any()


def test_a_column_to_begin_with():
    run = run_of(batch=1)
    for row in range(len(W)):
        column = telling_column(run, row)
        off = abs(run.adjusted[row, column] - run.rounded[row, column]) / run.scales[row, column]
        assert 0.3 < off < 0.5
        assert column < N - 20


def test_a_grid_shows_once_it_was_chosen():
    run = run_of(AffineGrid(3, 16), batch=32)
    assert np.isfinite(step_row(run, 0, 3, width=N).steps).tolist() == [True] * 32 + [False] * 16
    assert np.isfinite(step_row(run, 0, 32, width=N).steps).all()
    assert step_row(run, 0, 32, width=N).groups.tolist() == [16, 32]
    for static in (run_of(AffineGrid(3, 16), static=True), run_of(AffineGrid(3, -1))):
        assert np.isfinite(step_row(static, 0, 0, width=N).steps).all()


def test_pull_of_a_column_both_ways():
    run = run_of()
    explicit = obs_factor(run.hessian)
    for i in (0, 10, N - 2):
        pull = pull_row(run, i, explicit)

        def by_inverse(hessian, i=i):
            rest = np.linalg.inv(np.asarray(hessian, np.float64)[i:, i:])
            return rest[0, 1:] / rest[0, 0]

        bound = bounds.response_bound(by_inverse, run.hessian)
        bounds.assert_within(pull.pull[i + 1 :], by_inverse(run.hessian), bound)
        assert not pull.pull[: i + 1].any()
        assert pull.difference <= bound.max() / np.abs(pull.pull).max()
        assert pull.waits == run.waits(i)
    wrong = explicit.copy()
    wrong[10, 30] += 0.5 * wrong[10, 10]
    assert pull_row(run, 10, wrong).difference > 0.3
    assert np.isnan(pull_row(run, 10).difference)
    assert pull_row(run, N - 1, explicit).difference == 0


def test_images():
    run = run_of()
    before, after = moved_image(run, 9, 2), moved_image(run, 10, 2)
    assert (before.column, before.row, before.waits, before.across) == (9, 2, 16, "weight")
    assert before.image.limit == np.median(run.scales)
    moved = run.now(10) - run.weight
    expected = np.rint(127 * np.clip(moved / np.float64(after.image.limit), -1, 1)) + 127
    np.testing.assert_array_equal(after.image.pixels, expected)
    assert (before.image.pixels[:, 10:16] != after.image.pixels[:, 10:16]).any()
    H = hessian_image(run, 9)
    np.testing.assert_array_equal(H.image.pixels, H.image.pixels.T)
    assert np.sign(H.image.pixels.astype(int) - 127)[3, 7] in (0, np.sign(run.hessian[3, 7]))
    U = factor_image(run, 9)
    assert (U.column, U.row, U.across) == (-1, 9, "row-column")
    assert (np.tril(U.image.pixels.astype(int) - 127, -1) == 0).all()
    one = np.rint(127 * min(1, 1 / U.image.limit)) + 127  # every row is divided by its diagonal
    assert (np.diagonal(U.image.pixels) == one).all()


def test_dead_columns_are_zero_from_the_start():
    x = X.copy()
    x[:, 5] = 0
    run = run_of(stats=ActivationStats.from_inputs(x))
    assert not run.weight[:, 5].any()
    assert not run.nearest[:, 5].any()
    assert run.nearest_loss[5] == run.nearest_loss[4]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gptq_run(W, gptq(W, STATS, GRID), rtn(W, None, GRID), GRID), "trace=True"),
        (lambda: gptq_run(W[:3], gptq(W, STATS, GRID, trace=True), rtn(W, None, GRID), GRID), "differ"),
        (lambda: step_row(run_of(), 6, 0), r"\[6, 0\]: the matrix has 6 rows and 48 columns"),
        (lambda: moved_image(run_of(), 0, 48), r"\[48, 0\]"),
        (lambda: pull_row(run_of(), 48), r"\[0, 48\]"),
        (lambda: loss_race(run_of(), -1), r"\[0, -1\]"),
        (lambda: pull_row(run_of(), 0, np.eye(3)), r"\(3, 3\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown(call, says):
    with pytest.raises(WidgetError, match=says):
        call()
