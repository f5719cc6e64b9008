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
    with pytest.raises(WidgetError, match="uniform, palette"):
        PhotoExplorer(None, WEIGHTS, INPUTS, levels="other")
