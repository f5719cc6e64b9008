"""Integer grids against hand-worked groups, an independent NumPy twin, and what must hold for any weights."""

import math
import warnings

import bounds
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qviz
from qviz._machine.kernels import f32, i32, kernel
from qviz.errors import GridError, QvizError
from qviz.grids import AffineGrid
from qviz.grids.affine import group_params, nearest, steps_from_zero

pytestmark = pytest.mark.filterwarnings("error")

GRIDS = [(bits, sym) for bits in (1, 2, 3, 4, 5, 6, 7, 8, 12, 16) for sym in (False, True) if bits > 1 or not sym]
SIZES = [0, -1, 1, 3, 16, 128]


def twin(group, bits, sym):
    """GPTQ's formulas, group by group in float32: unsigned codes, rounded first and clamped after."""
    maxq = np.float32(2**bits - 1)
    low, high = np.minimum(group.min(), np.float32(0)), np.maximum(group.max(), np.float32(0))
    if sym:
        high = np.maximum(high, -low)
        low = -high
    if low == 0 and high == 0:
        low, high = np.float32(-1), np.float32(1)
    scale = np.maximum((high - low) / maxq, np.finfo(np.float32).tiny)
    zero = np.float32(2 ** (bits - 1)) if sym else np.rint(-low / scale)
    codes = np.clip(np.rint(group / scale) + zero, 0, maxq)
    return scale, zero, codes, scale * (codes - zero)


def groups_of(weight, size):
    """Index of each group: the module's table, written as slices."""
    if size == 0:
        return [...]
    rows = list(np.ndindex(weight.shape[:-1]))
    step = weight.shape[-1] if size == -1 else size
    return [(*row, slice(start, start + step)) for row in rows for start in range(0, weight.shape[-1], step)]


weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=40),
    elements=st.one_of(
        st.floats(-(2.0**126), 2.0**126, width=32),
        st.floats(-4, 4, width=32),
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, -1e-40, 1e-38, 3e-5, 65504.0]),
    ),
)


# --- worked by hand ---


def test_four_bits_asymmetric_by_hand():
    # range −0.5 … 1.0, step 1.5 / 15 = 0.1, zero point round(0.5 / 0.1) = 5
    t = AffineGrid(4, -1).quantize([[-0.5, -0.26, 0.0, 0.04, 0.31, 1.0]])
    assert t.scale[0, 0] == np.float32(0.1)
    assert t.zero_point.tolist() == [[5]]
    assert t.codes.tolist() == [[0, 2, 5, 5, 8, 15]]
    np.testing.assert_allclose(t.dequantize(), [[-0.5, -0.3, 0, 0, 0.3, 1.0]], rtol=1e-6)  # stated decimals


def test_a_group_of_positive_weights_keeps_its_largest_on_a_symmetric_grid():
    # step 2·0.83/15 = 0.110667: 7.5 → 8, clamped to 7; 4.16 → 4; 3.98 → 4; 1.81 → 2
    t = AffineGrid(4, -1, sym=True).quantize([0.83, 0.46, 0.44, 0.20])
    assert t.codes.tolist() == [7, 4, 4, 2]
    # stated with six decimals
    np.testing.assert_allclose(t.dequantize(), [0.774667, 0.442667, 0.442667, 0.221333], rtol=1e-5)


def test_ties_go_to_the_even_code():
    # step 1: 0.5 → 0, 1.5 → 2, 2.5 → 2, 3.5 → 4
    t = AffineGrid(3, -1).quantize([0.5, 1.5, 2.5, 3.5, 7.0])
    assert t.codes.tolist() == [0, 2, 2, 4, 7]


def test_one_bit_keeps_one_sign():
    assert AffineGrid(1, -1).fake_quantize([0.2, 0.6, 1.0]).tolist() == [0.0, 1.0, 1.0]
    assert AffineGrid(1, -1).fake_quantize([-2.0, -0.9, 0.5]).tolist() == [-2.5, 0.0, 0.0]


@pytest.mark.parametrize("sym", [False, True])
def test_a_group_of_zeros(sym):
    # as GPTQ: the range −1 … 1, of which every weight takes the middle
    t = AffineGrid(4, -1, sym).quantize(np.float32([[0.0, -0.0, 0.0]]))
    assert t.scale[0, 0] == np.float32(2) / np.float32(15)
    assert t.codes.tolist() == [[0, 0, 0] if sym else [7, 7, 7]]  # 1 / float32(2 / 15) = 7.4999995
    assert t.dequantize().view(np.uint32).tolist() == [[0, 0, 0]]


def test_a_constant_group_is_exact_on_an_asymmetric_grid():
    assert AffineGrid(4, -1).fake_quantize([3.0, 3.0]).tolist() == [3.0, 3.0]
    assert AffineGrid(4, -1).fake_quantize([-3.0, -3.0]).tolist() == [-3.0, -3.0]


def test_levels():
    grid = AffineGrid(2, 2)
    scale, zero_point = grid.params([[-1.0, 2.0, 0.0, 3.0]])
    assert grid.levels(scale, zero_point).tolist() == [[[-1, 0, 1, 2], [0, 1, 2, 3]]]
    assert AffineGrid(3, sym=True).levels(0.5, 0).tolist() == [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5]


# --- size on disk ---


@pytest.mark.parametrize(
    ("grid", "shape", "bpw", "nbytes"),
    [
        (AffineGrid(4, 128), (4096, 4096), 4 + (16 + 4) / 128, 4096 * 4096 * 4.15625 / 8),
        (AffineGrid(4, 128, sym=True), (4096, 4096), 4 + 16 / 128, 4096 * 4096 * 4.125 / 8),
        (AffineGrid(3, -1), (576, 1536), 3 + 19 / 1536, math.ceil((3 * 576 * 1536 + 19 * 576) / 8)),
        (AffineGrid(8, 0, sym=True), (576, 576), 8 + 16 / 576**2, 576**2 + 2),
        # 576 = 4 · 128 + 64: five groups a row
        (AffineGrid(4, 128), (2, 576), 4 + 5 * 20 / 576, math.ceil(2 * (4 * 576 + 5 * 20) / 8)),
    ],
)
def test_true_bits_per_weight(grid, shape, bpw, nbytes):
    assert grid.bpw(shape) == pytest.approx(bpw, rel=8 * bounds.DOUBLE)
    assert grid.nbytes(shape) == nbytes
    t = grid.quantize(np.ones(shape, np.float32))
    assert (t.bpw, t.nbytes, t.shape) == (grid.bpw(shape), grid.nbytes(shape), shape)


# --- against the twin ---


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("bits", "sym"), GRIDS)
def test_equals_the_numpy_twin_bit_for_bit(bits, sym, size):
    rng = np.random.default_rng(bits)
    weight = rng.standard_t(3, (5, 67)).astype(np.float32)
    weight[1] = np.abs(weight[1])
    weight[2] = 0
    weight[3, :20] *= 1e-30
    grid = AffineGrid(bits, size, sym)
    t = grid.quantize(weight)
    scales, zeros = t.scale.reshape(-1), t.zero_point.reshape(-1)
    for i, group in enumerate(groups_of(weight, size)):
        scale, zero, codes, approximation = twin(weight[group], bits, sym)
        offset = 2 ** (bits - 1) if sym else 0
        assert scales[i] == scale
        assert zeros[i] == zero - offset
        np.testing.assert_array_equal(t.codes[group].astype(int), codes - offset)
        np.testing.assert_array_equal(t.dequantize()[group], approximation)


# --- what holds for any weights ---


@given(weights, st.sampled_from(GRIDS), st.sampled_from(SIZES))
@settings(deadline=None, max_examples=200)
def test_any_weights(weight, bits_sym, size):
    bits, sym = bits_sym
    grid = AffineGrid(bits, size, sym)
    t = grid.quantize(weight)
    back = t.dequantize()
    assert t.scale.shape == t.zero_point.shape == grid.params_shape(weight.shape)
    assert (t.scale > 0).all()
    assert np.isfinite(t.scale).all()
    assert np.isfinite(back).all()
    assert t.codes.dtype == grid.code_dtype
    assert t.codes.min() >= grid.qmin
    assert t.codes.max() <= grid.qmax
    assert t.zero_point.min() >= grid.qmin
    assert t.zero_point.max() <= grid.qmax
    # one pass gives the same bits as two
    np.testing.assert_array_equal(grid.fake_quantize(weight).view(np.uint32), back.view(np.uint32))
    # zero stays zero
    assert (back[weight == 0] == 0).all()
    for group, scale in zip(groups_of(weight, size), t.scale.reshape(-1), strict=True):
        # half a step; the division before rounding is itself off by a few parts in 2^24 of a code
        bound = float(scale) * (0.5 + 2.0 ** (bits - 23))
        assert np.abs(back[group].astype(float) - weight[group]).max() <= bound


@given(weights, st.sampled_from(GRIDS), st.sampled_from(SIZES))
@settings(deadline=None, max_examples=150)
def test_rounding_twice_changes_nothing(weight, bits_sym, size):
    grid = AffineGrid(bits_sym[0], size, bits_sym[1])
    params = grid.params(weight / 4)  # a grid's end may lie past its range, and must itself be a legal weight
    once = grid.fake_quantize(weight / 4, params=params)
    np.testing.assert_array_equal(grid.fake_quantize(once, params=params), once)


@given(weights, st.sampled_from(GRIDS), st.sampled_from([-1, 3, 16]))
@settings(deadline=None, max_examples=100)
def test_rows_and_groups_do_not_touch_one_another(weight, bits_sym, size):
    bits, sym = bits_sym
    whole = AffineGrid(bits, size, sym).fake_quantize(weight)
    for group in groups_of(weight, size):
        np.testing.assert_array_equal(AffineGrid(bits, -1, sym).fake_quantize(weight[group]), whole[group])


def test_per_tensor_is_one_long_row():
    weight = np.random.default_rng(0).standard_normal((6, 7)).astype(np.float32)
    scale, zero_point = AffineGrid(4, 0).params(weight)
    assert scale.shape == zero_point.shape == (1, 1)
    expected = AffineGrid(4, -1).fake_quantize(weight.reshape(1, -1)).reshape(6, 7)
    np.testing.assert_array_equal(AffineGrid(4, 0).fake_quantize(weight), expected)


def test_a_group_longer_than_the_row_is_the_row():
    weight = np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)
    np.testing.assert_array_equal(AffineGrid(4, 128).fake_quantize(weight), AffineGrid(4, -1).fake_quantize(weight))


@pytest.mark.parametrize("sym", [False, True])
def test_each_bit_shrinks_the_error_of_gaussian_weights_by_about_six_decibels(sym):
    weight = np.random.default_rng(0).standard_normal((64, 1024)).astype(np.float32)
    db = [qviz.metrics.sqnr_db(weight, AffineGrid(b, 128, sym).fake_quantize(weight)) for b in range(2, 13)]
    steps = np.diff(db)
    assert (steps > 5).all()
    # from b to b + 1 the step shrinks by (2^(b+1) − 1) / (2^b − 1): 3 bits are worth more than 12
    assert steps[0] > steps[-1] == pytest.approx(20 * math.log10(2), abs=0.1)  # stated: about six


@given(st.floats(-(2.0**22), 2.0**22, width=32))
def test_nearest_is_rint(x):
    result = np.float32(nearest(np.float32(x)))
    assert result == np.rint(np.float32(x))
    assert not (result == 0 and np.signbit(result))


# --- a grid chosen elsewhere ---


def test_given_parameters_clip_what_lies_outside():
    grid = AffineGrid(2, -1)
    t = grid.quantize([[-9.0, 0.4, 9.0]], params=([[1.0]], [[1]]))
    assert t.codes.tolist() == [[0, 1, 3]]
    assert t.dequantize().tolist() == [[-1.0, 0.0, 2.0]]
    assert grid.fake_quantize([[-9.0, 0.4, 9.0]], params=([[1.0]], [[1]])).tolist() == [[-1.0, 0.0, 2.0]]


@kernel
def round_columns(weight, size, qmin, qmax, sym, codes):  # what a column-by-column method does
    for j in range(weight.shape[1]):
        for r in range(weight.shape[0]):
            scale, zero, _ = group_params(weight[r, j - j % size : j - j % size + size], qmin, qmax, sym)
            lowest, highest = f32(i32(qmin - zero)), f32(i32(qmax - zero))
            codes[r, j] = i32(steps_from_zero(weight[r, j], scale, lowest, highest)) + zero


@pytest.mark.parametrize("sym", [False, True])
def test_kernels_can_be_called_column_by_column(sym):
    weight = np.random.default_rng(1).standard_normal((9, 96)).astype(np.float32)
    grid = AffineGrid(4, 32, sym)
    codes = np.zeros(weight.shape, np.int64)
    round_columns(weight, 32, grid.qmin, grid.qmax, sym, codes)
    np.testing.assert_array_equal(codes, grid.quantize(weight).codes)
    scale, zero_point = grid.params(weight[:, 32:64])  # a slice of columns
    np.testing.assert_array_equal(scale, grid.params(weight)[0][:, 1:2])
    np.testing.assert_array_equal(zero_point, grid.params(weight)[1][:, 1:2])
    column = AffineGrid(4, -1, sym).quantize(weight[:, 40:41], params=(scale, zero_point))
    np.testing.assert_array_equal(column.codes, codes[:, 40:41])


# --- inputs ---


def test_any_memory_layout_and_dtype():
    weight = np.random.default_rng(0).standard_normal((8, 24)).astype(np.float32)
    grid = AffineGrid(4, 8)
    expected = grid.fake_quantize(weight)
    read_only = weight.copy()
    read_only.flags.writeable = False
    for same in (
        np.asfortranarray(weight),
        weight.astype(">f4"),
        weight.astype(float),
        read_only,
        weight.tolist(),
    ):
        np.testing.assert_array_equal(grid.fake_quantize(same), expected)
    np.testing.assert_array_equal(grid.fake_quantize(weight[::2, ::2]), grid.fake_quantize(weight[::2, ::2].copy()))
    assert grid.fake_quantize(np.arange(8, dtype=np.int16)).dtype == np.float32
    blocks = qviz.quantize(np.tile(weight, (1, 4)), "Q8_0")
    np.testing.assert_array_equal(grid.fake_quantize(blocks), grid.fake_quantize(blocks.dequantize()))


def test_out_is_filled_and_may_be_the_input():
    weight = np.random.default_rng(0).standard_normal((8, 24)).astype(np.float32)
    grid = AffineGrid(3, 8)
    expected = grid.fake_quantize(weight)
    out = np.empty_like(weight)
    assert grid.fake_quantize(weight, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert grid.fake_quantize(weight, out=weight) is weight
    np.testing.assert_array_equal(weight, expected)


def test_one_scale_denormal_weights_and_the_largest_allowed():
    smallest = np.float32(1e-45)
    assert AffineGrid(4, -1).fake_quantize([smallest, 0.0]).tolist() == [
        0.0,
        0.0,
    ]  # half of 1e-38 and less is 0
    largest = np.nextafter(np.float32(2.0**127), np.float32(0))
    for bits, sym in GRIDS:
        assert np.isfinite(AffineGrid(bits, -1, sym).fake_quantize([largest, -largest])).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**127, -(2.0**127)])
@pytest.mark.parametrize("where", [(0, 0), (1, 2), (2, 39)])
def test_weights_that_no_grid_holds_are_refused(bad, where, size):
    weight = np.ones((3, 40), np.float32)
    weight[where] = bad
    grid = AffineGrid(4, size)
    params = np.ones(grid.params_shape((3, 40)), np.float32), np.zeros(grid.params_shape((3, 40)), int)
    for act in (grid.params, grid.quantize, grid.fake_quantize, lambda w: grid.quantize(w, params=params)):
        with pytest.raises(
            GridError, match=rf"weight \[{where[0]}, {where[1]}\] is {np.float32(bad)}".replace("+", r"\+")
        ):
            act(weight)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"bits": 0}, "bits must be 1 to 16, got 0"),
        ({"bits": 17}, "bits must be 1 to 16, got 17"),
        ({"bits": -4}, "bits must be 1 to 16, got -4"),
        ({"bits": 4.0}, "bits must be an integer, got 4.0"),
        ({"bits": True}, "bits must be an integer, got True"),
        ({"bits": "4"}, "bits must be an integer, got '4'"),
        ({"bits": None}, "bits must be an integer, got None"),
        ({"bits": 1, "sym": True}, "bits ≥ 2"),
        ({"group_size": -2}, "got -2"),
        ({"bits": 10**5000}, "bits must be an integer, got a whole number of 16610 bits"),
        ({"group_size": 1 << 63}, "group_size must be an integer, got 9223372036854775808"),
        ({"group_size": 1.5}, "group_size must be an integer, got 1.5"),
        ({"sym": "yes"}, "sym must be True or False, got 'yes'"),
        ({"sym": 1}, "sym must be True or False, got 1"),
    ],
)
def test_grids_that_cannot_exist(kwargs, says):
    with pytest.raises(GridError, match=says):
        AffineGrid(**kwargs)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (1.0, r"shape \(\)"),
        ([], r"shape \(0,\)"),
        (np.zeros((3, 0)), r"shape \(3, 0\)"),
        ([1j], "complex128"),
        (["a"], "<U1"),
        ([None], "object"),
        ([[1.0], [1.0, 2.0]], "array of numbers"),
    ],
)
def test_what_is_not_a_weight(weight, says):
    for act in (AffineGrid().params, AffineGrid().quantize, AffineGrid().fake_quantize):
        with pytest.raises(GridError, match=says):
            act(weight)


def test_out_and_params_that_do_not_fit():
    weight, grid = np.ones((4, 8), np.float32), AffineGrid(4, 4)
    read_only = np.empty((4, 8), np.float32)
    read_only.flags.writeable = False
    for out in (
        np.empty((4, 9), np.float32),
        np.empty((4, 8)),
        np.empty((8, 4), np.float32).T,
        [0.0],
        read_only,
    ):
        with pytest.raises(GridError, match="out must be a writable"):
            grid.fake_quantize(weight, out=out)
    scale, zero_point = grid.params(weight)
    for params, says in [
        ((scale[:, :1], zero_point), r"of shape \(4, 2\), got \(4, 1\)"),
        ((scale, zero_point + 16), "integers from 0 to 15, got int32 from"),
        ((scale, zero_point.astype(float)), "integers from 0 to 15, got float64"),
        ((scale * 0, zero_point), "positive"),
        ((scale * np.nan, zero_point), "positive"),
        (scale, "must be"),
        (None.__class__, "must be"),
    ]:
        with pytest.raises(GridError, match=says):
            grid.quantize(weight, params=params)


def test_numpy_integers_and_booleans_are_welcome():
    grid = AffineGrid(np.int64(4), np.int32(32), np.bool_(True))
    assert grid == AffineGrid(4, 32, True)
    assert (type(grid.bits), type(grid.sym)) == (int, bool)
    assert hash(grid) == hash(AffineGrid(4, 32, True))


def test_granularity_has_a_name():
    assert [AffineGrid(4, g).granularity for g in (0, -1, 128)] == ["tensor", "channel", "group"]


def test_no_warning_escapes():
    extreme = np.float32([[1e-45, -1e-45, 0, 0], [1.7e38, -1.7e38, 1, -1], [0, 0, 0, 0], [-0.0, 5, 5, 5]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bits, sym in GRIDS:
            for size in SIZES:
                assert np.isfinite(AffineGrid(bits, size, sym).quantize(extreme).dequantize()).all()


def test_grid_errors_are_qviz_errors():
    assert issubclass(GridError, QvizError)
