"""Packed checkpoints as they circulate, against tensors that the packages of their makers wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hf_folders as folders
import numpy as np
import pytest
from safetensors.numpy import save_file

from qviz import checkpoints
from qviz.checkpoints import packed
from qviz.checkpoints.packed.dialects import dialects, layouts
from qviz.errors import CheckpointError

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "dialects.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})


def stored(case: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Tensors of a golden case, those of them that are bits of BF16, and its settings."""
    found = {name.split("/")[1]: GOLDEN[name] for name in GOLDEN.files if name.startswith(f"{case}/")}
    settings = json.loads(str(found.pop("settings")))
    found.pop("expected")
    halves = {name.removesuffix(".bf16"): x for name, x in found.items() if name.endswith((".bf16", ".f8"))}
    return {name: x for name, x in found.items() if not name.endswith((".bf16", ".f8"))}, halves, settings


def write(
    folder: Path, settings: dict[str, Any], tensors: dict[str, np.ndarray], halves: dict[str, np.ndarray] | None = None
) -> Path:
    folder.mkdir(exist_ok=True)
    kinds = {
        "int8": "I8",
        "int16": "I16",
        "int32": "I32",
        "int64": "I64",
        "uint8": "U8",
        "float16": "F16",
        "float32": "F32",
    }
    header: dict[str, Any] = {}
    data = b""
    for name, x in (tensors | (halves or {})).items():
        raw = np.ascontiguousarray(x).tobytes()
        kind = "BF16" if name in (halves or {}) else kinds[str(x.dtype)]
        kind = "F8_E4M3" if name.endswith(".f8") else kind
        place = [len(data), len(data) + len(raw)]
        header[f"a.b.{name.removesuffix('.f8')}"] = {"dtype": kind, "shape": x.shape, "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    folders.write_json(folder / "config.json", {"quantization_config": settings})
    return folder


@pytest.mark.parametrize("case", CASES)
def test_weights_are_what_their_packer_says(tmp_path: Path, case: str) -> None:
    tensors, halves, settings = stored(case)
    layer = packed.read_packed(write(tmp_path, settings, tensors, halves))["a.b"]
    assert np.array_equal(layer.dequantize()[::3], GOLDEN[f"{case}/expected"])
    assert layer.shape == layer.codes().shape


@pytest.mark.parametrize(
    "case", ["ct_w4_group", "ct_w4_group_asym", "ct_w8_channel", "ct_w8_channel_asym", "ct_w3_group"]
)
def test_words_are_those_of_compressed_tensors(tmp_path: Path, case: str) -> None:
    """What its packer wrote, read, packed again, and written into a folder: the same words, the same settings."""
    tensors, halves, settings = stored(case)
    theirs = packed.read_packed(write(tmp_path / "theirs", settings, tensors, halves))["a.b"]
    given = settings["config_groups"]["group_0"]["weights"]
    sym, size = given["symmetric"], given["group_size"] or -1
    ours = packed.pack(
        theirs.codes(),
        np.full((theirs.n_out, theirs.n_groups), 0.5),
        theirs.zero_points(),
        bits=theirs.bits,
        format="pack-quantized",
        sym=sym,
    )
    for part in ("weight_packed", "weight_shape", *(() if sym else ("weight_zero_point",))):
        assert ours.tensors()[part].tolist() == tensors[part].tolist(), part
    assert sorted(ours.tensors()) == sorted(name for name in tensors | halves if sym is False or "zero" not in name)
    folder = packed.write_packed(tmp_path / "ours", {"a.b": ours}, group_size=size, sym=sym)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = packed.read_packed(folder)["a.b"]
    assert np.array_equal(again.dequantize(), ours.dequantize())
    told = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert (told["format"], told["ignore"]) == ("pack-quantized", ["lm_head"])
    scheme = told["config_groups"]["group_0"]["weights"]
    same = ("num_bits", "type", "symmetric", "strategy")
    assert {key: scheme[key] for key in same} == {key: given[key] for key in same}


def test_what_compressed_tensors_cannot_hold() -> None:
    codes, ones = np.zeros((32, 64), np.uint8), np.ones((32, 2))
    with pytest.raises(CheckpointError, match="no place for g_idx"):
        packed.pack(codes, ones, np.full((32, 2), 8), format="pack-quantized", g_idx=np.arange(64) % 2)
    with pytest.raises(CheckpointError, match="every zero point lies in the middle"):
        packed.pack(codes, ones, np.full((32, 2), 7), format="pack-quantized", sym=True)


@pytest.mark.parametrize("case", ["ct_fp8_channel", "ct_nvfp4"])
def test_small_floats_are_those_of_compressed_tensors(tmp_path: Path, case: str) -> None:
    """Weights that its packer made are rounded to themselves: the same codes, scales but for a rounding."""
    tensors, halves, settings = stored(case)
    theirs = packed.read_packed(write(tmp_path / "theirs", settings, tensors, halves))["a.b"]
    ours = packed.pack_floats(theirs.dequantize(), settings["format"])
    assert np.array_equal(ours.qweight, theirs.qweight)
    if case == "ct_nvfp4":
        assert np.array_equal(ours.scales, theirs.scales)
    np.testing.assert_array_max_ulp(ours.global_scale if case == "ct_nvfp4" else ours.scales,
                                    theirs.global_scale if case == "ct_nvfp4" else theirs.scales, 2)  # fmt: skip
    size = 16 if case == "ct_nvfp4" else -1
    folder = packed.write_packed(tmp_path / "ours", {"a.b": ours}, group_size=size)
    assert np.array_equal(packed.read_packed(folder)["a.b"].dequantize(), ours.dequantize())
    given = settings["config_groups"]["group_0"]["weights"]
    told = json.loads((folder / "config.json").read_text())["quantization_config"]["config_groups"]["group_0"][
        "weights"
    ]
    assert {key: told.get(key) for key in given} == given


def test_weights_that_are_no_small_floats() -> None:
    zeros = packed.pack_floats(np.zeros((2, 32)), "nvfp4-pack-quantized")
    assert not zeros.dequantize().any()
    assert not packed.pack_floats(np.zeros((2, 32)), "float-quantized").dequantize().any()
    with pytest.raises(CheckpointError, match="weights must be finite"):
        packed.pack_floats(np.full((2, 32), np.inf), "float-quantized")
    with pytest.raises(CheckpointError, match="whole groups of 16"):
        packed.pack_floats(np.ones((2, 24)), "nvfp4-pack-quantized")
    with pytest.raises(CheckpointError, match="no such format"):
        packed.pack_floats(np.ones((2, 32)), "pack-quantized")


@pytest.mark.parametrize(
    ("case", "part", "at", "value"),
    [
        ("ct_fp8_channel", "weight.f8", (3, 5), 0x7F),
        ("ct_fp8_tensor", "weight.f8", (0, 0), 0xFF),
        ("ct_nvfp4", "weight_scale.f8", (9, 1), 0x7F),
        ("ct_nvfp4", "weight_global_scale", (0,), 0),
    ],
)
def test_small_floats_that_are_no_numbers(tmp_path: Path, case: str, part: str, at: Any, value: int) -> None:
    tensors, halves, settings = stored(case)
    (halves if part in halves else tensors)[part][at] = value
    with pytest.raises(CheckpointError, match=r"'a\.b' holds NaN or infinity"):
        packed.read_packed(write(tmp_path, settings, tensors, halves))


@pytest.mark.parametrize(
    ("case", "change", "said"),
    [
        ("ct_fp8_channel", {"strategy": "block"}, "to floats is not read here"),
        ("ct_fp8_channel", {"num_bits": 6}, "to floats is not read here"),
        ("ct_fp8_channel", {"symmetric": False}, "to floats is not read here"),
        ("ct_fp8_channel", {"strategy": "tensor"}, "one scale for the matrix"),
        ("ct_nvfp4", {"group_size": 32}, "to floats is not read here"),
    ],
)
def test_small_floats_in_ways_that_are_not_read(tmp_path: Path, case: str, change: dict[str, Any], said: str) -> None:
    tensors, halves, settings = stored(case)
    settings["config_groups"]["group_0"]["weights"] |= change
    with pytest.raises(CheckpointError, match=said):
        packed.read_packed(write(tmp_path, settings, tensors, halves))


def test_every_layout_has_a_golden_case() -> None:
    read = {"gptq", "gptq_v2", "gemm"}  # test_packed has these
    read |= {stored(case)[2].get("version") or stored(case)[2].get("format") for case in CASES}
    assert set(layouts()) <= read
    assert {dialect.name for dialect in dialects()} == {"GPTQ", "AWQ", "AutoRound", "compressed-tensors"}


def test_codes_that_never_cross_words(tmp_path: Path) -> None:
    """Older compressed-tensors left two bits of a word unused: ten 3-bit codes in each."""
    tensors, _, settings = stored("ct_w3_group")
    layer = packed.read_packed(write(tmp_path / "now", settings, tensors))["a.b"]

    def padded(codes: np.ndarray) -> np.ndarray:
        n, m = codes.shape
        whole = np.zeros((-(-n // 10) * 10, m), np.uint32)
        whole[:n] = codes
        return np.bitwise_or.reduce(whole.reshape(-1, 10, m) << (3 * np.arange(10, dtype=np.uint32))[:, None], axis=1)

    tensors["weight_packed"] = np.ascontiguousarray(padded(layer.codes().T).T.view(np.int32))
    tensors["weight_zero_point"] = padded(layer.zero_points()).view(np.int32)
    assert tensors["weight_packed"].shape == (10, 7)
    before = packed.read_packed(write(tmp_path / "before", settings, tensors))["a.b"]
    assert np.array_equal(before.dequantize(), layer.dequantize())
    tensors["weight_zero_point"] = (layer.zero_points() - 4).astype(np.int8)  # and some did not pack these
    unpacked = packed.read_packed(write(tmp_path / "plain", settings, tensors))["a.b"]
    assert np.array_equal(unpacked.dequantize(), layer.dequantize())


def test_groups_in_an_order_of_their_own(tmp_path: Path) -> None:
    tensors, _, settings = stored("ct_w4_group_asym")
    layer = packed.read_packed(write(tmp_path / "plain", settings, tensors))["a.b"]
    order = np.random.default_rng(0).permutation(64)
    tensors["weight_g_idx"] = (order // 32).astype(np.int32)
    mixed = packed.read_packed(write(tmp_path / "mixed", settings, tensors))["a.b"].dequantize()
    scale, zero = (layer.scales[:, order // 32], layer.zero_points()[:, order // 32])
    assert np.array_equal(mixed, (layer.codes() - zero.astype(np.float32)) * scale)
    tensors["weight_g_idx"] = np.full(64, -1, np.int32)  # that package's mark for "in order"
    unused = packed.read_packed(write(tmp_path / "unused", settings, tensors))["a.b"]
    assert np.array_equal(unused.dequantize(), layer.dequantize())


# -- settings: where, under which keys, for which modules

CODES = np.random.default_rng(1).integers(0, 16, (32, 64))
SCALES = np.float16(np.random.default_rng(2).uniform(0.5, 2, (32, 2)))
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False}


def layer_of(bits: int = 4, format: str = "gptq", zero: int | None = None, **given: Any) -> dict[str, np.ndarray]:
    zeros = np.full((32, 2), (1 << bits - 1) if zero is None else zero)
    return packed.pack(CODES % (1 << bits), SCALES, zeros, bits=bits, format=format, **given).tensors()


def read_one(folder: Path) -> packed.PackedLinear:
    return packed.read_packed(folder)["a.b"]


@pytest.mark.parametrize(
    ("file", "settings", "format"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 32, "damp_percent": 0.01, "desc_act": False}, "gptq"),
        ("quantize_config.json", {"bits": 4, "group_size": 32, "sym": True, "true_sequential": True}, "gptq"),
        ("quantize_config.json", GPTQ | {"checkpoint_format": "gptq_v2", "meta": {"quantizer": ["x:1"]}}, "gptq_v2"),
        ("quantize_config.json", {"wbits": 4, "groupsize": 32, "desc_act": False}, "gptq"),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM"}, "gemm"),
        ("quantization_config.json", {"bits": 4, "group_size": 32, "autoround_version": "0.2", "sym": True}, "gptq"),
        (
            "quantization_config.json",
            {"quant_method": "intel/auto-round", "bits": 4, "group_size": 32, "backend": "auto_round:gptq:exllamav2"},
            "gptq",
        ),
        (
            "quantization_config.json",
            {"quant_method": "auto-round", "bits": 4, "group_size": 32, "packing_format": "auto_round:auto_awq"},
            "gemm",
        ),
    ],
)
def test_settings_stand_in_several_files(tmp_path: Path, file: str, settings: dict[str, Any], format: str) -> None:
    tensors = layer_of(format=format)
    write(tmp_path, {}, tensors)
    folders.write_json(tmp_path / file, settings)
    found = read_one(tmp_path)
    assert found.format == format
    expected = (CODES - 8.0) * np.repeat(SCALES.astype(np.float32), 32, axis=1)
    assert np.array_equal(found.dequantize(), expected.astype(np.float32))


def test_modules_may_have_bits_of_their_own(tmp_path: Path) -> None:
    eight = layer_of(8)
    own = {"dynamic": {"-:.*lm_head": {}, r"+:a\.(b|c)": {"bits": 8}, "a": {"bits": 2}}}
    assert read_one(write(tmp_path / "gptqmodel", GPTQ | own, eight)).bits == 8
    auto_round = {"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": True}
    for key in ("a.b", r".*\.b$"):
        settings = auto_round | {"extra_config": {key: {"bits": 8}, "lm_head": {"bits": 16, "data_type": "float"}}}
        assert read_one(write(tmp_path / "auto_round", settings, eight)).bits == 8
    with pytest.raises(CheckpointError, match=r"'a\.b' do not go together: the settings say 4 bits.* of 8 bits are"):
        read_one(write(tmp_path / "unsaid", GPTQ, eight))
    with pytest.raises(CheckpointError, match=r"'a\.b' is packed, though the settings leave it out"):
        read_one(write(tmp_path / "out", GPTQ | {"dynamic": {"-:a": {}}}, eight))


def test_targets_of_compressed_tensors(tmp_path: Path) -> None:
    tensors, halves, settings = stored("ct_w4_group")
    group = settings["config_groups"]["group_0"]
    wrong = group | {"weights": group["weights"] | {"num_bits": 8}, "targets": ["Linear"]}
    for target in ("a.b", r"re:.*\.b$"):  # both come before the class
        settings["config_groups"] = {"x": wrong, "y": group | {"targets": [target]}}
        assert read_one(write(tmp_path, settings, tensors, halves)).bits == 4
    for targets, ignored in ((["a.c"], []), (["Linear"], ["re:a"])):
        settings |= {"config_groups": {"y": group | {"targets": targets}}, "ignore": ignored}
        with pytest.raises(CheckpointError, match="though the settings leave it out"):
            read_one(write(tmp_path, settings, tensors, halves))


@pytest.mark.filterwarnings("error")
def test_what_else_is_rounded_is_said(tmp_path: Path) -> None:
    """Activations and the key-value cache: no part of the weights, and none of the answers here."""
    tensors, halves, settings = stored("ct_w4_group")
    group = settings["config_groups"]["group_0"]
    read_one(write(tmp_path, settings, tensors, halves))
    inputs = {"input_activations": {"num_bits": 8, "type": "int", "dynamic": True}}
    cache = {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}
    for changed, said in (
        (settings | cache, "keys and values to 8 bits"),
        (settings | {"config_groups": {"g": group | inputs}}, "input activations to 8 bits"),
    ):
        with pytest.warns(UserWarning, match=f"its makers round {said} as well; only its weights are read here"):
            read_one(write(tmp_path, changed, tensors, halves))


def test_old_files_have_no_g_idx(tmp_path: Path) -> None:
    tensors = layer_of()
    del tensors["g_idx"]
    assert read_one(write(tmp_path / "a", GPTQ, tensors)).g_idx.tolist() == [0] * 32 + [1] * 32
    with pytest.raises(CheckpointError, match=r"the order is missing \(g_idx\)"):
        read_one(write(tmp_path / "b", GPTQ | {"desc_act": True}, tensors))


def test_a_last_group_may_be_short(tmp_path: Path) -> None:
    """64 columns in groups of 48 are 48 and 16, not twice 32."""
    tensors = layer_of(g_idx=np.arange(64) // 48)
    whole = read_one(write(tmp_path / "a", GPTQ | {"group_size": 48}, tensors)).dequantize()
    del tensors["g_idx"]
    assert np.array_equal(read_one(write(tmp_path / "b", GPTQ | {"group_size": 48}, tensors)).dequantize(), whole)


def test_symmetric_zero_points_tell_the_version(tmp_path: Path) -> None:
    for format, other in (("gptq", "gptq_v2"), ("gptq_v2", "gptq")):
        settings = GPTQ | {"sym": True, "checkpoint_format": other}
        with pytest.raises(CheckpointError, match=f"those of {format}, and the settings say {other}"):
            read_one(write(tmp_path, settings, layer_of(format=format)))


# -- what is refused, and what contradicts itself


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes.*dequantize"),
        ({"quant_method": "exl2", "bits": 4.0}, "exl2.*convert the model that it was made of"),
        ({"quant_method": "mxfp4"}, "MXFP4"),
        ({"quant_method": "hqq"}, "HQQ"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"bits": 4, "group_size": 64}, "MLX.*mlx_lm"),
        ({"quant_method": "secret"}, "not known here.*expected AutoRound, AWQ, compressed-tensors, GPTQ"),
        (GPTQ | {"checkpoint_format": "marlin"}, "export as gptq.*found 'marlin'"),
        (GPTQ | {"is_marlin_format": True}, "found 'marlin'"),
        (GPTQ | {"checkpoint_format": "gptq_p"}, "found 'gptq_p'"),
        (GPTQ | {"pack_dtype": "int16"}, "only codes packed into int32"),
        (GPTQ | {"adapter": {"type": "lora"}}, "adapter is not applied here"),
        (GPTQ | {"bits": "4"}, "so many bits are not read here: found '4'"),
        (GPTQ | {"bits": 5}, "found 5, expected 2 or 3 or 4 or 8"),
        (GPTQ | {"group_size": 0}, "group_size must be"),
        (GPTQ | {"group_size": 24}, "64 columns in groups of 24 have 3 scales a row, its tensors hold 2"),
        (GPTQ | {"desc_act": "no"}, "desc_act must be true or false"),
        (GPTQ | {"dynamic": {"+:(?<=a)b": {}}}, r"pattern '\(\?<=a\)b' is not understood"),
        ({"quant_method": "awq", "version": "marlin", "bits": 4}, "export as GEMM.*found 'marlin'"),
        ({"quant_method": "awq", "bits": 3}, "found 3, expected 4"),
        ({"quant_method": "auto-round", "bits": 4, "packing_format": "auto_round:fp8"}, "packing_format.*fp8"),
        (
            {"quant_method": "auto-round", "bits": 4, "packing_format": "auto_round:tritonv2"},
            "zero points.*differently",
        ),
        ({"quant_method": "auto-round", "bits": 4, "act_bits": 8}, "beside float activations"),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "names no config_groups"),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "mxfp4-pack-quantized",
                "config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}},
            },
            "use an export as pack-quantized: found 'mxfp4-pack-quantized of float'",
        ),
        ({"quant_method": "compressed-tensors", "transform_config": {"R1": 1}}, "transform_config is not applied"),
        ([4], "must be an object"),
    ],
)
def test_other_ways_are_named(tmp_path: Path, settings: Any, text: str) -> None:
    with pytest.raises(CheckpointError, match=text):
        read_one(write(tmp_path, settings, layer_of()))


def test_nothing_says_how(tmp_path: Path) -> None:
    write(tmp_path, {}, layer_of())
    with pytest.raises(CheckpointError, match=r"nothing says how.*quantize_config\.json.*found 'a\.b\.qweight'"):
        packed.read_packed(tmp_path)
    save_file({"a.q_weight": np.zeros(4, np.int32)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"ExLlamaV2 \(exl2\) are not read here"):
        packed.read_packed(tmp_path)


def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    write(tmp_path, GPTQ, layer_of())
    for change, key in (({"bits": 8}, "bits"), ({"quant_method": "awq"}, "quant_method"), ({"w_bit": 2}, "bits")):
        folders.write_json(tmp_path / "quantize_config.json", GPTQ | change)
        with pytest.raises(CheckpointError, match=rf"quantize_config\.json: {key} (contradicts config|is given twice)"):
            packed.read_packed(tmp_path)
    folders.write_json(tmp_path / "quantize_config.json", {"model_file_base_name": "x", "bits": 4})
    assert read_one(tmp_path).bits == 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"g_idx": np.full(64, 2, np.int32)}, "a group below 2"),
        ({"g_idx": np.full(64, -1, np.int32)}, "a group below 2"),
        ({"g_idx": np.zeros(64, np.int32)}, "puts all columns into group 0"),
        ({"g_idx": np.zeros(60, np.int32)}, "each of 64 columns"),
        ({"scales": np.full((2, 32), np.nan, np.float16)}, "hold NaN, infinity, or more than"),
        ({"scales": np.full((2, 32), 3e38, np.float32)}, "more than weights can be"),
        ({"scales": np.ones((2, 31), np.float16)}, r"scales are \(2, 31\)"),
        ({"qzeros": np.zeros((2, 4), np.float16)}, "is not what this layout has: found 'F16"),
        ({"qzeros": np.zeros(4, np.int32)}, "expected I32 of 2 dimensions"),
        ({"qzeros": None}, r"'a\.b\.qzeros' is missing"),
    ],
)
def test_tensors_that_do_not_go_together(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    tensors = {name: x for name, x in (layer_of() | change).items() if x is not None}
    with pytest.raises(CheckpointError, match=text):
        read_one(write(tmp_path, GPTQ, tensors))


# -- names of files


def test_weights_by_other_names(tmp_path: Path) -> None:
    settings = GPTQ | {"model_file_base_name": "gptq_model-4bit-32g"}
    write(tmp_path, settings, layer_of())
    (tmp_path / "model.safetensors").rename(tmp_path / "gptq_model-4bit-32g.safetensors")
    assert read_one(tmp_path).bits == 4
    other = tmp_path / "another.safetensors"
    save_file({"x": np.zeros(1, np.float32)}, other)
    assert read_one(tmp_path).bits == 4  # the settings name it
    folders.write_json(tmp_path / "config.json", {"quantization_config": GPTQ})
    with pytest.raises(CheckpointError, match=r"several files could be the model.*another.*gptq_model"):
        packed.read_packed(tmp_path)
    other.unlink()
    assert read_one(tmp_path).bits == 4  # the only one
    (tmp_path / "gptq_model-4bit-32g.safetensors").rename(tmp_path / "m-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="1 of 2 shards of m are here, number 2 is missing; download the whole"):
        packed.read_packed(tmp_path)
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "m-00002-of-00002.safetensors")
    assert read_one(tmp_path).bits == 4
    places = {name: "m-00001-of-00002.safetensors" for name in checkpoints.read(tmp_path) if name != "x"}
    folders.write_json(tmp_path / "gptq_model.safetensors.index.json", {"weight_map": places})
    assert read_one(tmp_path).bits == 4
    assert "x" not in checkpoints.read(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "gptq_model-4bit-128g.pt", "model.ckpt"])
def test_pickles_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=f"save {name} as safetensors first"):
        checkpoints.read(tmp_path)


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="merge it into its model"):
        checkpoints.read(tmp_path)
