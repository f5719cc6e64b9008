"""The block lens against ggml's layouts and gguf-py's decoder."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

from qviz.errors import WidgetError
from qviz.figures import bit_map, block_lens
from qviz.formats import FORMATS, QTensor, get, quantize

rng = np.random.default_rng(11)
DECODABLE = [fmt.name for fmt in FORMATS.values() if fmt.can_decode]


def known_to_gguf_py(name):
    try:
        dequantize(np.zeros((1, get(name).type_size), np.uint8), gguf.GGMLQuantizationType[name])
    except (KeyError, NotImplementedError):
        return False
    return name not in ("F32", "F16")  # which it reads through other dtypes


def expected_codes(name):
    """bit -> (weight, place), from the block structs and dequantize_row_* of ggml-common.h and ggml-quants.c."""
    bits = {}
    if name == "Q8_0":  # d, then 32 × int8 in two's complement
        for w in range(32):
            for k in range(8):
                bits[8 * (2 + w) + k] = (w, 2**k if k < 7 else -128)
        return bits
    start = {"Q4_0": 2, "Q4_1": 4, "Q5_0": 6, "Q5_1": 8}[name]
    for j in range(16):  # low halves are weights 0 … 15, high halves 16 … 31
        for k in range(8):
            bits[8 * (start + j) + k] = (j + 16 * (k > 3), 2 ** (k % 4))
    if name.startswith("Q5"):  # qh is one little-endian uint32: bit w is the fifth bit of weight w
        for w in range(32):
            bits[8 * (start - 4) + w] = (w, 16)
    return bits


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_map_is_ggmls_layout(name):
    fmt, found = get(name), bit_map(get(name))
    codes = expected_codes(name)
    for bit in range(8 * fmt.type_size):
        fed = found.feeds[bit].nonzero()[0].tolist()
        if bit in codes:
            assert (fed, found.place[bit]) == ([codes[bit][0]], codes[bit][1])
        else:  # d and m
            assert (fed, found.place[bit]) == (list(range(32)), 0)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_every_bit_of_a_float_is_its_own(name):
    found = bit_map(get(name))
    assert found.feeds.all()
    assert not found.place.any()


@pytest.mark.parametrize("name", [name for name in DECODABLE if known_to_gguf_py(name)])
def test_flips_break_what_gguf_py_says(name):
    fmt = get(name)
    raw = rng.integers(0, 256, (1, fmt.type_size), np.uint8)
    if "d" in (fmt.dtype.names or ()):  # a scale of ordinary size: NaN and infinity would hide the rest
        offset = fmt.dtype.fields["d"][1]
        raw[0, offset : offset + 2] = np.frombuffer(np.float16(0.037).tobytes(), np.uint8)
    tensor = QTensor.from_bytes(name, raw.tobytes(), (fmt.block_size,))
    kind = gguf.GGMLQuantizationType[name]
    before = dequantize(raw, kind)[0]
    for at in rng.permutation(8 * fmt.type_size)[:64].tolist():
        byte, bit = at >> 3, at & 7
        lens = block_lens(tensor, 0, [(byte, bit)])
        flipped = raw.copy()
        flipped[0, byte] ^= 1 << bit
        with np.errstate(all="ignore"):
            after = dequantize(flipped, kind)[0]
        both_nan = np.isnan(before) & np.isnan(after)
        assert np.array_equal(lens.weights, after, equal_nan=True)
        assert np.array_equal(lens.broken, (before != after) & ~both_nan)


@pytest.mark.parametrize("name", DECODABLE)
def test_map_covers_every_flip(name):
    fmt = get(name)
    raw = rng.integers(0, 256, fmt.type_size, np.uint8)
    tensor = QTensor.from_bytes(name, raw.tobytes(), (fmt.block_size,))
    known = np.unpackbits(block_lens(tensor, 0).feeds, axis=1, bitorder="little").astype(bool)[:, : fmt.block_size]
    for bit in rng.permutation(8 * fmt.type_size)[:64].tolist():
        broken = block_lens(tensor, 0, [(bit >> 3, bit & 7)]).broken
        assert not (broken & ~known[bit]).any(), f"bit {bit} moves weights that the map does not know of"


@pytest.mark.parametrize("name", [name for name in DECODABLE if not get(name).is_float])
def test_own_bits_spell_the_code(name):
    fmt = get(name)
    bits = bit_map(fmt)
    raw = rng.integers(0, 256, (1, fmt.type_size), np.uint8)
    lens = block_lens(QTensor.from_bytes(name, raw.tobytes(), (1, fmt.block_size)), 0)
    zero = QTensor.from_bytes(name, bytes(fmt.type_size), (1, fmt.block_size)).unpack().codes[0]
    is_set = np.unpackbits(lens.raw, bitorder="little").astype(int)
    own = bits.feeds & (bits.feeds.sum(axis=1) < fmt.sub_block_size)[:, None]
    spelled = [w for w in range(fmt.block_size) if (bits.place[own[:, w]] != 0).all()]
    for w in spelled:
        assert int(zero[w]) + (bits.place * is_set)[own[:, w]].sum() == lens.codes[w]
    codebooks = name.startswith(("IQ1", "IQ2", "IQ3")) or name == "TQ1_0"  # an index, or five trits in a byte
    assert len(spelled) == (0 if codebooks else fmt.block_size)


def test_formula_gives_the_weights():
    tensor = quantize(rng.standard_normal((2, 64)).astype(np.float32), "Q5_1")
    lens = block_lens(tensor, 3)
    assert (lens.row, lens.column) == (1, 32)
    assert np.array_equal(lens.scales * lens.levels.astype(np.float32) - lens.mins, lens.weights)
    assert np.array_equal(lens.weights, tensor.dequantize()[1, 32:])


def test_fields_and_elements_by_hand():
    raw = np.float16(0.5).tobytes() + np.float16(-3).tobytes() + bytes(range(16))
    lens = block_lens(QTensor.from_bytes("Q4_1", raw, (32,)), 0, address=4096)
    assert [(f.name, f.type, f.offset, f.size, f.count) for f in lens.fields] == [
        ("d", "float16", 0, 2, 1), ("m", "float16", 2, 2, 1), ("qs", "uint8", 4, 1, 16),
    ]  # fmt: skip
    assert lens.fields[0].parts == (1, 5, 10)
    assert lens.elements.tolist() == [0.5, -3.0, *range(16)]
    assert lens.address == 4096
    assert not lens.broken.any()
    # weight 1: low half of qs[1] = 1 → 0.5 · 1 − 3
    assert lens.weights[1] == -2.5


def test_bfloat16_is_shown_as_its_value():
    lens = block_lens(QTensor.from_bytes("BF16", b"\x80\x3f", (1,)), 0)
    assert lens.elements.tolist() == [1.0]
    assert (lens.fields[0].type, lens.fields[0].parts) == ("bfloat16", (1, 8, 7))


def test_two_flips_of_a_bit_cancel():
    tensor = quantize(np.arange(32), "Q8_0")
    lens = block_lens(tensor, 0, [(5, 6), (9, 1), (5, 6)])
    assert (lens.raw != lens.original).nonzero()[0].tolist() == [9]
    assert np.array_equal(tensor.dequantize(), quantize(np.arange(32), "Q8_0").dequantize()), "the tensor was changed"


@pytest.mark.parametrize(("index", "flips"), [(-1, []), (2, []), (0, [(18, 0)]), (0, [(0, 8)]), (0, [(-1, 0)])])
def test_what_is_not_there(index, flips):
    tensor = quantize(np.zeros((2, 32)), "Q4_0")
    with pytest.raises(WidgetError, match="no b"):
        block_lens(tensor, index, flips)


@pytest.mark.parametrize("name", [fmt.name for fmt in FORMATS.values() if not fmt.can_decode])
def test_formats_that_cannot_be_decoded_show_their_bytes(name):
    fmt = get(name)
    raw = bytes(i % 256 for i in range(fmt.type_size))
    lens = block_lens(QTensor.from_bytes(name, raw, (fmt.block_size,)), 0)
    assert lens.raw.tobytes() == raw
    assert lens.weights.size == lens.codes.size == 0
    assert not lens.feeds.any()
    assert sum(f.size * f.count for f in lens.fields) == fmt.type_size
