"""The kept table of three models: whole, and consistent with itself."""

import numpy as np
import pytest

from qviz import measure, recipes
from qviz.errors import ModelNotFoundError, QvizError
from qviz.measure import TABLE_RECIPES

MODELS = ("tiny", "smollm2", "gemma3-270m")


@pytest.mark.parametrize("model", MODELS)
def test_every_recipe_that_rounds_was_measured_on_every_model(model):
    rows = measure.models_table(model)
    assert tuple(row.recipe for row in rows if row.recipe not in ("F32", "F16")) == TABLE_RECIPES[2:]
    assert {row.model for row in rows} == {model}
    for row in rows:
        assert row.quality.n_tokens >= 500
        assert 0 <= row.tails.median <= row.tails.high <= row.tails.most
        assert row.tails.median <= row.quality.kld <= row.tails.most
        assert row.published == measure.PUBLISHED_PPL.get(row.recipe)
        assert abs(sum(row.formats.values()) - 1) < 1e-3, "shares of five digits"


@pytest.mark.parametrize("model", MODELS)
def test_questions_were_asked(model):
    asked = [row for row in measure.models_table(model) if row.tasks]
    tasks = list(dict.fromkeys(item.task for item in measure.cloze_items()))
    assert "Q2_K" in {row.recipe for row in asked}
    for row in asked:
        assert list(row.tasks) == tasks
        assert row.answers.n >= 300
        assert list(row.faded) == tasks
        assert all(error > 0 for _, error in row.faded.values()) or row.recipe in ("F32", "F16")
    for task in tasks:  # the published file answers as it does, whatever it is compared with
        assert len({row.tasks[task].before for row in asked if row.answers.n == asked[0].answers.n}) == 1


def test_sizes_of_the_small_model_are_those_of_its_plans():
    from qviz import models

    model = models.load("tiny")
    for row in measure.models_table("tiny"):
        choices = recipes.plan(model, model.metadata, row.recipe)
        assert row.bpw == round(8 * sum(c.nbytes for c in choices) / sum(c.n_weights for c in choices), 4)


def test_what_was_measured_is_said():
    about = measure.about_models_table()
    assert tuple(about["models"]) == MODELS
    assert "heldout" in about["scored on"]


def test_tails_are_quantiles():
    kld = np.random.default_rng(1).exponential(size=1001)
    found = measure.tails(kld)
    assert (found.median, found.most) == (sorted(kld)[500], max(kld))
    assert sorted(kld)[990] == found.high


def test_rank_correlations_by_hand():
    """Ranks 1 2 3 4 and 2 1 3 4: 1 - 6 · (1 + 1) / (4 · 15) = 0.8."""
    found = measure.rank_correlations({"a": [1, 2, 3, 4], "b": [20, 10, 30, 40], "c": [9, 8, 7, 6]})
    assert {pair: round(value, 12) for pair, value in found.items()} == {
        ("a", "b"): 0.8,
        ("a", "c"): -1,
        ("b", "c"): -0.8,
    }


def test_columns_that_cannot_be_ranked_are_refused():
    with pytest.raises(QvizError, match="at least 3"):
        measure.rank_correlations({"a": [1, 2], "b": [1, 2]})
    with pytest.raises(QvizError, match="columns of one length"):
        measure.rank_correlations({"a": [1, 2, 3], "b": [1, 2]})


def test_a_model_that_was_not_measured_is_refused():
    with pytest.raises(QvizError, match="'gpt2' was not measured; there are tiny, smollm2, gemma3-270m"):
        measure.models_table("gpt2")


def test_a_missing_file_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("qviz.models.known.data_dir", lambda: tmp_path)
    with pytest.raises(ModelNotFoundError, match="install qviz-toolkit again"):
        measure.models_table()
