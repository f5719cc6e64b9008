"""The measured tables: what they hold, that they are kept, and that methods run layer by layer."""

import itertools
import json
import math

import pytest

import qviz
from qviz.errors import QvizError
from qviz.measure import (
    GROUPS,
    METHODS,
    PUBLISHED_PPL,
    agreement,
    groups_in_order,
    method_table,
    recipe_table,
)

SOME = ("Q8_0", "Q4_0", "Q2_K")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("QVIZ_CACHE", str(tmp_path / "cache" / "models"))
    return tmp_path / "cache" / "measured"


@pytest.fixture(scope="module")
def text():
    return qviz.models.heldout_text()[:4000]


def test_a_table_is_measured_once(kept, text, monkeypatch):
    told = []
    monkeypatch.setattr(qviz.measure.tables, "generation_speed", lambda run: 7.0)
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

    monkeypatch.setattr(qviz.whole.by_recipe, "quantize_model", never)
    assert recipe_table(text=text, recipes=SOME) == rows
    with pytest.raises(AssertionError, match="again"):  # another text is another question
        recipe_table(text=text + " ", recipes=SOME)
    with pytest.raises(AssertionError, match="again"):
        recipe_table(text=text, recipes=SOME, cache=False)


def test_speed_is_that_of_generation():
    run = qviz.transformer.Transformer(qviz.load("tiny"))
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


def nonsense(value):
    """Other things of the same length that a file may hold."""
    yield "[" * 100_000
    yield json.dumps(value)[:-3]
    yield json.dumps([value])
    yield json.dumps(value | {"another": 1})
    yield json.dumps(dict(list(value.items())[1:]))
    for key in value:
        for wrong in ("12", True, [1], {"a": 1}):
            yield json.dumps(value | {key: wrong})


def test_whatever_a_kept_file_holds_is_a_miss(tmp_path, monkeypatch):
    monkeypatch.setenv("QVIZ_CACHE", str(tmp_path / "models"))
    quality = qviz.transformer.Perplexity(10, 40.0, 1.0, 256).as_dict()
    kinds = {
        "size": {"nbytes": 1, "n": 2},
        "speed": {"tokens_per_second": 7.5},
        "quality": quality,
        "method": {"bpw": 3.5, "seconds": 1.0, "quality": quality},
    }
    for kind, value in kinds.items():
        store = qviz.measure.tables._Store({}, True)
        store.put(kind, "x", value)
        assert qviz.measure.tables._Store({}, True).get(kind, "x") == value
        for text in nonsense(value):
            store._path(kind, "x").write_text(text)
            assert qviz.measure.tables._Store({}, True).get(kind, "x") is None, text[:200]
        store._path(kind, "x").write_bytes(b"\xff\xfe\x00\xd8")
        assert qviz.measure.tables._Store({}, True).get(kind, "x") is None
        assert qviz.measure.tables._Store({"another": "model"}, True).get(kind, "x") is None


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


def test_methods_are_measured_and_kept(kept, text):
    settings = [("rtn", 3, 128), ("gptq", 3, 128), ("Q3_K", 0, 0)]
    rows = method_table(settings, text=text, max_tokens=500, n_tokens=4096)
    assert [row.recipe for row in rows] == ["rtn 3 bit, 128", "gptq 3 bit, 128", "Q3_K"]
    assert rows[2].bpw == 3.4375
    assert rows[1].quality.kld < rows[0].quality.kld
    # a speed that was not measured is NaN, which equals nothing
    assert repr(method_table(settings, text=text, max_tokens=500, n_tokens=4096)) == repr(rows)
    assert all(math.isnan(row.tokens_per_second) for row in rows)
    timed = method_table(settings[::2], text=text, max_tokens=500, n_tokens=4096, speed=True)  # a grid, and a format
    assert all(row.tokens_per_second > 1 for row in timed)
    assert [row.quality for row in timed] == [row.quality for row in rows[::2]]


def test_the_same_bits_for_a_format_and_gptq_onto_it(kept, text):
    rows = method_table([("Q3_K", 0, 0), ("gptq Q3_K", 0, 0)], text=text, max_tokens=500, n_tokens=1024, speed=True)
    assert rows[0].bpw == rows[1].bpw == 3.4375
    assert rows[1].quality.kld < rows[0].quality.kld
    assert all(row.tokens_per_second > 1 for row in rows)


def test_the_whole_table_has_every_method_at_every_width():
    assert len(set(METHODS)) == len(METHODS)
    for bits, method in itertools.product((2, 3, 4, 8), ("rtn", "gptq", "awq", "recommended")):
        assert {128, 64} <= {g for m, b, g in METHODS if (m, b) == (method, bits)}


def test_what_is_refused(kept, text):
    with pytest.raises(QvizError, match="'obq'"):
        method_table([("obq", 4, 128)], text=text)
