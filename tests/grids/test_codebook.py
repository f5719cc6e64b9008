"""Codebooks against the formulas they come from, the GGML format of the same name, and exhaustive search."""

import itertools
import warnings

import bounds
import numpy as np
import pytest
from scipy.cluster.vq import kmeans2
from scipy.stats import norm

import qviz
from qviz.checkpoints.packed.floats import pack_floats
from qviz.errors import GridError
from qviz.grids.codebook import FP4, MXFP4, MXFP8, NF4, NVFP4, Codebook, kmeans, kmeans_groups

W = np.random.default_rng(0).standard_normal((6, 128)).astype(np.float32)


def test_nf4_levels_are_normal_quantiles():
    reach = 0.9677083  # QLoRA's offset
    above = norm.ppf(np.linspace(reach, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(reach, 0.5, 8)[:-1])
    expected = np.sort([*below, 0, *above])
    bounds.assert_within(NF4.levels, expected / expected.max(), 3 * bounds.U)  # the paper prints them as float32


def test_mxfp4_is_the_format():
    assert np.array_equal(MXFP4.fake_quantize(W), qviz.quantize(W, "MXFP4").dequantize())
    assert MXFP4.bpw(W.shape) == qviz.formats.get("MXFP4").bpw == 4.25


def test_mxfp8_by_hand():
    """The largest, 448, lies between 2^8 and 2^9: the scale is 2^(8 − 8) = 1. So it is for 480, which is cut."""
    block = np.zeros((1, 32), np.float32)
    block[0, :6] = [448, 1.06, -0.3, 17, 2**-9, 2**-11]
    codes, scales = MXFP8.quantize(block)
    assert scales.tolist() == [[1.0]]
    # E4M3 has 1 and 1.125, 0.28125 and 0.3125, 16 and 18, and nothing between 0 and 2^-9
    assert MXFP8.dequantize(codes, scales)[0, :6].tolist() == [448, 1.0, -0.3125, 16, 2**-9, 0]
    assert MXFP8.fake_quantize(block * np.float32(480 / 448))[0, 0] == 448
    assert MXFP8.bpw((4, 64)) == 8.25


def test_nvfp4_is_what_compressed_tensors_packs():
    """The packer's bytes are compared with that package's own; here, its numbers."""
    w = np.random.default_rng(3).standard_normal((8, 64)).astype(np.float32) * np.r_[0.01, np.ones(62), 30].astype("f4")
    assert np.array_equal(NVFP4.fake_quantize(w), pack_floats(w, "nvfp4-pack-quantized").dequantize())
    assert NVFP4.bpw((8, 64)) == 4 + 8 / 16 + 32 / 512


@pytest.mark.parametrize("book", [NF4, FP4, MXFP4, MXFP8, NVFP4, Codebook([-1, 0, 2], 50), None])
def test_every_weight_goes_to_the_nearest_level(book):
    book = book or kmeans(W, 3)  # made here: what collecting tests compiles, each process compiles
    codes, scales = book.quantize(W)
    scale = np.repeat(scales, 128 if book.group_size == -1 else book.group_size, axis=1)[:, :128]
    reach = np.abs(scale[..., None] * book.levels - W[..., None])
    taken = np.take_along_axis(reach, codes[..., None].astype(int), -1)[..., 0]
    bounds.assert_within(taken, reach.min(-1), 4 * bounds.U * (np.abs(W) + scale * np.abs(book.levels).max()))
    assert np.array_equal(book.dequantize(codes, scales), scale * book.levels[codes])


def test_kmeans_finds_the_best_split():
    x = np.float32([0, 0.1, 0.2, 1.0, 1.2, 5.0, 5.5, 9.0, 9.1])
    cuts = itertools.combinations(range(1, 9), 3)
    best = min(sum(((p - p.mean()) ** 2).sum() for p in np.split(x.astype(float), list(c))) for c in cuts)
    found = kmeans(x, 2)
    after = found.fake_quantize(x[None])[0].astype(np.float64)
    bounds.assert_within(np.square(x - after).sum(), best, bounds.errors_bound(x - after, np.abs(x) + np.abs(after)))


def test_kmeans_descends_to_a_fixed_point():
    steps = []
    book = kmeans(W, 4, iterations=2000, trace=steps)
    errors = [s.error for s in steps]
    assert all(b <= a for a, b in itertools.pairwise(errors))
    assert errors[-1] < errors[0]
    codes = book.quantize(W)[0]
    for k, level in enumerate(book.levels):
        mine = W[codes == k].astype(np.float64)
        # kept as float32; a weight half-way between two levels, give or take that, may count for the other one
        edges = (book.levels[1:].astype(np.float64) + book.levels[:-1]) / 2
        assert np.abs(W.reshape(-1, 1) - edges).min() > 2 * bounds.U * np.abs(edges).max()
        bounds.assert_within(level, mine.mean(), bounds.size_bound(level, 1) + 2 * W.size * bounds.DOUBLE)


@pytest.mark.parametrize(("bits", "size"), [(1, 32), (3, 50), (4, -1), (8, 16)])
def test_a_codebook_for_each_group(bits, size):
    books = kmeans_groups(W, bits, size)
    width = 128 if size == -1 else size
    for r in (0, 5):
        for g, start in enumerate(range(0, 128, width)):
            part = W[r : r + 1, start : start + width]
            alone = kmeans(part, bits)
            levels = books.levels[r, g]
            assert np.unique(levels).tolist() == alone.levels.tolist()
            ours = books.dequantize()[r, start : start + width]
            assert ours.tolist() == alone.fake_quantize(part)[0].tolist()
    assert books.bpw == bits + 16 * 2**bits * -(-128 // width) / 128
    off = [np.square(W - b.dequantize()).sum() for b in (kmeans_groups(W, bits), books)]
    assert off[1] <= off[0]


@pytest.mark.parametrize("start", [[0, 0.05, 5, 9], [4.0, 8.0], [0.5, 1.1, 8.0], [-50.0, 0.0, 60.0]])
def test_kmeans_from_levels_of_ones_own_ends_where_scipy_does(start):
    x = np.float32([0, 0.1, 0.2, 1.0, 1.2, 5.0, 5.5, 9.0, 9.1]).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a level that no weight is nearest to stays where it is, there as here
        ends, _ = kmeans2(x, np.array(start, np.float32).astype(np.float64), iter=50, minit="matrix")
    found = kmeans(x, 2, start=start).levels
    bounds.assert_within(found, np.sort(ends), bounds.size_bound(ends, 1) + x.size * bounds.DOUBLE * x.max())


@pytest.mark.parametrize("start", [[1.0], [1.0, 1.0], [0.0, np.nan], [0, 1, 2, 3, 4], "levels", []])
def test_levels_that_nothing_can_start_from(start):
    with pytest.raises(GridError, match="start"):
        kmeans([0.0, 1.0, 2.0, 3.0], 2, start=start)


def test_edges_of_groups():
    flat = kmeans_groups([[2.0, 2.0, 1.0, 3.0]], 4, 2)
    assert flat.dequantize().tolist() == [[2.0, 2.0, 1.0, 3.0]]
    mostly = kmeans_groups([[0.0] * 99 + [1.0]], 1)
    assert mostly.dequantize()[0, -1] == 1
    for call in (
        lambda: kmeans_groups([1.0, 2.0]),
        lambda: kmeans_groups([[np.nan]]),
        lambda: kmeans_groups(W, 0),
        lambda: kmeans_groups(W, 2.5),
        lambda: kmeans_groups(W, 4, 0),
        lambda: kmeans_groups(W, 4, True),
        lambda: kmeans_groups(W, 4, "row"),
        lambda: kmeans_groups(W, iterations=0),
    ):
        with pytest.raises(GridError):
            call()


def test_edges():
    assert not NF4.fake_quantize(np.zeros((2, 64))).any()
    assert kmeans([1, 1, 1, 2], 4).levels.tolist() == [1, 2]
    for call in (
        lambda: kmeans([1.0, 1.0]),
        lambda: kmeans([np.nan, 1.0]),
        lambda: kmeans(W, 9),
        lambda: Codebook([1, 0]),
        lambda: Codebook([0]),
        lambda: Codebook([0, 1], 0),
        lambda: Codebook([0, 1], 4, "best"),
        lambda: NF4.quantize([[np.inf]]),
        lambda: NF4.quantize([1.0]),
    ):
        with pytest.raises(GridError):
            call()
