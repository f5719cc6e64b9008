"""The explorers of whole models, driven from Python."""

import warnings
from pathlib import Path

import pytest

import qviz
from qviz.errors import WidgetError
from qviz.measure import MethodRow, RecipeRow, best_files
from qviz.widgets import BalanceExplorer, DuelExplorer, ProgressBar
from qviz.widgets.scene import unpack


def row(recipe, mib, kld, delta):
    quality = qviz.transformer.Perplexity(
        1000, 40 + delta, 1.0, 256, 40.0, delta, 0.02, 0.01, 0.001, kld, kld / 50, 0.9, 0.01
    )
    return RecipeRow(recipe, int(mib * 2**20), 8.0, int(mib * 2**20), quality, 100.0, None)


ROWS = [
    row("Q8_0", 8, 0.001, 0.01),
    row("Q5_0", 6, 0.01, 0.1),
    row("Q4_K_M", 5, 0.02, 0.2),
    row("Q4_0", 5.5, 0.04, 0.15),
]


def test_the_budget_chooses():
    explorer = BalanceExplorer(ROWS, budget=7)
    plane = explorer.figure["balance"]
    assert plane.names[plane.best] == plane.names[plane.current] == "Q5_0"
    explorer.controls["budget"].value = 5.8
    plane = explorer.figure["balance"]
    assert plane.names[plane.best] == "Q4_K_M"
    explorer.controls["damage"].value = "rise in perplexity"
    plane = explorer.figure["balance"]
    assert plane.names[plane.best] == "Q4_0"
    assert [plane.names[i] for i in plane.front] == ["Q4_K_M", "Q4_0", "Q5_0", "Q8_0"]
    explorer.controls["budget"].value = explorer.controls["budget"].min
    assert explorer.figure["balance"].best == -1
    assert "smaller model" in explorer.figure.scene.status[0].text


def test_a_point_can_be_looked_at():
    explorer = BalanceExplorer(ROWS, budget=7)
    explorer._message(explorer.figure, {"event": "point", "point": 3}, None)
    readouts = {tile.label: tile.value for tile in explorer.figure.scene.readouts}
    assert readouts["Format · bpw"] == "Q4_0 · 8.00"
    assert readouts["Rise"] == "+0.150 ± 0.020"
    explorer._message(explorer.figure, {"event": "point", "point": "?"}, None)  # nonsense is not answered
    assert explorer.figure["balance"].current == 3
    sent = unpack(explorer.figure.frame)["panels"]["balance"]["figure"]
    assert sent["names"] == ["Q8_0", "Q5_0", "Q4_K_M", "Q4_0"]
    assert sent["sizes"].tolist() == [8, 6, 5, 5.5]


def test_a_hand_moves_the_wall_and_the_last_choice_stays_as_a_ghost():
    explorer = BalanceExplorer(ROWS, budget=7)
    wall = unpack(explorer.figure.frame)["panels"]["balance"]["options"]["wall"]
    assert wall["range"] == [0.9 * 5, 1.02 * 8]
    assert explorer.figure["balance"].ghost == -1

    def drag(budget):
        explorer._message(explorer.figure, {"event": "set", "control": "budget", "value": budget}, None)
        return explorer.figure["balance"]

    plane = drag(5.8)
    assert explorer.controls["budget"].value == plane.budget == 5.8
    assert (plane.names[plane.best], plane.names[plane.ghost]) == ("Q4_K_M", "Q5_0")
    plane = drag(5.6)  # the same choice: what was chosen before it is still Q5_0
    assert (plane.names[plane.best], plane.names[plane.ghost]) == ("Q4_K_M", "Q5_0")
    assert "Before, it was Q5_0" in explorer.figure.scene.summary
    explorer.lock("x", "predict first")
    assert drag(8).budget == 5.6, "a lock holds the wall, too"
    explorer.unlock("x")
    assert drag(100).budget == 1.02 * 8, "the slider ends there"


def test_three_series_can_be_switched_on():
    files = best_files()
    explorer = BalanceExplorer(ROWS, budget=7, files=files)
    assert explorer.figure["balance"].names == tuple(row.recipe for row in ROWS)
    explorer.controls["imatrix"].value = explorer.controls["best"].value = True
    plane = explorer.figure["balance"]
    assert len(plane.names) == len(ROWS) + len(files)
    assert [(plane.series == k).sum() for k in range(3)] == [len(ROWS), len(files) // 2, len(files) // 2]
    theirs, ours = (plane.names.index(name, len(ROWS)) for name in ("Q4_K_M", "best ≤ Q4_K_M"))
    row = next(row for row in files if row.recipe == "Q4_K_M")
    assert plane.damage[theirs] == row.kld
    assert plane.sizes[theirs] == 4981760 / 2**20  # tensors as the plan has them, and no cache: memory = nbytes in ROWS
    assert plane.damage[ours] < plane.damage[theirs]
    assert plane.sizes[ours] <= plane.sizes[theirs]
    assert set(plane.front) <= set(plane.fronts[2]) | {0, 1, 2, 3}, "an importance matrix alone is never the best"
    explorer._message(explorer.figure, {"event": "point", "point": ours}, None)
    readouts = {tile.label: tile.value for tile in explorer.figure.scene.readouts}
    assert readouts["Format · bpw"].startswith("best ≤ Q4_K_M · 5.06")
    assert all(len(line) == len(table.columns) for table in explorer.figure.scene.tables for line in table.rows)
    explorer.controls["damage"].value = "rise in perplexity"
    plane = explorer.figure["balance"]
    assert plane.damage[theirs] == row.ppl - row.base_ppl
    assert plane.errors[theirs] == 0
    for name in ("recipes", "imatrix", "best"):
        explorer.controls[name].value = False
    assert "at least one" in explorer.figure.scene.status[0].text
    with pytest.raises(WidgetError, match="recipe_table"):
        BalanceExplorer([MethodRow("rtn", 4, 128, 4.16, 0.1, ROWS[1].quality)], files=files)


def test_rows_are_needed():
    with pytest.raises(WidgetError, match="recipe_table"):
        BalanceExplorer([])


def test_a_duel_takes_its_files_along():
    explorer = DuelExplorer(left="F16", right="F16", max_tokens=5)
    (folder,) = {Path(run.model.path).parent for run in explorer._runs.values()}
    assert list(folder.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a folder that nobody closed, say
        explorer.close()
    assert not folder.exists()


def test_two_formats_write(tmp_path):
    explorer = DuelExplorer(left="F16", right="F16", max_tokens=6)
    duel = explorer.figure["duel"]
    assert duel.tokens[0] == duel.tokens[1]
    assert duel.parts == len(duel.tokens[0]) == 6
    llama = qviz.transformer.Transformer(qviz.load("tiny"))
    assert "".join(duel.tokens[0]) == "".join(qviz.transformer.generate(llama, duel.prompt, 6))
    explorer.controls["right"].value = "Q2_K"
    explorer.wait()
    duel = explorer.figure["duel"]
    assert duel.names == ("F16", "Q2_K")
    assert len(duel.tokens[1]) == 6
    explorer.controls["prompt"].value = "It was the"
    explorer.wait()
    assert explorer.figure["duel"].prompt == "It was the"
    assert explorer.controls["stop"].disabled


def test_a_token_that_is_pointed_at_shows_what_both_held_probable():
    explorer = DuelExplorer(left="F16", right="Q2_K", max_tokens=12)
    duel = explorer.figure["duel"]
    assert duel.current == min(duel.parts, 11)
    explorer._message(explorer.figure, {"event": "token", "token": 3}, None)
    assert explorer.figure["duel"].current == 3
    odds = explorer.figure["odds"]
    # by another way: the model reads the prompt and three tokens of its own, and takes the likeliest
    for side, run in enumerate(explorer._runs[name] for name in odds.names):
        ids = [*run.tokenizer.encode(duel.prompt), *explorer._written[side][:3]]
        logits = run.logits(ids, last_only=True)[-1]
        assert odds.chosen[side] == odds.tokens.index(explorer._piece(int(logits.argmax())))
        assert odds.odds[side].argmax() == odds.chosen[side]
        assert 0 < odds.odds[side].sum() <= 1
    assert odds.same == (duel.parts >= 3)
    explorer._message(explorer.figure, {"event": "token", "token": 999}, None)
    assert explorer.figure["duel"].current == 11
    explorer.controls["prompt"].value = "It was the"
    explorer.wait()
    assert explorer.figure["duel"].current == min(explorer.figure["duel"].parts, 11)


def test_writing_can_be_stopped():
    explorer = DuelExplorer(left="F16", right="F16", max_tokens=5)
    explorer.controls["tokens"].value = 120
    explorer.controls["stop"].click()
    assert not explorer._thread.is_alive()
    assert len(explorer.figure["duel"].tokens[0]) < 120


def test_a_prompt_that_is_too_long_is_said():
    explorer = DuelExplorer(left="F16", right="F16", max_tokens=5)
    explorer.controls["prompt"].value = "whale " * 400
    explorer.wait()
    assert "context is 256" in explorer.figure.scene.status[0].text


def test_unknown_formats_are_refused():
    with pytest.raises(WidgetError, match="Q9_0"):
        DuelExplorer(left="Q9_0")


def test_methods_are_compared_by_true_bits():
    rows = [MethodRow("rtn", 4, 128, 4.16, 0.1, ROWS[1].quality), MethodRow("gptq", 3, 64, 3.4, 9.0, ROWS[2].quality)]
    explorer = BalanceExplorer(rows, budget=4)
    plane = explorer.figure["balance"]
    assert plane.sizes.tolist() == [4.16, 3.4]
    assert plane.names[plane.best] == "gptq 3 bit, 64"
    assert "seconds to make" in explorer.figure.scene.tables[0].columns


def test_more_rows_are_measured_by_a_button_and_can_be_stopped(monkeypatch):
    rows = [MethodRow("rtn", 4, 128, 4.16, 0.1, ROWS[1].quality)]
    more = [("gptq", 3, 64), ("awq", 3, 64), ("rtn", 3, 64), ("Q3_K", 0, 0), ("Q8_0", 0, 0)]
    asked = []

    def table(settings, speed, progress):
        assert speed
        asked.extend(settings)
        progress("scoring", 1, 2)
        if ("Q8_0", 0, 0) in settings and len(asked) == 5:
            explorer._halt.set()  # as the button does
            progress("scoring", 2, 2)
        return [MethodRow(*s, 3.0 + len(asked) / 10, 1.0, ROWS[2].quality) for s in settings]

    monkeypatch.setattr(qviz.widgets.balance, "method_table", table)
    explorer = BalanceExplorer(rows, budget=4, more=more)
    assert explorer.figure["balance"].names == ("rtn 4 bit, 128",)
    explorer.controls["measure"].click()
    explorer.wait()
    assert explorer.figure["balance"].names == ("gptq 3 bit, 64", "awq 3 bit, 64", "rtn 3 bit, 64", "Q3_K")
    assert "4 of 5 measured" in explorer.figure.scene.status[0].text
    assert explorer.controls["stop"].disabled
    explorer.controls["measure"].click()
    explorer.wait()
    assert len(explorer.figure["balance"].names) == 5
    assert not explorer.figure.scene.status
    assert "measure" not in BalanceExplorer(rows).controls


def test_progress_is_told():
    bar = ProgressBar()
    bar("reading", 1, 4)
    bar("reading", 4, 4)
    assert (bar.children[0].value, bar.children[0].max, bar.children[1].value) == (4, 4, "reading: 4 of 4")
