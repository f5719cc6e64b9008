"""The kept measurement of best files: whole, and no larger than what it is compared with."""

import numpy as np
import pytest

from qviz import measure, models, recipes
from qviz.errors import ModelNotFoundError, ShapeError
from qviz.measure.best import BEST, RECIPE


def test_each_recipe_has_two_files_of_its_size():
    rows = measure.best_files()
    assert len(rows) >= 8
    for theirs, ours in zip(rows[::2], rows[1::2], strict=True):
        assert (theirs.recipe, theirs.what, ours.recipe, ours.what) == (ours.recipe, RECIPE, theirs.recipe, BEST)
        assert ours.nbytes <= theirs.nbytes
        assert 0 < theirs.nbytes - _size(theirs.recipe) < 200_000  # the header, most of it the vocabulary
        assert ours.kld + 3 * ours.kld_se < theirs.kld - 3 * theirs.kld_se
        assert ours.base_ppl == theirs.base_ppl
    sizes = {(row.recipe, row.what): row.nbytes for row in rows}
    assert 1.2 < sizes["Q3_K_S", RECIPE] / sizes["IQ2_M", BEST] < 1.25  # lesson 14: nearly a quarter more


def _size(recipe):
    model = models.load("tiny")
    return sum(choice.nbytes for choice in recipes.plan(model, model.metadata, recipe, imatrix=True))


def test_what_the_tensors_of_a_file_take():
    theirs, ours = measure.best_files()[:2]
    nbytes, bpw = measure.tensor_bytes(theirs)
    assert nbytes == _size(theirs.recipe)
    model = models.load("tiny")
    assert bpw == 8 * nbytes / sum(model[name].n_weights for name in model)
    assert nbytes - measure.tensor_bytes(ours)[0] == theirs.nbytes - ours.nbytes


def test_what_was_measured_is_said():
    about = measure.about_best_files()
    assert about["model"] == "tiny"
    assert "heldout" in about["scored on"]
    assert "calibration" in about["calibrated on"]


def test_a_missing_file_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("qviz.models.known.data_dir", lambda: tmp_path)
    with pytest.raises(ModelNotFoundError, match="install qviz-toolkit again"):
        measure.best_files()


def test_the_error_of_a_paired_ratio_is_what_drawing_windows_again_gives():
    rng = np.random.default_rng(0)
    n, window = 200, 5
    hard = rng.gamma(4, size=(n, 1))  # windows differ, for both files alike
    theirs = hard * rng.gamma(9, 1 / 9, (n, window))
    ours = 0.4 * theirs * rng.gamma(20, 1 / 20, (n, 1)) * rng.gamma(9, 1 / 9, (n, window))
    ratio, error = measure.paired_ratio(ours.ravel(), theirs.ravel(), window)
    assert ratio == pytest.approx(ours.sum() / theirs.sum())
    draws = 2000
    drawn = rng.integers(0, n, (draws, n))
    again = ours[drawn].sum(axis=(1, 2)) / theirs[drawn].sum(axis=(1, 2))
    # the deviation of so many draws is known within 1/√(2·draws), four of them here; windows are n, not n − 1: 1/2n
    assert again.std() == pytest.approx(error, rel=4 / np.sqrt(2 * draws) + 1 / n)
    alone = np.hypot(*(x.mean(axis=1).std() / np.sqrt(n) / x.mean() for x in (ours, theirs)))
    assert error < 0.5 * ratio * alone  # what makes a window hard for both drops out


def test_ratios_of_one_window_have_no_error():
    ratio, error = measure.paired_ratio([1, 2], [2, 2], 2)
    assert ratio == 0.75
    assert np.isnan(error)


@pytest.mark.parametrize(
    ("ours", "theirs", "window"), [([1, 2, 3], [1, 2, 3], 2), ([1, 2], [1, 2, 3, 4], 2), ([], [], 2), ([1], [1], 0)]
)
def test_windows_must_be_whole(ours, theirs, window):
    with pytest.raises(ShapeError, match=f"whole windows of {window} of both|window is 0"):
        measure.paired_ratio(ours, theirs, window)


def test_ratios_are_of_the_same_recipes_on_two_texts():
    rows, recipes = measure.best_ratios(), [row.recipe for row in measure.best_files()[::2]]
    assert [(row.text, row.recipe) for row in rows] == [(text, r) for text in ("held-out", "code") for r in recipes]
    for row in rows:
        assert row.ratio == pytest.approx(row.kld / row.recipe_kld, rel=2e-4)  # stated: five digits of each are kept
        assert row.ppl_ratio == pytest.approx(row.ppl / row.recipe_ppl, rel=2e-4)  # stated, as above
        assert row.ratio + 3 * row.ratio_se < 1
        if row.text == "held-out":
            assert row.ppl_ratio < 1 + 3 * row.ppl_ratio_se, "perplexity does not contradict it"
    files = measure.best_files()
    for row, theirs, ours in zip(rows, files[::2], files[1::2], strict=False):  # the held-out text comes first
        again = ours.kld / theirs.kld
        # errors of the two as if they had nothing in common: more than that of the pair
        error = again * np.hypot(ours.kld_se / ours.kld, theirs.kld_se / theirs.kld)
        assert abs(row.ratio - again) < 4 * np.hypot(error, row.ratio_se)
