"""The measured tables: what they hold, that they are kept, and that methods run layer by layer."""

import json

import numpy as np
import pytest

import qviz
from qviz.errors import QvizError
from qviz.measure import (
    GROUPS,
    PUBLISHED_PPL,
    agreement,
    groups_in_order,
    method_table,
    recipe_table,
    round_model,
)

SOME = ("Q8_0", "Q4_0", "Q2_K")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("QVIZ_CACHE", str(tmp_path / "cache" / "models"))
    return tmp_path / "cache" / "measured"


@pytest.fixture(scope="module")
def text():
    return qviz.models.heldout_text()[:9000]


def test_a_table_is_measured_once(kept, text, monkeypatch):
    told = []
    monkeypatch.setattr(qviz.measure, "generation_speed", lambda run: 7.0)
    rows = recipe_table(text=text, recipes=SOME, progress=lambda *p: told.append(p))
    assert {what.split()[0] for what, _, _ in told} == {"quantizing", "scoring", "timing"}
    assert [row.recipe for row in rows] == list(SOME)
    assert rows[0].nbytes == sum(
        c.nbytes for c in qviz.recipes.plan(qviz.load("tiny"), qviz.load("tiny").metadata, "Q8_0")
    )
    assert rows[0].memory - rows[0].nbytes == 2 * 8 * 256 * 256 * 2
    assert rows[0].quality.kld < rows[1].quality.kld < rows[2].quality.kld
    assert all(row.tokens_per_second == 7 for row in rows)
    assert rows[2].published == 0.8698

    def never(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(qviz.pipeline, "quantize_model", never)
    assert recipe_table(text=text, recipes=SOME) == rows
    with pytest.raises(AssertionError, match="again"):  # another text is another question
        recipe_table(text=text + " ", recipes=SOME)
    with pytest.raises(AssertionError, match="again"):
        recipe_table(text=text, recipes=SOME, cache=False)


def test_speed_is_that_of_generation():
    run = qviz.llama.Llama(qviz.load("tiny"))
    seen = []
    logits, run.logits = run.logits, lambda *a: seen.append(a) or logits(*a)
    assert 1 < qviz.measure.generation_speed(run, n_tokens=4, repeats=2) < 1e6
    assert len(seen) == 3 * 4
    assert all(len(tokens) == 1 for tokens, _ in seen)


def test_damaged_results_are_measured_again(kept, text):
    before = recipe_table(text=text, recipes=SOME[:1], speed=False)
    for path in kept.iterdir():
        path.write_text(json.dumps({"ppl": 1}) if path.stat().st_size % 2 else "{", encoding="utf-8")
    assert recipe_table(text=text, recipes=SOME[:1], speed=False)[0].quality == before[0].quality


def test_what_was_measured_before_an_interruption_stays(kept, text):
    def stop(what, done, total):
        if what.startswith("timing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipe_table(text=text, recipes=SOME[:1], progress=stop)
    assert kept.is_dir()
    told = []
    recipe_table(text=text, recipes=SOME[:1], speed=False, progress=lambda *p: told.append(p))
    assert told == []


def test_agreement_is_a_rank_correlation(kept, text):
    rows = recipe_table(text=text, recipes=SOME, speed=False)
    assert agreement(rows).kld == 1
    assert agreement(rows[::-1]).kld == 1
    assert groups_in_order(rows) == [True, True]
    with pytest.raises(QvizError, match="at least 3"):
        agreement(rows[:2])


def test_published_figures_cover_the_groups():
    assert sorted(name for group in GROUPS for name in group) == sorted(PUBLISHED_PPL)


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq"])
def test_methods_go_through_the_model(method):
    tiny = qviz.load("tiny")
    rounded, bpw = round_model(tiny, method, 4, 64, n_tokens=512)
    assert 4.2 < bpw < 4.5
    changed = [name for name in tiny if not np.array_equal(rounded[name].dequantize(), tiny[name].dequantize())]
    assert changed == [n for n in tiny if n.startswith("blk.") and "norm" not in n]
    name = "blk.3.attn_q.weight"
    w = rounded[name].dequantize().reshape(-1, 64)
    if method != "awq":  # AWQ folds a scale into the columns, so that only the scaled weights lie on a grid
        assert max(len(np.unique(group)) for group in w) <= 16
    alone = qviz.rtn(tiny[name].dequantize(), None, qviz.AffineGrid(4, 64)).weight
    assert np.array_equal(alone, rounded[name].dequantize()) == (method == "rtn")


def test_methods_are_measured_and_kept(kept, text):
    settings = [("rtn", 3, 128), ("gptq", 3, 128), ("Q3_K", 0, 0)]
    rows = method_table(settings, text=text, max_tokens=500, n_tokens=1024)
    assert [row.recipe for row in rows] == ["rtn 3 bit, 128", "gptq 3 bit, 128", "Q3_K"]
    assert rows[2].bpw == 3.4375
    assert rows[1].quality.kld < rows[0].quality.kld
    assert method_table(settings, text=text, max_tokens=500, n_tokens=1024) == rows


def test_what_is_refused():
    with pytest.raises(QvizError, match="'obq'"):
        round_model(qviz.load("tiny"), "obq")
    with pytest.raises(QvizError, match="longer one"):
        round_model(qviz.load("tiny"), "gptq", calibration="word " * 600, n_tokens=4096)
