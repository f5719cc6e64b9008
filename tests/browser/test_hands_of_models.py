"""Walls, slopes, bars and tokens, taken by the mouse and by keys: Python's controls and figures follow."""

from __future__ import annotations

import numpy as np

from qviz.widgets import AWQExplorer, BalanceExplorer, CapstoneExplorer, DuelExplorer, RecipeExplorer, SpeedExplorer


def wide(canvas):
    return canvas.evaluate("(node) => node.clientWidth")


def grasped(there, canvas, xs, ys):
    """The first of some places where a hand would take something."""
    place = canvas.evaluate(
        """(node, [xs, ys]) => {
            const { left, top } = node.getBoundingClientRect();
            for (const y of ys) for (const x of xs) {
                const at = { clientX: left + x, clientY: top + y, bubbles: true };
                node.dispatchEvent(new PointerEvent('pointermove', at));
                if (node.style.cursor === 'grab') return [x, y];
            }
            return null;
        }""",
        [list(xs), list(ys)],
    )
    assert place, "there is nothing to take"
    return place


def test_the_wall_of_a_budget(stage, made):
    explorer = BalanceExplorer(made["rows"], budget=7)
    there = stage(explorer)
    canvas = there.canvas("balance")
    assert explorer.figure["balance"].names[explorer.figure["balance"].best] == "Q5_0"
    x, y = grasped(there, canvas, range(70, wide(canvas) - 20, 8), [150])
    there.drag(canvas, (x, y), (x - 0.3 * wide(canvas), y))
    plane = explorer.figure["balance"]
    assert explorer.controls["budget"].value == plane.budget < 6
    assert plane.names[plane.ghost] == "Q5_0"
    before = plane.budget
    there.press(canvas, "ArrowRight")
    assert explorer.controls["budget"].value > before
    there.press(canvas, "ArrowUp")
    assert explorer.figure["balance"].current != explorer.figure["balance"].best
    there.hold("predict first")
    there.press(canvas, "End")
    assert explorer.controls["budget"].value < explorer.controls["budget"].max
    assert "predict first" in there.page.locator(".qviz-bubble").inner_text()


def test_the_slope_of_a_roof(stage, made):
    explorer = SpeedExplorer(made["speeds"], made["machine"])
    there = stage(explorer)
    canvas = there.canvas("rates")
    assert explorer.controls["bandwidth"].value == 20
    x, y = grasped(there, canvas, range(150, wide(canvas) // 2, 8), range(40, 340, 8))
    there.drag(canvas, (x, y), (x, y - 60))
    faster = explorer.controls["bandwidth"].value
    assert faster > 30
    assert explorer.figure["rates"].bandwidth == 1e9 * faster
    there.press(canvas, "ArrowDown")
    assert explorer.controls["bandwidth"].value < faster
    current = explorer.figure["rates"].current
    there.press(canvas, "ArrowLeft")
    assert explorer.figure["rates"].current == current - 1


def test_the_wall_of_a_mission(stage):
    explorer = CapstoneExplorer("7B on a phone")
    there = stage(explorer)
    canvas, limit = there.canvas("chooser"), explorer.controls["budget"].value
    x, y = grasped(there, canvas, range(70, wide(canvas) - 20, 8), [150])
    there.drag(canvas, (x, y), (x + 120, y))
    assert explorer.controls["budget"].value > 1.05 * limit
    assert explorer.figure["chooser"].limit == limit
    there.press(canvas, "Home")
    assert explorer.controls["budget"].value == explorer.controls["budget"].min


def test_the_scale_of_a_channel(stage, made):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((200, 64)) * np.r_[20, np.ones(63)]).astype(np.float32)
    layers = {"mine": (rng.standard_normal((8, 64)).astype(np.float32), x[:150], x[150:])}
    explorer = AWQExplorer(layers, group_size=64)
    there = stage(explorer)
    canvas = there.canvas("hand")
    cell = (wide(canvas) - 66) / 24
    there.drag(canvas, (56 + 3.5 * cell, 98 - 76 * 2 / 8), (56 + 3.5 * cell, 50))
    hand = explorer.figure["hand"]
    assert hand.channels[hand.current] == 3
    assert hand.scale[hand.current] == np.float32(explorer.controls["scale"].value)
    assert hand.scale[hand.current] > 4
    assert hand.scale[0] == 4, "the largest channel stays as it was"
    there.press(canvas, "ArrowUp")
    assert explorer.figure["hand"].scale[3] > hand.scale[3]


def test_tokens_are_pointed_at(stage):
    explorer = DuelExplorer(left="F16", right="Q2_K", max_tokens=8)
    there = stage(explorer)
    duel = explorer.figure["duel"]
    assert there.page.locator("mark").count() == (2 if duel.parts < 8 else 0), "only the first difference is coloured"
    there.page.locator("[data-token='5']").first.hover()
    there.rest()
    assert explorer.figure["duel"].current == 5
    text = there.page.locator(".qviz-duel")
    there.press(text, "ArrowLeft", "ArrowLeft")
    assert explorer.figure["duel"].current == 3
    assert there.page.locator(".qviz-token.qviz-on").count() == 2


def test_the_frame_of_a_token_is_in_one_piece(stage):
    """Wherever a line ends: where that is before a token, its space stays behind, and its word is framed."""
    there = stage(DuelExplorer(left="F16", right="Q2_K", max_tokens=8))
    pieces = there.page.evaluate(
        """() => [...Array(60).keys()].flatMap((i) => {
            document.getElementById('view').style.width = `${300 + 4 * i}px`;
            return [...document.querySelectorAll('[data-token]')].map((token) => {
                token.classList.add('qviz-on');
                const framed = [token, ...token.children].filter((n) => getComputedStyle(n).outlineStyle === 'solid');
                const rows = new Set(framed.flatMap((n) => [...n.getClientRects()]).map(({ top }) => top));
                token.classList.remove('qviz-on');
                return rows.size;
            });
        })"""
    )
    assert len(pieces) == 60 * 2 * 8
    assert set(pieces) == {1}


def test_colours_move_from_recipe_to_recipe(stage):
    explorer = RecipeExplorer("llama-7b", "Q5_K_M", "Q6_K")
    there = stage(explorer, motion=True)
    pixels = "(node) => node.toDataURL()"
    before = there.canvas("right").evaluate(pixels)
    explorer.controls["step"].value += 1
    between = there.told("[data-panel=right] canvas")
    there.page.wait_for_timeout(600)
    after = there.canvas("right").evaluate(pixels)
    assert len({before, between, after}) == 3, "a quarter of a second between the two"
    assert "Q6_K → Q8_0" in there.page.locator(".qviz-changes").inner_text().replace("\n", " ")
