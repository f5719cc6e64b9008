"""The colours can be told apart: in the dark, in the light, and by people who see colours differently."""

from __future__ import annotations

import re

import numpy as np
import pytest

from qviz.figures import _theme

# Machado, Oliveira & Fernandes (2009), severity 1.0, for linear RGB.
_DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(rgb):
    v = np.asarray(rgb) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def lab(rgb_linear):
    """CIELAB (D65): an oracle that shares nothing with the OKLab of the theme."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = rgb_linear.clip(0, 1) @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def seen(table, deficiency):
    return lab(linear(table) @ _DEFICIENCIES[deficiency].T)


@pytest.mark.parametrize("deficiency", _DEFICIENCIES)
@pytest.mark.parametrize("dark", [False, True])
def test_signs_differ_for_everybody(dark, deficiency):
    colours = seen(_theme.diverging(dark)[:255], deficiency)
    for step in (32, 64, 127):  # a quarter, half and all of the way out
        apart = np.linalg.norm(colours[127 - step] - colours[127 + step])
        assert apart > 12, f"{deficiency}: −{step} and +{step} look alike (ΔE {apart:.1f})"


@pytest.mark.parametrize("dark", [False, True])
def test_signed_scale_leaves_the_middle_evenly(dark):
    lightness = seen(_theme.diverging(dark)[:255], "none")[:, 0]
    steps = np.diff(lightness)
    inward = 1 if not dark else -1
    assert (inward * steps[:127] >= -0.05).all()
    assert (inward * steps[127:] <= 0.05).all()
    assert np.abs(lightness[:127] - lightness[:127:-1]).max() < 8, "a sign is lighter than the other"


@pytest.mark.parametrize("deficiency", _DEFICIENCIES)
def test_larger_errors_are_lighter_for_everybody(deficiency):
    lightness = seen(_theme.sequential()[1:255], deficiency)[:, 0]
    smooth = lightness[4:] - lightness[:-4]
    assert (smooth > 0).all()
    assert lightness[-1] - lightness[0] > 65


def test_special_codes_stand_out():
    for table, first in ((_theme.diverging(), 0), (_theme.diverging(True), 0), (_theme.sequential(), 1)):
        colours = seen(table, "none")
        apart = np.linalg.norm(colours[first:255] - colours[_theme.NOT_FINITE], axis=1)
        assert apart.min() > 25, "NaN looks like a number"
    colours = seen(_theme.sequential(), "none")
    assert np.linalg.norm(colours[1:255] - colours[_theme.EXACT], axis=1).min() > 15, "exact looks like an error"


def test_tables_are_the_three_scales():
    raw = np.frombuffer(_theme.tables(), np.uint8).reshape(3, 256, 3)
    for table, expected in zip(raw, (_theme.diverging(), _theme.diverging(True), _theme.sequential()), strict=True):
        assert (table == expected).all()


def contrast(a, b):
    """WCAG 2 contrast ratio of two ``#rrggbb``."""
    light = [linear([int(c[i : i + 2], 16) for i in (1, 3, 5)]) @ np.array([0.2126, 0.7152, 0.0722]) for c in (a, b)]
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_contrast_oracle():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("page", ["light", "dark"])
@pytest.mark.parametrize("ground", ["card", "paper"])
def test_text_and_marks_have_contrast(page, ground):
    block = _theme.css().split("}")[page == "dark"]
    colours = dict(re.findall(r"--qviz-([\w-]+): (#\w{6});", block))
    for role in ("ink", "soft", "level", "changed"):  # words are written in these
        assert contrast(colours[role], colours[ground]) >= 4.5, role
    for role in [r for r in colours if r.startswith("field-")] + ["weight", "ok"]:  # WCAG's bound for graphics
        assert contrast(colours[role], colours[ground]) >= 3, role
