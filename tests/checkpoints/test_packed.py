"""Packed GPTQ and AWQ layers against bytes that released packages made."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from qviz.checkpoints import packed
from qviz.errors import CheckpointError

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "packing.npz")
GPTQ = sorted({name.split("/")[0] for name in GOLDEN.files if name.startswith("gptq_")})


def parts(case):
    """Codes, scale and zero points of a golden case, from its dequantized weights alone."""
    g = {name.split("/")[1]: GOLDEN[name] for name in GOLDEN.files if name.startswith(f"{case}/")}
    scales = g["scales"].T.astype(np.float32)
    g_idx = g.get("g_idx", np.arange(128, dtype=np.int32) // 32)
    zeros = g["zeros"].astype(np.int32)
    codes = np.rint(g["deq"] / scales[:, g_idx]).astype(np.int32) + zeros[:, g_idx]
    return g, codes, scales, zeros, g_idx


@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("case", GPTQ)
def test_gptq_bytes(case, version):
    g, codes, scales, zeros, g_idx = parts(case)
    bits = int(case[6])
    layer = packed.pack(codes, scales, zeros, bits=bits, format=version, g_idx=g_idx)
    assert np.array_equal(layer.qweight, g["qweight"])
    assert np.array_equal(layer.qzeros, g["qzeros_v1" if version == "gptq" else "qzeros"])
    assert np.array_equal(layer.scales, g["scales"])
    assert np.array_equal(layer.dequantize(), g["deq"])
    if "act" not in case:
        same = packed.pack(codes, scales, zeros, bits=bits, format=version)
        assert np.array_equal(same.g_idx, g["g_idx"])


def test_the_golden_cases_cover_every_width():
    assert {case[6] for case in GPTQ} == set("2348")
    assert any("act" in case for case in GPTQ)


def test_awq_bytes():
    g, codes, scales, zeros, _ = parts("awq_gemm")
    layer = packed.pack(codes, scales, zeros, format="gemm")
    assert np.array_equal(layer.qweight, g["qweight"])
    assert np.array_equal(layer.qzeros, g["qzeros"])
    # that package multiplies in float16
    np.testing.assert_array_equal(layer.dequantize().astype(np.float16), g["deq"].astype(np.float16))


def test_a_zero_point_of_zero_borrows():
    v2, v1 = GOLDEN["gptq_w4_asym/qzeros"], GOLDEN["gptq_w4_asym/qzeros_v1"]
    assert v2[0, 0] == 0x79689980
    assert v1[0, 0] == 0x6857886F  # nibble 1 is 6, not 7
    assert np.array_equal(packed.zeros_from_v1(v1, 4), v2)
    nibbles = packed.unpack_bits(v1.T.copy(), 4) + 1 & 15
    assert (nibbles.T != packed.unpack_bits(v2.T.copy(), 4).T).sum() > 0  # what a field-wise reader gets


@pytest.mark.parametrize("bits", packed.BITS)
def test_bits_there_and_back(bits):
    codes = np.random.default_rng(bits).integers(0, 2**bits, (96, 7))
    words = packed.pack_bits(codes, bits)
    assert words.shape == (96 * bits // 32, 7)
    assert np.array_equal(packed.unpack_bits(words, bits), codes)
    stream = sum(int(c) << bits * i for i, c in enumerate(codes[:, 3]))  # one long number
    assert [int(w) for w in words[:, 3].view("u4")] == [stream >> 32 * i & 0xFFFFFFFF for i in range(len(words))]


@pytest.mark.parametrize(
    ("case", "version"),
    [
        ("gptq_w3_asym_act", "gptq"),
        ("gptq_w3_asym_act", "gptq_v2"),
        ("gptq_w4_asym", "gptq"),
        ("gptq_w8_sym", "gptq_v2"),
        ("awq_gemm", "gemm"),
    ],
)
def test_checkpoint(tmp_path, case, version):
    _, codes, scales, zeros, g_idx = parts(case)
    bits = 4 if version == "gemm" else int(case[6])
    layer = packed.pack(codes, scales, zeros, bits=bits, format=version, g_idx=g_idx)
    others = {"norm.weight": np.ones(5, np.float32)}
    packed.write_packed(tmp_path, {"a.q": layer}, others=others, group_size=32, config={"model_type": "llama"})
    theirs = load_file(tmp_path / "model.safetensors")
    assert np.array_equal(theirs["a.q.qweight"], layer.qweight)
    assert np.array_equal(theirs["norm.weight"], others["norm.weight"])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["quantization_config"]["bits"] == bits
    assert config["quantization_config"]["quant_method"] == ("awq" if version == "gemm" else "gptq")
    back = packed.read_packed(tmp_path)["a.q"]
    assert back.format == version
    assert np.array_equal(back.dequantize(), layer.dequantize())
    (tmp_path / "config.json").unlink()  # the older packages' file is enough
    assert np.array_equal(packed.read_packed(tmp_path)["a.q"].qzeros, layer.qzeros)


def test_a_symmetric_grid_is_shifted():
    codes = np.int8([[-8, 7] * 4] * 8)
    layer = packed.pack(codes, np.ones((8, 1)), np.zeros((8, 1), np.int32), format="gptq_v2")
    assert np.array_equal(layer.zero_points(), np.full((8, 1), 8))
    assert np.array_equal(layer.dequantize(), codes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"codes": np.full((8, 8), 16)}, "do not fit 4 bits"),
        ({"codes": np.zeros((8, 7), int)}, "multiple of 32"),
        ({"codes": np.zeros(8, int)}, "matrices"),
        ({"scale": np.full((8, 1), 1e6)}, "float16"),
        ({"scale": np.full((8, 1), np.nan)}, "float16"),
        ({"scale": np.ones((8, 2))}, "n_groups"),
        ({"g_idx": np.full(8, 3)}, "g_idx"),
        ({"format": "marlin"}, "no such packed format"),
        ({"bits": 5}, "2, 3, 4 or 8"),
        ({"bits": 8, "format": "gemm"}, "4-bit"),
    ],
)
def test_what_cannot_be_packed(change, text):
    given = {"codes": np.zeros((8, 8), int), "scale": np.ones((8, 1)), "zero_point": np.zeros((8, 1), int)} | change
    with pytest.raises(CheckpointError, match=text):
        packed.pack(given.pop("codes"), given.pop("scale"), given.pop("zero_point"), **given)
