"""The kept measurement of best files: whole, and no larger than what it is compared with."""

import pytest

from qviz import measure, models, recipes
from qviz.errors import ModelNotFoundError
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
