"""The explorers of the first lesson, driven from Python."""

import math

import bounds
import numpy as np
import pytest

from qviz import models
from qviz.errors import WidgetError
from qviz.figures import psnr
from qviz.widgets import NumberExplorer, PhotoExplorer
from qviz.widgets.number import RANGES
from qviz.widgets.scene import unpack

RNG = np.random.default_rng(5)
WEIGHTS, INPUTS = RNG.normal(size=(24, 64)).astype(np.float32), RNG.normal(size=(96, 64)).astype(np.float32)


@pytest.fixture
def explorer():
    return PhotoExplorer(models.photo(), WEIGHTS, INPUTS, bits=2)


def tiles(explorer):
    return {tile.label: tile.value for tile in explorer.figure.scene.readouts}


def output_error(rounded):
    """‖X·(Ŵ − W)ᵀ‖ / ‖X·Wᵀ‖ in float64, and the bound of norms of float32 products."""
    x, w, v = (part.astype(np.float64) for part in (INPUTS, WEIGHTS, rounded))
    norms = np.linalg.norm(x @ (v - w).T), np.linalg.norm(x @ w.T)
    each = [np.linalg.norm(bounds.dot_bound(x, part)) + (w.size + len(x)) * bounds.U * norms[1] for part in (w, v)]
    return norms[0] / norms[1], bounds.ratio_bound(norms[0], sum(each), norms[1], each[0])


@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize("reach", RANGES)
def test_a_number_by_the_formulas(reach, sym):
    explorer = NumberExplorer(range=reach, sym=sym)
    low, high = RANGES[reach]
    for bits in range(2, 9):
        explorer.controls["bits"].value = bits
        steps = 2**bits - 1
        scale = np.float32(2 * max(-low, high) / steps if sym else (high - low) / steps)
        zero = 0 if sym else int(np.rint(np.float32(-low) / scale))  # half a code too: it depends on float32
        code = min(round(math.pi / scale) + zero, 2 ** (bits - 1) - 1 if sym else steps)
        assert explorer.code == code
        decoded = float(scale) * (code - zero)
        bounds.assert_within(explorer.decoded, decoded, bounds.size_bound(decoded, 1))
        assert tiles(explorer)["Stored as"] == f"{code % 2**bits:0{bits}b}"
        assert abs(explorer.decoded - math.pi) <= scale / 2 + bounds.size_bound(math.pi, 2)
        line = explorer.figure["line"]
        assert line.used.sum() == 5
        assert line.levels.size == 2**bits
    assert explorer.figure.scene.tables[0].rows[-1][2] == str(explorer.code)
    explorer.controls["number"].value = "ln 2"
    assert explorer.figure.panels["line"].options["current"] == 4


def test_numbers_that_do_not_fit():
    with pytest.raises(WidgetError, match="big"):
        NumberExplorer({"big": 5.0})
    with pytest.raises(WidgetError, match="0 … 4"):
        NumberExplorer(range="0 … 5")
    with pytest.raises(WidgetError, match="2 to 8"):
        NumberExplorer(bits=1)


@pytest.mark.parametrize("kind", ["uniform", "palette"])
@pytest.mark.parametrize("bits", [1, 3])
def test_what_is_measured_by_formula(explorer, bits, kind):
    explorer.controls["bits"].value = bits
    explorer.controls["levels"].value = kind
    m = explorer.measured
    photo, after = models.photo().astype(float), explorer.figure["photo"].pixels.astype(float)
    assert math.isclose(m["photo, PSNR"], psnr(photo, after))
    assert len(np.unique(after)) <= 2**bits
    far = [x.reshape(64, 4, 64, 4).mean(axis=(1, 3)) for x in (photo, after)]
    assert math.isclose(m["photo, PSNR from afar"], psnr(*far))
    assert m["photo, bytes"] == 256 * 256 * bits / 8 + (2 if kind == "uniform" else 2**bits)
    assert m["weights, bytes"] == 24 * 64 * bits / 8 + 2 * (2 if kind == "uniform" else 2**bits)
    levels = explorer.figure["levels"].levels
    nearest = levels[np.abs(levels - WEIGHTS[..., None]).argmin(axis=-1)]
    bounds.assert_within(m["outputs, relative error"], *output_error(nearest))
    assert explorer.figure["levels"].used.sum() == WEIGHTS.size


def test_eight_bits_lose_nothing_of_a_photograph(explorer):
    explorer.controls["bits"].value = 8
    assert explorer.measured["photo, PSNR"] == math.inf
    assert (explorer.figure["photo"].pixels == models.photo()).all()


def test_order_means_nothing_to_weights(explorer):
    before, picture = explorer.measured, explorer.figure["photo"].pixels
    explorer.controls["shuffle"].value = True
    after = explorer.measured
    bounds.assert_within(before["photo, PSNR"], after["photo, PSNR"], bounds.double_bound(256 * 256))
    bounds.assert_within(before["weights, SQNR"], after["weights, SQNR"], bounds.double_bound(WEIGHTS.size))
    levels = explorer.figure["levels"].levels
    _, bound = output_error(levels[np.abs(levels - WEIGHTS[..., None]).argmin(axis=-1)])
    bounds.assert_within(before["outputs, relative error"], after["outputs, relative error"], 2 * bound)
    assert (np.sort(explorer.figure["photo"].pixels, axis=1) == np.sort(picture, axis=1)).all()
    assert not (explorer.figure["photo"].pixels == picture).all()


def test_the_story_holds_on_the_real_weights():
    """Dithering helps a photograph that is seen from afar, and harms weights."""
    explorer = PhotoExplorer(bits=2)
    plain = explorer.measured
    explorer.controls["dither"].value = True
    dithered = explorer.measured
    assert dithered["photo, PSNR from afar"] > plain["photo, PSNR from afar"] + 10
    assert dithered["photo, PSNR"] < plain["photo, PSNR"]
    assert dithered["weights, SQNR"] < plain["weights, SQNR"]
    assert dithered["outputs, relative error"] > 1.05 * plain["outputs, relative error"]


def paint(explorer, pixels, grey=255):
    """As a hand does: pixels (row, column) of the picture on show."""
    columns = explorer.figure["photo"].pixels.shape[1]
    at = [row * columns + column for row, column in pixels]
    event = {"event": "paint", "at": at, "greys": [grey] * len(at)}
    explorer._message(explorer.figure, event, None)


def marked(explorer):
    top, left, rows, columns = explorer.figure.panels["photo"].options["square"]
    return slice(top, top + rows), slice(left, left + columns)


def by_formula(part, bits):
    """A square rounded to whole greys that are spread from its smallest value to its largest."""
    levels = np.unique(np.rint(np.linspace(part.min(), part.max(), 2**bits, dtype=np.float32)))
    return levels[np.abs(levels - part[..., None]).argmin(axis=-1)]


def test_each_square_has_levels_of_its_own(explorer):
    whole = explorer.measured
    explorer.controls["shared"].value = 32
    photo, after = models.photo().astype(np.float32), explorer.figure["photo"].pixels
    for i in range(0, 256, 32):
        for j in range(0, 256, 32):
            part = (slice(i, i + 32), slice(j, j + 32))
            assert (after[part] == by_formula(photo[part], 2)).all()
    m = explorer.measured
    assert m["photo, bytes"] == 256 * 256 * 2 / 8 + 64 * 2
    assert m["weights, bytes"] == 24 * 64 * 2 / 8 + 2 * 2 * 2
    assert m["photo, PSNR"] > whole["photo, PSNR"]
    assert explorer.figure["greys"].used.sum() == 32 * 32
    assert explorer.figure["levels"].used.sum() == 24 * 32
    assert explorer.figure.panels["weights"].options["square"] == [0, 32, 24, 32], "the same place, as far as there is"


def test_one_white_pixel_in_a_dark_square_costs_all_others_their_levels(explorer):
    explorer.controls["shared"].value = 32
    square, before = marked(explorer), explorer.figure["photo"].pixels
    dark = models.photo()[square]
    assert dark.max() < 32, "the square that is marked first is dark"
    spot = square[0].start + 3, square[1].start + 5
    paint(explorer, [spot])
    after = explorer.figure["photo"].pixels
    assert after[spot] == 255
    assert explorer.figure["greys"].levels.tolist() == np.rint(np.linspace(dark.min(), 255, 4)).tolist()
    others = np.ones((32, 32), bool)
    others[3, 5] = False
    assert np.unique(after[square][others]).tolist() == [dark.min()], "all others fall onto the lowest level"
    assert len(np.unique(before[square])) == 4
    outside = np.ones(after.shape, bool)
    outside[square] = False
    assert (after[outside] == before[outside]).all(), "the other squares keep theirs"
    m, off = explorer.measured, (dark.astype(float) - dark.min())[others]
    assert math.isclose(m["unpainted, RMSE"], math.sqrt(np.mean(off**2)), rel_tol=8 * bounds.U)
    assert m["unpainted, RMSE"] > 3 * m["unpainted, RMSE before"]
    said = "1 pixel painted by hand. The marked square has 4 greys from 3 to 255."
    assert said in explorer.figure.panels["photo"].caption
    assert "1 pixel painted by hand" in explorer.figure.scene.summary


def test_with_one_set_of_levels_for_all_a_white_pixel_changes_next_to_nothing(explorer):
    before = explorer.figure["photo"].pixels
    paint(explorer, [(250, 140)])
    assert np.count_nonzero(explorer.figure["photo"].pixels != before) == 1


def test_the_photograph_is_put_back(explorer):
    given, before = models.photo(), explorer.figure["photo"].pixels
    back = explorer.controls["back"]
    assert back.disabled
    paint(explorer, [(0, 0), (9, 200)], grey=7)
    assert not back.disabled
    assert explorer.figure.panels["photo"].options["before"].pixels[9, 200] == 7
    back.click()
    assert back.disabled
    assert (explorer.figure["photo"].pixels == before).all()
    assert (models.photo() == given).all()
    paint(explorer, [(9, 200)], grey=7)
    paint(explorer, [(9, 200)], grey=int(given[9, 200]))  # as Escape does
    assert back.disabled
    assert "painted" not in explorer.figure.scene.summary


def test_paint_stays_on_its_pixel_when_columns_are_shuffled(explorer):
    explorer.controls["shuffle"].value = True
    paint(explorer, [(40, 3)], grey=200)
    assert explorer.figure.panels["photo"].options["before"].pixels[40, 3] == 200
    explorer.controls["shuffle"].value = False
    shown = explorer.figure.panels["photo"].options["before"].pixels
    changed = np.argwhere(shown != models.photo())
    assert changed.tolist() == [[40, explorer._orders[0][3]]]


def test_a_square_that_is_all_of_one_grey_keeps_it(explorer):
    explorer.controls["shared"].value = 32
    square = [(i, j) for i in range(32) for j in range(32)]
    for kind in ("uniform", "palette"):
        explorer.controls["levels"].value = kind
        paint(explorer, square, grey=90)
        assert (explorer.figure["photo"].pixels[:32, :32] == 90).all()


@pytest.mark.parametrize(
    ("at", "greys"), [([], []), ([0, 1], [5]), ([-1], [5]), ([256 * 256], [5]), (["x"], [5]), ([None], [5]), (3, 5)]
)
def test_paint_that_makes_no_sense_is_left_away(explorer, at, greys):
    explorer._message(explorer.figure, {"event": "paint", "at": at, "greys": greys}, None)
    assert explorer.controls["back"].disabled
    assert explorer.figure.scene.panels


def test_nobody_paints_on_what_is_locked(explorer):
    explorer.lock("1", "Predict first.")
    paint(explorer, [(0, 0)])
    assert explorer.controls["back"].disabled
    explorer.unlock("1")
    paint(explorer, [(0, 0)])
    assert not explorer.controls["back"].disabled


def test_what_travels_to_the_browser(explorer):
    sent = unpack(explorer.figure.frame)["panels"]
    assert list(sent) == ["photo", "weights", "greys", "levels"]
    assert (sent["photo"]["figure"]["pixels"] == explorer.figure["photo"].pixels).all()
    assert sent["greys"]["figure"]["density"]["counts"].sum() == 256 * 256


def test_what_is_refused():
    with pytest.raises(WidgetError, match="both, or neither"):
        PhotoExplorer(weights=WEIGHTS)
    with pytest.raises(WidgetError, match="inputs \\(n_tokens, n_in\\)"):
        PhotoExplorer(None, WEIGHTS, INPUTS[:, 1:])
    with pytest.raises(WidgetError, match="0 to 255"):
        PhotoExplorer(np.full((8, 8), 300), WEIGHTS, INPUTS)
    with pytest.raises(WidgetError, match="0, 32"):
        PhotoExplorer(None, WEIGHTS, INPUTS, shared=16)
    with pytest.raises(WidgetError, match="uniform, palette"):
        PhotoExplorer(None, WEIGHTS, INPUTS, levels="other")
