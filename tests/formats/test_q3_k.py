"""Q3_K's search without an importance matrix: a tile whose sub-blocks come to rest at different times."""

import ggml
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qviz._machine.kernels import f32
from qviz.formats import quantize
from qviz.formats.kquant.record import search_trace
from qviz.formats.kquant.refine import ROUNDS, refine_centred, refine_tile
from qviz.formats.kquant.tiles import NOTHING, TILE, place

N = 16  # weights of a sub-block, and sub-blocks of a super-block
RNG = np.random.default_rng(12)


# Of 2^17 random sub-blocks, those in which each of five rounds moves a code.
MANY = np.random.default_rng(12).standard_normal((1 << 17, N)).astype(np.float32)
MOST_RESTLESS = MANY[[593, 4071, 26040, 35428, 56367, 58167, 61339, 64463, 101935, 115360, 118522, 127916, 131057]]


KINDS = {
    "zeros": np.zeros(N),
    "minus zeros": np.full(N, -0.0),
    "one weight": np.eye(N)[5] * -3,
    "below what counts": np.full(N, 9e-16),
    "just above that": np.linspace(-1.1e-15, 1.1e-15, N),
    "denormals": np.float32(1e-45) * (np.arange(N) - 8),
    "cubes that are denormal": RNG.standard_normal(N) * 1e-14,
    "cubes that overflow": RNG.standard_normal(N) * 1e14,
    "squares that overflow": RNG.standard_normal(N) * 1e30,
    "largest floats": np.where(np.arange(N) % 2, 3.4028235e38, -3.4028235e38),
    "tied magnitudes, plus first": np.where(np.arange(N) % 2, -1.0, 1.0),
    "tied magnitudes, minus first": np.where(np.arange(N) % 2, 1.0, -1.0),
    "halves": (np.arange(N) - 8) / 2,
    "codes": np.arange(N) % 8 - 4.0,
    "heavy tails": RNG.standard_t(1, N),
}


def tile(sub_blocks) -> np.ndarray:
    """`sub_blocks` (n, 16) over and over, in no order: sixteen super-blocks (16, 256)."""
    chosen = np.resize(np.arange(len(sub_blocks)), TILE * N)
    return np.ascontiguousarray(np.asarray(sub_blocks, np.float32)[RNG.permutation(chosen)].reshape(TILE, 256))


MIXED = np.concatenate([MOST_RESTLESS, MANY[:40], np.stack([np.float32(kind) for kind in KINDS.values()])])


@pytest.mark.parametrize("some", [MOST_RESTLESS, MIXED], ids=["restless", "mixed"])
def test_a_tile_comes_to_rest_as_each_of_its_sub_blocks(some):
    """Also where all sub-blocks are among the most restless: then every lane that there is, is used."""
    rows = tile(some).reshape(-1)
    found, slots = np.full((1 + ROUNDS) * rows.size, np.nan, np.float32), np.zeros(TILE * N, np.int64)
    scales = np.empty(TILE * N, np.float32)
    refine_tile(rows, N, f32(4), found, slots, scales)
    for sub, weights in enumerate(rows.reshape(-1, N)):
        x, codes, scale = np.repeat(weights, TILE), np.empty(N * TILE, np.float32), np.empty(TILE, np.float32)
        refine_centred(x, f32(4), codes, scale, 0, NOTHING)
        at = place(slots[sub], N)
        assert found[at : at + N * TILE : TILE].tolist() == codes[::TILE].tolist()
        assert scales[sub].tobytes() == scale[0].tobytes()
    assert len(set(slots)) == slots.size
    assert np.isfinite(found).all() == (some is MOST_RESTLESS)


def test_the_most_restless_sub_blocks_move_in_every_round():
    for weights in MOST_RESTLESS:
        assert len(search_trace(np.tile(weights, N), "Q3_K").scales) == 1 + ROUNDS


def test_the_most_restless_sub_blocks_as_ggml():
    x = tile(MOST_RESTLESS)
    assert quantize(x, "Q3_K").tobytes() == ggml.quantize(x, "Q3_K")


@pytest.mark.parametrize("n", [1, 15, 16, 17])
def test_sub_blocks_of_every_kind_beside_each_other(n):
    for _ in range(8):
        x = np.concatenate([tile(MIXED), tile(MIXED)])[:n]
        assert quantize(x, "Q3_K").tobytes() == ggml.quantize(x, "Q3_K")


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_of_one_kind(kind):
    """One scale, and each of sixty powers of two that stays finite."""
    with np.errstate(over="ignore", under="ignore"):
        x = np.stack([np.tile(np.float32(KINDS[kind]) * np.float32(2.0**k), N) for k in range(-30, 30)])
    x = x[np.isfinite(x).all(axis=1)]
    assert quantize(x, "Q3_K").tobytes() == ggml.quantize(x, "Q3_K")


values = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-8, 8).map(float)
sub_blocks = st.lists(values, min_size=1, max_size=N)


@settings(max_examples=200, deadline=None)
@given(st.lists(sub_blocks, min_size=1, max_size=3 * N))
def test_any_finite_weights(some):
    x = np.zeros((-(-len(some) // N) * N, N), np.float32)
    for row, given_weights in zip(x, some, strict=False):
        row[:] = np.resize(np.float32(given_weights), N)
    x = x.reshape(-1, 256)
    assert quantize(x, "Q3_K").tobytes() == ggml.quantize(x, "Q3_K")
