"""0 bytes differ from libggml where groups of weights are rounded onto a codebook: IQ1, IQ2 and IQ3."""

import ggml
import numpy as np
import pytest
from rows import adversarial

from qviz._machine import simd as _simd
from qviz._machine.kernels import f32, i32, kernel, simd
from qviz.errors import FormatError, NonFiniteError, NotEncodableError
from qviz.formats import FORMATS, QTensor, quantize
from qviz.formats.iq import codebooks
from qviz.formats.iq.lattice import lattice
from qviz.formats.iq.record import lattice_trace
from qviz.formats.iq1_m import encoder_before
from qviz.whole.workers.pieces import Piece, convert

NAMES = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M"]
NEEDING = ["IQ2_XXS", "IQ2_XS", "IQ1_S"]
RNG = np.random.default_rng(2)
IMATRICES = {
    "none": None,
    "ones": np.ones(256),
    "squares": RNG.standard_normal(256) ** 2,
    "wide": 10.0 ** RNG.uniform(-12, 12, 256),
    "zeros": np.zeros(256),
    "half zero": np.arange(256) % 2,
    "one column": np.arange(256) == 77,
    "one sub-block unimportant": np.arange(256) // 32 != 3,
    "tiny": np.full(256, 1e-38),
    "huge": np.full(256, 1e37),
}


def normal(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def ours(x, name, imatrix=None):
    """As this build of libggml ought to write it: IQ1_M as it is today, or as it was before."""
    if name == "IQ1_M" and not ggml.is_of_today():
        fmt = FORMATS[name]
        blocks = np.empty(x.size // 256, fmt.kernel_dtype)
        if imatrix is None:
            encoder_before.blocks(x.reshape(-1, 256), blocks)
        else:
            encoder_before.weighted(x, imatrix, blocks)
        return blocks.tobytes()
    return quantize(x, name, imatrix).tobytes()


@pytest.mark.parametrize("imatrix", IMATRICES)
@pytest.mark.parametrize("name", NAMES)
def test_adversarial_rows(name, imatrix):
    rows, importance = adversarial(), IMATRICES[imatrix]
    if importance is None and name in NEEDING:
        pytest.skip("needs an importance matrix")
    importance = None if importance is None else np.asarray(importance, np.float32)
    theirs = ggml.quantize_each(list(rows.values()), name, importance)
    assert sum(raw is not None for raw in theirs) >= (8 if imatrix == "huge" else 34)
    mine = {row: ours(x[None], name, importance) for row, x in rows.items()}  # whatever libggml does, ours ends well
    assert [row for row, raw in zip(rows, theirs, strict=True) if raw not in (None, mine[row])] == []


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", NAMES)
def test_random_weights(name, scale, weighted):
    """Seven blocks a row: tiles of sixteen blocks start in the middle of rows."""
    if name in NEEDING and not weighted:
        pytest.skip("needs an importance matrix")
    x, importance = normal(21, 1792, scale=scale), normal(1792, seed=1) ** 2 if weighted else None
    assert ours(x, name, importance) == ggml.quantize(x, name, importance)


@pytest.mark.parametrize("name", NAMES)
def test_sparse_weights_with_a_sparse_imatrix(name):
    """Zeros in every place, ties, -0.0: what real weights have after pruning."""
    rng = np.random.default_rng(6)
    x = np.round(normal(24, 1024, seed=3) * 4) / np.float32(4) * rng.integers(0, 2, (24, 1024))
    x = np.where(rng.random(x.shape) < 0.1, np.float32(-0.0), x).astype(np.float32)
    importance = (rng.random(1024) * rng.integers(0, 2, 1024)).astype(np.float32)
    assert ours(x, name, importance) == ggml.quantize(x, name, importance)


@pytest.mark.parametrize("name", ["IQ3_S", "IQ2_S", "IQ1_M"])
def test_sub_blocks_of_zeros(name):
    """IQ3_S then stores later codes one place early, in ggml and here."""
    x = normal(16, 512, seed=9)
    x.reshape(-1, 32)[::3] = 0
    assert ours(x, name) == ggml.quantize(x, name)


@pytest.mark.parametrize("name", NEEDING)
def test_a_format_that_needs_an_imatrix_says_what_to_run(name):
    with pytest.raises(NotEncodableError, match=rf"{name} needs an importance matrix.*`qviz imatrix MODEL OUT`"):
        quantize(np.ones(256), name)
    assert FORMATS[name].needs_imatrix
    assert not FORMATS[name].can_encode


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 300), (20, 1791)])
def test_non_finite_weights_are_refused(name, row, column):
    x = normal(21, 1792)
    x[row, column] = np.inf
    with pytest.raises(NonFiniteError, match=rf"weight \[{row}, {column}\] is inf"):
        quantize(x, name, np.ones(1792))


@pytest.mark.parametrize("name", NAMES)
def test_pieces_of_a_tensor_are_the_tensor(name):
    x, importance = normal(7, 768, seed=4), normal(768, seed=5) ** 2
    whole = quantize(x, name, importance).blocks
    parts = [
        convert(Piece("w", first, quantize(x[first : first + 3], "F32"), FORMATS[name], importance))
        for first in range(0, 7, 3)
    ]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_importance_lowers_the_error_where_it_matters(name):
    x, importance = normal(64, 256), np.where(np.arange(256) % 16 == 5, 30.0, 1.0).astype(np.float32)
    plain, weighted = (
        np.square(quantize(x, name, w).dequantize() - x)[:, 5::16].mean() for w in (np.ones(256), importance)
    )
    assert weighted < 0.9 * plain


def test_the_older_form_of_iq1_m_is_as_good():
    """Zeros in the importance matrix make ties, which sums in another order decide otherwise."""
    x, importance = normal(64, 1024, seed=7), np.exp(2 * normal(1024, seed=8)) * (np.arange(1024) % 3 > 0)
    before = np.empty(x.size // 256, FORMATS["IQ1_M"].kernel_dtype)
    encoder_before.weighted(x, importance, before)
    today = quantize(x, "IQ1_M", importance)
    assert before.tobytes() != today.tobytes()
    errors = [
        np.sum(importance * np.square(t.dequantize() - x), dtype=np.float64)
        for t in (QTensor.from_bytes("IQ1_M", before.tobytes(), x.shape), today)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)  # stated: as good, not the same


@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"])
def test_the_recorded_search_is_what_the_file_holds(name):
    """Gains by linear algebra, and the levels of the last row against the encoder's bytes, whose table counts anew."""
    x, importance = normal(256, seed=12), np.exp(normal(256, seed=13))
    width = FORMATS[name].sub_block_size
    codes = np.abs(quantize(x, name, importance).unpack().codes)
    steps = np.unique(np.concatenate([codes, *([np.unique(codebooks.IQ2_XS_GRID)] if "IQ2" in name else [])]))
    for sub_block in (0, 3):
        trace = lattice_trace(x, name, sub_block, importance)
        w, levels = trace.weights.astype(np.float64), trace.levels.astype(np.float64)
        products = (w * trace.magnitudes * levels).sum(1)
        # two sums of `width` rounded products of three factors, a square and a division, all in float32
        rounding = (2 * (width + 3) + 3) * float(np.finfo(np.float32).eps)
        assert np.allclose(trace.gains[:-1], products[:-1] ** 2 / (w * levels**2).sum(1)[:-1], rtol=rounding)
        assert trace.scales[-1] == pytest.approx(products[-1] / (w * levels[-1] ** 2).sum(), rel=rounding)
        assert np.array_equal(np.sort(steps)[(trace.levels[-1] - 1) // 2], codes[sub_block * width :][:width])
    with pytest.raises(FormatError, match="has no search through a codebook"):
        lattice_trace(x, "Q4_K")


# --- neighbours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "grid", "distances"),
    [
        ("IQ1", codebooks.IQ1_GRID, 3),
        ("IQ2_XXS", codebooks.IQ2_XXS_GRID, 2),
        ("IQ2_S", codebooks.IQ2_S_GRID, 1),
        ("IQ3_S", codebooks.IQ3_S_GRID, 3),
    ],
)
def test_neighbours_are_all_entries_at_the_smallest_distances(name, grid, distances):
    places, levels = lattice(name), np.unique(grid)
    bits = 2 if grid.shape[1] == 8 else 3
    entries = np.searchsorted(levels, grid)
    for point in np.random.default_rng(0).integers(0, places.first.size, 60):
        digits = point // levels.size ** np.arange(grid.shape[1]) % levels.size
        packed = int((digits << bits * np.arange(grid.shape[1])).sum())
        assert places.packed[point] == packed
        squares = np.square(entries - digits).sum(axis=1)
        if (squares == 0).any():
            assert places.first[point] == -1
            assert places.entry[packed] == squares.argmin()
            continue
        last = np.unique(squares)[distances - 1]
        expected = sorted((d, k) for k, d in enumerate(squares) if d <= last)
        start, count = places.first[point], places.count[point]
        assert count % 16 == 0
        near = places.entry[places.near[start : start + count]]
        assert near[: len(expected)].tolist() == [k for _, k in expected]
        assert set(near[len(expected) :].tolist()) <= {near[0]}


@pytest.mark.parametrize(("function", "size", "bits"), [("nearest_of_eight", 8, 2), ("nearest_of_four", 4, 3)])
def test_the_nearest_point_by_vectors_and_by_a_plain_loop(function, size, bits):
    import numba

    scope = {"f": getattr(_simd, function)}
    exec("def call(x, w, at, scale, levels, points, first, n):\n"
         "    return f(x, w, at, scale, levels, points, first, n)\n", scope)  # fmt: skip
    vectors, twin = numba.njit(error_model="numpy")(scope["call"]), getattr(_simd, f"{function}_twin")
    rng = np.random.default_rng(1)
    levels = np.arange(1, 2 * (1 << bits), 2, dtype=np.float32)
    points = rng.integers(0, 1 << bits * size, 256).astype(np.uint16)
    for k in range(300):
        x, w = np.round(normal(24, seed=k) * 4) / 4, np.abs(normal(24, seed=-k - 1 + 1000))
        w[rng.random(24) < 0.2] = 0
        if k % 50 == 0:
            w[:] = (0.0, np.inf, np.nan)[k // 50 % 3]
        first, n = int(rng.integers(0, 8)) * 8, int(rng.integers(1, 12)) * 16
        given = (
            x.astype(np.float32),
            w.astype(np.float32),
            5,
            f32(abs(normal(1, seed=k)[0])),
            levels,
            points,
            first,
            n,
        )
        assert vectors(*given) == twin(*given)


def test_digits_of_whole_numbers():
    @kernel
    def low_and_high(x, out):
        simd.store(out, 0, simd.digits(simd.load(x, 0), i32(0), i32(3)))
        simd.store(out, 16, simd.digits(simd.load(x, 0), i32(14), i32(3)))

    x, out = np.arange(0, 65536, 4096, dtype=np.float32) + 2, np.empty(32, np.float32)
    low_and_high(x, out)
    assert out.tolist() == [2] * 16 + [k // 4 for k in range(16)]
