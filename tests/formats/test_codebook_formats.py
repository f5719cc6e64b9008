"""Formats whose codes go through a table or a codebook, and those that can only be read."""

import ctypes
import re
from pathlib import Path

import bounds
import ggml
import gguf
import numpy as np
import pytest
from rows import N, adversarial, random_bits

from qviz.errors import NotEncodableError
from qviz.formats import FORMATS, QTensor, quantize
from qviz.formats.iq import codebooks

READ_ONLY = ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "Q8_K"]
GRIDS = {
    "IQ1_S": codebooks.IQ1_GRID,
    "IQ2_XXS": codebooks.IQ2_XXS_GRID,
    "IQ2_XS": codebooks.IQ2_XS_GRID,
    "IQ2_S": codebooks.IQ2_S_GRID,
    "IQ3_XXS": codebooks.IQ3_XXS_GRID,
    "IQ3_S": codebooks.IQ3_S_GRID,
}


def random_blocks(name, n, seed=5):
    return np.random.default_rng(seed).integers(0, 256, n * FORMATS[name].type_size, dtype=np.uint8)


def assert_same_floats(ours, theirs):
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    same = ~np.isnan(theirs)
    assert np.array_equal(ours.view(np.uint32)[same], theirs.view(np.uint32)[same])


# --- decoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READ_ONLY)
def test_any_bytes_decode_as_in_ggml(name):
    raw, n = random_blocks(name, 4096), 4096 * 256
    assert_same_floats(QTensor.from_bytes(name, raw, (n,)).dequantize(), ggml.dequantize(raw.tobytes(), name, n))


@pytest.mark.parametrize("name", [*GRIDS, "IQ1_M", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4"])
def test_blocks_decode_as_in_gguf_py(name):
    """gguf-py works with other expressions, which may differ where a scale is not a number."""
    fmt = FORMATS[name]
    raw = random_blocks(name, 512).reshape(512, -1)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[name])
    whole = np.isfinite(theirs).all(axis=1)
    assert whole.sum() > 400
    ours = QTensor.from_bytes(name, raw[whole].ravel(), (int(whole.sum()), fmt.block_size)).dequantize()
    assert np.array_equal(ours, theirs[whole])


@pytest.mark.parametrize("name", [*READ_ONLY, "Q2_0", "Q8_1"])
def test_decoding_is_scale_times_code(name):
    fmt = FORMATS[name]
    t = QTensor.from_bytes(name, random_blocks(name, 512), (512, fmt.block_size))
    u = t.unpack()
    with np.errstate(all="ignore"):
        expected = u.codes * np.repeat(u.scales, fmt.sub_block_size, axis=-1)
    assert_same_floats(t.dequantize(), expected)
    assert not u.mins.any()
    assert (u.codes.min(), u.codes.max()) == fmt.codes


@pytest.mark.parametrize("name", [*READ_ONLY, "Q2_0", "Q8_1"])
def test_small_and_large_tensors_decode_alike(name):
    fmt = FORMATS[name]
    rows = 520 * 4096 // fmt.block_size  # more than 4 MiB
    t = QTensor.from_bytes(name, random_blocks(name, rows), (rows, fmt.block_size))
    whole = t.dequantize()
    assert_same_floats(whole[:3].ravel(), t.rows(0, 3).dequantize().ravel())
    assert_same_floats(whole[-7:].ravel(), t.rows(rows - 7).dequantize().ravel())


@pytest.mark.parametrize("name", ["Q8_K", "Q8_1"])
def test_what_can_only_be_read_says_so(name):
    with pytest.raises(NotEncodableError, match=f"{name} can be read but not written"):
        quantize(np.ones(FORMATS[name].block_size), name)


def test_every_byte_of_q2_0():
    """Four codes a byte from the low end, each less one, times the float16 in front."""
    raw = b"".join(np.float16(0.25).tobytes() + bytes(range(k, k + 16)) for k in range(0, 256, 16))
    weights = QTensor.from_bytes("Q2_0", raw, (16 * 64,)).dequantize().reshape(256, 4)
    expected = [[(byte // 4**k % 4 - 1) * 0.25 for k in range(4)] for byte in range(256)]
    assert weights.tolist() == expected


def test_q8_1_decodes_what_ggml_encodes():
    """ggml has no decoder for it: the codes times the scale must come within half a step of the weights."""
    x = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    raw = np.empty(64 * 36, np.uint8)
    encode = ggml.library().quantize_row_q8_1_ref
    encode.restype, encode.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    encode(x.ctypes.data, raw.ctypes.data, x.size)
    t = QTensor.from_bytes("Q8_1", raw, x.shape)
    step = np.abs(x).max(axis=1, keepdims=True) / 127
    assert (np.abs(t.dequantize() - x) <= step * (0.5 + 127 * 2**-11)).all()
    # the sum is kept as float16, of codes times the scale before it became float16
    total, size = t.dequantize().sum(axis=1, dtype=np.float64), np.abs(t.dequantize()).sum(axis=1)
    bounds.assert_within(t.blocks["s"].ravel(), total, 2**-11 * (np.abs(total) + size) + bounds.size_bound(size, 32))


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_codebooks_are_those_of_gguf_py(name):
    peer = getattr(gguf.quants, name)
    peer.init_grid()
    assert np.array_equal(GRIDS[name], peer.grid.reshape(peer.grid_shape))


def test_signs_are_those_of_gguf_py():
    assert codebooks.EIGHTH.tobytes() == gguf.quants.IQ2_XXS.ksigns


@pytest.mark.parametrize("name", ["IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4"])
def test_tables_are_those_of_gguf_py(name):
    peer = gguf.quants.IQ4_NL if name == "IQ4_XS" else getattr(gguf.quants, name)
    assert tuple(peer.kvalues) == FORMATS[name].table


@pytest.mark.parametrize("name", ["IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4"])
def test_unpack_gives_the_codes_before_the_table(name):
    u = quantize(adversarial()["normal"], name).unpack()
    assert u.codes.min() >= 0
    assert u.codes.max() <= 15


def test_the_licence_of_the_codebooks_is_beside_them():
    text = Path(codebooks.__file__).with_name("codebooks.LICENSE").read_text()
    assert re.match(r"MIT License\s+Copyright \(c\) 2023-\d+ The ggml authors", text)


# --- encoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0", "MXFP4"])
def test_gguf_py_writes_the_same_bytes(name):
    x = np.random.default_rng(0).standard_normal((16, 1024)).astype(np.float32)
    assert quantize(x, name).tobytes() == gguf.quants.quantize(x, gguf.GGMLQuantizationType[name]).tobytes()


@pytest.mark.parametrize("name", ["IQ4_NL", "IQ4_XS"])
@pytest.mark.parametrize("kind", ["squares", "ones", "zeros", "one column", "huge", "tiny"])
def test_importance_on_adversarial_rows(name, kind):
    imatrix = importances(N)[kind]
    for row, x in adversarial().items():
        assert quantize(x[None], name, imatrix).tobytes() == ggml.quantize(x[None], name, imatrix), row


def importances(n):
    squares = np.random.default_rng(9).standard_normal(n).astype(np.float32) ** 2
    return {
        "squares": squares,
        "ones": np.ones(n, np.float32),
        "zeros": np.zeros(n, np.float32),
        "one column": np.where(np.arange(n) == 77, np.float32(3), np.float32(0)),
        "huge": squares * np.float32(1e30),
        "tiny": squares * np.float32(1e-35),
    }


@pytest.mark.parametrize("name", ["IQ4_NL", "IQ4_XS"])
@pytest.mark.parametrize("n", [256, 768, 4096])
def test_importance_on_rows_of_any_length(name, n):
    rng = np.random.default_rng(n)
    x = (rng.standard_t(3, (37, n)) * 0.02).astype(np.float32)
    imatrix = importances(n)["squares"]
    assert quantize(x, name, imatrix).tobytes() == ggml.quantize(x, name, imatrix)
    assert quantize(x, name, imatrix).tobytes() != quantize(x, name).tobytes()


def test_importance_of_rows_that_are_no_whole_super_block():
    x = np.random.default_rng(0).standard_normal((5, 96)).astype(np.float32)
    imatrix = importances(96)["squares"]
    assert quantize(x, "IQ4_NL", imatrix).tobytes() == ggml.quantize(x, "IQ4_NL", imatrix)


@pytest.mark.parametrize("name", ["IQ4_NL", "IQ4_XS"])
def test_importance_with_weights_of_every_exponent(name):
    x = random_bits(16 * 4096).reshape(16, 4096)
    imatrix = importances(4096)["squares"]
    assert quantize(x, name, imatrix).tobytes() == ggml.quantize(x, name, imatrix)


@pytest.mark.parametrize("name", ["MXFP4", "NVFP4"])
def test_around_every_power_of_two(name):
    """Where log2f rounds up, and where an 8-bit float changes its exponent."""
    bits = (np.arange(255)[:, None] * 2**23 + np.arange(-60, 61)).ravel()
    magnitudes = bits[(bits > 0) & (bits < 0x7F800000)].astype(np.uint32).view(np.float32)
    x = np.zeros((magnitudes.size, 64), np.float32)
    x[:, 5], x[:, 40] = magnitudes, -magnitudes
    assert quantize(x, name).tobytes() == ggml.quantize(x, name)


@pytest.mark.parametrize("name", ["MXFP4", "NVFP4"])
def test_ties_between_tiny_floats(name):
    """All half steps of the table, and the floats beside them, with either sign and three scales."""
    levels = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)
    middles = (levels[1:] + levels[:-1]) / 2
    around = np.concatenate([np.nextafter(middles, np.float32(k)) for k in (0, 99)] + [middles, levels[:-1]])
    row = np.concatenate([around, -around, [12, -12, 12, -12, 0, -0.0, 12, 12]]).astype(np.float32)
    x = np.stack([row, row * 1.75, row * 2**-9, row * 3e-5])
    assert x.shape == (4, 64)
    assert quantize(x, name).tobytes() == ggml.quantize(x, name)


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0"])
def test_halves_of_the_largest_weight(name):
    """A weight of half the largest magnitude is one, the float below it zero."""
    row = np.full(N, 0.5, np.float32)
    row[::3], row[1::3] = np.nextafter(np.float32(0.5), np.float32(0)), -0.5
    row[7] = 1
    expected = [0, -1, 1]
    codes = quantize(row, name).unpack().codes
    assert codes[0:3].tolist() == expected
    assert quantize(row[None], name).tobytes() == ggml.quantize(row[None], name)


def test_every_five_trits_survive():
    numbers = np.arange(243)
    trits = numbers[:, None] // 3 ** np.arange(5) % 3 - 1
    x = np.ones((256, 256), np.float32)
    x[:243, 0:160:32] = trits
    t = quantize(x, "TQ1_0")
    assert np.array_equal(t.dequantize(), x)
    assert np.unique(t.blocks["qs"][:243, 0, 0]).size == 243
