"""What every format promises, whatever its layout. Parametrized over the registry: a new file is tested at once."""

import pickle

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import qviz
from qviz.errors import FormatError, NonFiniteError, NotEncodableError, ShapeError, UnknownFormatError
from qviz.formats import FORMATS, Format, QTensor, get, quantize

ENCODED = [fmt.name for fmt in FORMATS.values() if fmt.can_encode]
BLOCKED = [name for name in ENCODED if not FORMATS[name].is_float]
NEEDED = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_registry_holds_what_the_course_needs():
    assert set(NEEDED) <= set(ENCODED)


@pytest.mark.parametrize("name", FORMATS)
def test_sizes_and_ids_are_those_of_gguf_py(name):
    fmt = FORMATS[name]
    assert fmt.bpw == 8 * fmt.type_size / fmt.block_size
    if name == "Q2_0":  # newer than the released gguf-py; ggml-common.h: 64 weights, a half and 16 bytes
        assert (fmt.type_id, fmt.block_size, fmt.type_size) == (42, 64, 18)
        return
    peer = gguf.GGMLQuantizationType(fmt.type_id)
    assert peer.name == name
    block_size, type_size = gguf.GGML_QUANT_SIZES[peer]
    if name == "Q8_1":  # gguf-py still counts the two float32 of before May 2023; ggml's block has two halves
        type_size -= 4
    assert (block_size, type_size) == (fmt.block_size, fmt.type_size)


@pytest.mark.parametrize("name", NEEDED)
def test_gguf_py_writes_the_same_bytes(name):
    x = normal(16, 1024)
    peer = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name])
    assert quantize(x, name).tobytes() == peer.tobytes()


@pytest.mark.parametrize("name", BLOCKED)
def test_decoding_is_scale_times_code_minus_min(name):
    t = quantize(normal(4, 512), name)
    u = t.unpack()
    width = t.format.sub_block_size
    scale, low = (np.repeat(part, width, axis=-1) for part in (u.scales, u.mins))
    levels = u.codes if t.format.table is None else np.int8(t.format.table)[u.codes]
    assert np.array_equal(t.dequantize(), levels * scale - low)
    smallest, largest = t.format.codes
    assert u.codes.min() >= smallest
    assert u.codes.max() <= largest


@pytest.mark.parametrize("name", ENCODED)
def test_small_and_large_tensors_decode_alike(name):
    """Large outputs take another road (past the cache): it must lead to the same weights."""
    t = quantize(normal(520, 4096), name)  # more than 4 MiB, and no whole number of tiles
    whole = t.dequantize()
    assert whole.nbytes > 1 << 22
    assert np.array_equal(whole[:3], t.rows(0, 3).dequantize())
    assert np.array_equal(whole[-7:], t.rows(513).dequantize())


@pytest.mark.parametrize("name", ENCODED)
def test_an_odd_number_of_blocks(name):
    """Encoders work on tiles of blocks; what is left over must not be forgotten."""
    n = FORMATS[name].block_size
    x = normal(67 * n)
    assert quantize(x, name).tobytes() == b"".join(quantize(row, name).tobytes() for row in x.reshape(67, n))


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("shape", [(256,), (3, 256), (2, 3, 256), (0, 256)])
def test_shapes(name, shape):
    t = quantize(np.ones(shape), name)
    assert t.shape == shape
    assert t.dequantize().shape == shape
    assert t.nbytes == t.n_weights * t.format.type_size // t.format.block_size
    again = QTensor.from_bytes(name, t.tobytes(), shape)
    assert again.tobytes() == t.tobytes()


@pytest.mark.parametrize("name", BLOCKED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [(0, 0), (1, 37), (66, 255)])
def test_non_finite_weights_are_refused(name, bad, index):
    x = normal(67, 256)
    x[index] = bad
    with pytest.raises(NonFiniteError) as error:
        quantize(x, name)
    assert str(list(index)) in str(error.value)
    assert str(np.float32(bad)) in str(error.value)


@pytest.mark.parametrize("name", BLOCKED)
@pytest.mark.parametrize("n", [1, 16, 31, 33, 255])
def test_rows_must_be_whole_blocks(name, n):
    with pytest.raises(ShapeError, match=rf"row size \({n}\).*{name} block size"):
        quantize(np.ones((2, n)), name)


@pytest.mark.parametrize("x", [np.float32(1), np.ones((2, 0)), np.array([]), 3.0])
def test_rows_must_hold_weights(x):
    with pytest.raises(ShapeError):
        quantize(x, "Q4_0")


@pytest.mark.parametrize("x", ["weights", ["a"] * 32, np.ones(32, complex), None, [[1.0] * 32, [1.0]], object()])
def test_weights_must_be_numbers(x):
    with pytest.raises(FormatError):
        quantize(x, "Q8_0")


@pytest.mark.parametrize("dtype", ["<f8", "<f2", ">f4", "i1", "i8", "u2", "?"])
def test_other_number_types_are_converted(dtype):
    x = (np.arange(64) % 2).astype(dtype)
    assert quantize(x, "Q8_0").tobytes() == quantize(x.astype(np.float32), "Q8_0").tobytes()


def test_a_float64_beyond_float32_is_refused():
    with pytest.raises(NonFiniteError, match="inf"):
        quantize([1e300] * 32, "Q4_0")


@pytest.mark.parametrize("name", ENCODED)
def test_any_memory_layout(name):
    x = normal(512, 256)
    expected = quantize(x, name).tobytes()
    assert quantize(np.asfortranarray(x), name).tobytes() == expected
    assert quantize(np.repeat(x, 2, axis=0)[::2], name).tobytes() == expected
    readonly = x.copy()
    readonly.flags.writeable = False
    assert quantize(readonly, name).tobytes() == expected


def test_the_input_is_left_alone():
    x = normal(4, 256)
    copy = x.copy()
    for name in ENCODED:
        t = quantize(x, name)
        t.dequantize()[:] = 0
        assert np.array_equal(x, copy)


@pytest.mark.parametrize("name", ENCODED)
def test_decoding_into_an_array(name):
    t = quantize(normal(3, 256), name)
    out = np.full((3, 256), 9, np.float32)
    assert t.dequantize(out) is out
    assert np.array_equal(out, t.dequantize())
    for wrong in (np.empty((3, 255), np.float32), np.empty((3, 256)), np.empty((3, 512), np.float32)[:, ::2]):
        with pytest.raises(ShapeError):
            t.dequantize(wrong)


@pytest.mark.parametrize("length", [0, 17, 19, 36 + 1])
def test_from_bytes_wants_the_exact_length(length):
    with pytest.raises(ShapeError, match=f"take 18 bytes, got {length}"):
        QTensor.from_bytes("Q4_0", bytes(length), (32,))


def test_blocks_are_not_copied():
    raw = np.zeros(36, np.uint8)
    t = QTensor.from_bytes("Q4_0", raw, (64,))
    assert np.shares_memory(t.blocks, raw)
    assert np.shares_memory(t.blocks, QTensor.from_bytes("Q4_0", raw, (2, 32)).rows(1).blocks)


def test_removed_types_are_named():
    with pytest.raises(UnknownFormatError, match="Q4_2"):
        get(4)


@pytest.mark.parametrize("key", ["Q9_9", "", -1, 999, None])
def test_unknown_formats(key):
    with pytest.raises(UnknownFormatError, match="known formats: F32"):
        get(key)


def test_a_format_equals_its_name_and_survives_pickling():
    t = quantize(np.ones(32), "q4_0")
    assert t.format == "Q4_0"
    assert t.format != "Q4_1"
    assert pickle.loads(pickle.dumps(t.format)) is t.format


def test_a_dtype_of_the_wrong_size_is_refused():
    with pytest.raises(FormatError, match="3 bytes, ggml's block 4"):
        Format(name="X", type_id=999, block_size=1, type_size=4, dtype=np.dtype("u1, <u2"), source="")


@pytest.mark.parametrize("table", [(0.5,) * 16, (128,) * 16, (0,) * 15, (0,) * 17])
def test_a_table_of_other_than_sixteen_small_whole_numbers_is_refused(table):
    with pytest.raises(FormatError, match=r"X: a table holds sixteen whole numbers"):
        Format(name="X", type_id=999, block_size=1, type_size=1, dtype=np.dtype("u1"), source="", table=table)


def test_formats_without_kernels_say_so():
    fmt = next(f for f in FORMATS.values() if not f.can_decode)
    t = QTensor.from_bytes(fmt, bytes(fmt.type_size), (fmt.block_size,))
    with pytest.raises(NotEncodableError, match=fmt.name):
        t.dequantize()
    with pytest.raises(NotEncodableError, match=fmt.name):
        quantize(np.ones(fmt.block_size), fmt)


@given(arrays(np.float32, (2, 64), elements=st.floats(-6e4, 6e4, width=32)))
def test_the_error_stays_within_a_step(x):
    """Rounding costs at most half a step; a scale rounded to float16 moves the ends by 2^-11 of them."""
    for name, steps in {"Q4_1": 15, "Q5_1": 31}.items():
        blocks = x.reshape(-1, 32).astype(np.float64)
        span, size = np.ptp(blocks, axis=1), np.abs(blocks).max(axis=1)
        error = np.abs(qviz.quantize(x, name).dequantize().reshape(-1, 32) - blocks).max(axis=1)
        assert (error <= 0.5 * span / steps + 2**-10 * (size + span) + 1e-4).all()
    size = np.abs(x.reshape(-1, 32)).max(axis=1)
    error = np.abs(qviz.quantize(x, "Q8_0").dequantize() - x).reshape(-1, 32).max(axis=1)
    assert (error <= size * (0.5 / 127 + 2**-10) + 1e-4).all()
