"""Small floats against ml_dtypes: every code, every half between two codes, and all around them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from qviz.errors import GridError
from qviz.grids import E2M1, E2M3, E3M2, E4M3, E5M2

THEIRS = {
    E4M3: ml_dtypes.float8_e4m3fn,
    E5M2: ml_dtypes.float8_e5m2,
    E3M2: ml_dtypes.float6_e3m2fn,
    E2M3: ml_dtypes.float6_e2m3fn,
    E2M1: ml_dtypes.float4_e2m1fn,
}
EACH = pytest.mark.parametrize("ours", THEIRS, ids=lambda ours: ours.name)


def hard_cases(ours):
    """Levels, halves between them, their neighbours in float32, what lies beyond, and everyday numbers."""
    levels = ours.levels
    halves = (levels[1:] + levels[:-1]) / np.float32(2)
    top = np.float32([ours.largest * factor for factor in (1.01, 1.03, 1.0357142, 1.0625, 1.125, 1.25, 2.0, 1e9)])
    exact = np.concatenate([levels, halves, top, -top, np.float32([0.0, -0.0, np.inf, -np.inf, 1e-38, -1e-45])])
    around = [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))]
    rng = np.random.default_rng(1)
    return np.concatenate([*around, rng.standard_normal(10_000).astype(np.float32) * np.float32(ours.largest / 3)])


@EACH
def test_every_code_is_decoded(ours):
    codes = np.arange(1 << ours.n_bits, dtype=np.uint8)
    theirs = codes.view(THEIRS[ours]).astype(np.float32)
    assert np.array_equal(ours.decode(codes).view(np.uint32) << 1, theirs.view(np.uint32) << 1) or np.array_equal(
        ours.decode(codes), theirs, equal_nan=True
    )
    assert np.array_equal(np.signbit(ours.decode(codes)[~np.isnan(theirs)]), np.signbit(theirs[~np.isnan(theirs)]))


@EACH
def test_every_kind_of_number_is_encoded(ours):
    x = hard_cases(ours)
    assert np.array_equal(ours.encode(x), x.astype(THEIRS[ours]).view(np.uint8))


@EACH
def test_saturation_only_changes_what_is_beyond(ours):
    x = hard_cases(ours)
    plain, saturated = ours.decode(ours.encode(x)), ours.decode(ours.encode(x, saturate=True))
    beyond = ~np.isfinite(plain)
    assert np.array_equal(plain[~beyond], saturated[~beyond])
    assert np.array_equal(saturated[beyond], np.copysign(np.float32(ours.largest), x[beyond]))


def test_not_a_number():
    x = np.float32([np.nan, -np.nan])
    for ours in (E4M3, E5M2):
        assert np.array_equal(ours.encode(x), x.astype(THEIRS[ours]).view(np.uint8))
        assert np.isnan(ours.decode(ours.encode(x, saturate=True))).all()
    with pytest.raises(GridError, match="holds NaN, which E2M1 has no code for"):
        E2M1.encode(x)


def test_by_hand():
    assert (E4M3.largest, E4M3.smallest) == (448, 2.0**-9)
    assert (E5M2.largest, E5M2.smallest) == (57344, 2.0**-16)
    assert E2M1.largest == 6
    assert E4M3.bits(0x7E) == ("0", "1111", "110")
    assert E5M2.decode(0x7C) == np.inf


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: E2M1.decode([16]), "codes of E2M1 holds 16; whole numbers from 0 to 15 are wanted"),
        (lambda: E2M1.decode([-1]), "codes of E2M1 holds -1"),
        (lambda: E4M3.bits(256), "code"),
        (lambda: E4M3.encode("x"), "x"),
    ],
)
def test_wrong_calls(call, words):
    with pytest.raises(GridError, match=words):
        call()
