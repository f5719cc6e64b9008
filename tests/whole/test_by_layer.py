"""Rounding methods on whole models: what is calibrated on what, what is stored, and what others read of it."""

import itertools
import json
import tracemalloc

import bounds
import ggml
import hf_folders
import llamacpp
import numpy as np
import pytest
import tokenizers
from safetensors.numpy import load_file

import qviz
from qviz import checkpoints, gguf
from qviz.calibration import Collector
from qviz.errors import CalibrationError, CheckpointError, LlamaError, MethodError, PipelineError, QvizError
from qviz.gguf import U32
from qviz.models import calibration_text, heldout_text
from qviz.transformer import Transformer
from qviz.whole import by_layer

TEXT = "The President of the United States said, and the whale answered"


def shortened(path, layers=2, kv_heads=4):
    """The first layers of the small model; with fewer key and value heads, if asked."""
    tiny = qviz.load("tiny")
    names = [name for name in tiny if not name.startswith("blk.") or int(name.split(".")[1]) < layers]
    tensors = {name: tiny[name] for name in names}
    for name in names:
        if name.split(".")[-2] in ("attn_k", "attn_v"):
            tensors[name] = qviz.quantize(tiny[name].dequantize()[: 64 * kv_heads], "F16")
    changes = {"llama.block_count": U32(layers), "llama.attention.head_count_kv": U32(kv_heads)}
    return gguf.write(path, tiny.metadata.without(*changes) | changes, tensors)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sequential")


@pytest.fixture(scope="module")
def short(folder):
    return qviz.load(shortened(folder / "short.gguf"))


@pytest.fixture(scope="module")
def grouped(folder):
    return qviz.load(shortened(folder / "grouped.gguf", kv_heads=2))


@pytest.fixture(scope="module")
def ids(short):
    return Transformer(short).tokenizer.encode(TEXT)


@pytest.fixture(scope="module")
def biased(folder, short):
    """Every matrix of a layer with a bias, large enough to matter."""
    rng = np.random.default_rng(0)
    tensors = {name: short[name] for name in short}
    for name in list(tensors):
        if is_matrix(name):
            size = 5 if "attn_v" in name or "ffn_up" in name else 0.3
            bias = rng.normal(0, size, tensors[name].shape[0]).astype(np.float32)
            tensors[name.replace("weight", "bias")] = bias
    return qviz.load(gguf.write(folder / "biased.gguf", short.metadata, tensors))


def logits(model, ids):
    return Transformer(model, activations="float").logits(ids)


def is_matrix(name):
    return name.startswith("blk.") and "norm" not in name


# -- the order of work


def test_every_step_is_calibrated_on_what_is_rounded_before_it(short):
    """Against the plain way to do it: the whole model again for each step, one matrix after the other."""
    rounded = by_layer.round_model(short, "gptq", 3, 64, n_tokens=512, act_order=True)
    run = Transformer(short)
    windows = qviz.transformer.evaluate.windows_of(run, calibration_text(), 256, None)[:2]
    grid = qviz.AffineGrid(3, 64)
    so_far = {name: short[name] for name in short}

    class Loose(dict):
        metadata = short.metadata

    for i, kinds in itertools.product(range(2), (("attn_q", "attn_k", "attn_v"), ("attn_output",), ("ffn_gate",))):
        collect = Collector()
        Transformer(Loose(so_far), activations="float", on_linear_input=collect).window_logits(windows)
        for kind in kinds:
            name = f"blk.{i}.{kind}.weight"
            result = qviz.gptq(short[name].dequantize(), collect.stats[name], grid, act_order=True)
            scales = result.scales.astype(np.float16).astype(np.float32)
            steps = result.codes.astype(np.int32) - result.zero_points[:, result.g_idx]
            expected = steps * scales[:, result.g_idx]
            # sums in another order turn a few codes
            assert (expected == rounded[name].dequantize()).mean() > 0.99, name
        for name in rounded:  # what comes before the next step is as it was rounded
            if name.startswith(f"blk.{i}.") and (kinds[-1] != "ffn_gate" or "ffn" in name) and "attn" in name:
                so_far[name] = rounded[name] if name.split(".")[2] in kinds else so_far[name]
            if kinds[-1] == "ffn_gate" and name.startswith(f"blk.{i}."):
                so_far[name] = rounded[name]


def test_a_format_is_what_quantize_makes(short):
    rounded = by_layer.round_model(short, "Q4_K")
    for name in filter(is_matrix, short):
        assert rounded[name].tobytes() == qviz.quantize(short[name].dequantize(), "Q4_K").tobytes()
    assert rounded.bpw == 4.5
    assert rounded["output_norm.weight"] is not None


def test_gptq_in_a_format_is_better_where_it_counts(short, ids):
    base = logits(short, ids)
    off = {
        method: np.square(logits(by_layer.round_model(short, method, n_tokens=4096), ids) - base).mean()
        for method in ("Q2_K", "gptq Q2_K")
    }
    assert off["gptq Q2_K"] < 0.8 * off["Q2_K"]


# -- AWQ's scales


class Changed(dict):
    """A model in memory."""

    def __init__(self, model, tensors):
        super().__init__({name: model[name] for name in model} | tensors)
        self.metadata = model.metadata


@pytest.fixture(scope="module")
def spiky(short):
    """The same function with a few channels 30 times as large, and the weights behind them as much smaller."""
    w = {name: short[name].dequantize().copy() for name in short if name.startswith("blk.")}
    for i, (before, after) in itertools.product(
        range(2),
        (
            ("attn_norm", ("attn_q", "attn_k", "attn_v")),
            ("attn_v", ("attn_output",)),
            ("ffn_norm", ("ffn_gate", "ffn_up")),
            ("ffn_up", ("ffn_down",)),
        ),
    ):
        w[f"blk.{i}.{before}.weight"][7:256:50] *= 30
        for kind in after:
            w[f"blk.{i}.{kind}.weight"][:, 7:256:50] /= 30
    return Changed(short, {name: qviz.quantize(x, "F32") for name, x in w.items()})


def test_awq_protects_salient_channels_and_folds_its_scales_away(short, spiky, ids):
    base = logits(short, ids)
    assert np.abs(logits(spiky, ids) - base).max() < 0.01 * base.std()
    rounded = {method: by_layer.round_model(spiky, method, 4, 64, n_tokens=512) for method in ("rtn", "awq")}
    for i, norm in itertools.product(range(2), ("attn_norm", "ffn_norm")):
        name = f"blk.{i}.{norm}.weight"
        assert np.array_equal(rounded["rtn"][name].dequantize(), spiky[name].dequantize())
        ratio = spiky[name].dequantize() / rounded["awq"][name].dequantize()
        assert ratio[7:256:50].min() > 2 * np.median(ratio)
    off = {method: np.square(logits(model, ids) - base).mean() for method, model in rounded.items()}
    assert off["awq"] < 0.6 * off["rtn"]
    assert not rounded["awq"].notes


@pytest.mark.parametrize(
    ("method", "bits", "group", "options"),
    [
        ("rtn", 4, 128, {}),
        ("rtn", 3, -1, {"sym": True}),
        ("awq", 8, 64, {}),
        ("gptq", 2, 64, {"act_order": True}),
        ("Q4_0", 4, 32, {}),
    ],
)
def test_codes_run_as_they_are_stored(short, ids, method, bits, group, options):
    rounded = by_layer.round_model(short, method, bits, group, n_tokens=512, **options)
    stored = rounded.as_stored()
    for name in stored:
        assert np.array_equal(stored[name].dequantize(), rounded[name].dequantize()), name
    matrices = [name for name in stored if name.startswith("blk") and "norm" not in name]
    nbytes, weights = sum(stored[name].nbytes for name in matrices), sum(stored[name].n_weights for name in matrices)
    # a zero point takes a byte here, whatever its bits
    assert 0 <= 8 * nbytes / weights - rounded.bpw + (0.15 if "act_order" in options else 0) < 0.3
    assert sum(rounded[name].nbytes for name in matrices) >= nbytes
    base, found = logits(rounded, ids), logits(stored, ids)
    assert np.abs(found - base).max() < 0.01


def test_rows_divided_keep_their_codes():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 32)).astype(np.float32)
    t = qviz.AffineGrid(4, 16).quantize(w)
    g_idx = (np.arange(32) // 16).astype(np.int32)
    matrix = by_layer.RoundedMatrix(
        t.codes, by_layer.rounded.half_scales(t.scale), t.zero_point, g_idx, t.bpw, t.scale, 4
    )
    by = np.float32([1, 2, 3, 0.1])
    divided = matrix.with_rows_divided(by)
    again = qviz.AffineGrid(4, 16).quantize(w / by[:, None])
    assert np.array_equal(divided.codes, again.codes)
    expected = again.dequantize()  # its scales are not rounded to float16
    bounds.assert_within(divided.dequantize(), expected, 2**-11 * np.abs(expected) + bounds.size_bound(expected, 6))


def test_heads_that_share_values_leave_attention_output_unscaled(grouped):
    rounded = by_layer.round_model(grouped, "awq", 4, 64, n_tokens=512)
    assert [note.split(":")[0] for note in rounded.notes] == [f"blk.{i}.attn_output.weight" for i in range(2)]
    for i in range(2):
        name = f"blk.{i}.attn_output.weight"
        plain = qviz.AffineGrid(4, 64).quantize(grouped[name].dequantize())
        steps = plain.codes.astype(np.int32) - np.repeat(plain.zero_point, 64, 1)
        half = plain.scale.astype(np.float16).astype(np.float32)
        assert np.array_equal(rounded[name].dequantize(), steps * np.repeat(half, 64, 1))


def test_scales_beyond_float16_are_refused_and_tiny_ones_raised():
    assert by_layer.rounded.half_scales(np.float32([[1e-30]]))[0, 0] == 2**-24
    with pytest.raises(MethodError, match="float16"):
        by_layer.rounded.half_scales(np.float32([[1e6]]))


# -- what is stored


def unpacked(tensors, name, awq, v1):
    """The weight of a module as its users' kernels read it, word by word; 4 bits."""
    qweight, qzeros = tensors[f"{name}.qweight"].view(np.uint32), tensors[f"{name}.qzeros"].view(np.uint32)
    scales = tensors[f"{name}.scales"].astype(np.float32)

    def nibble(words: np.ndarray) -> np.ndarray:
        return np.stack([words >> np.uint32(4 * k) & np.uint32(15) for k in range(8)], -1).astype(np.int32)

    if awq:
        order = [0, 4, 1, 5, 2, 6, 3, 7]  # of AutoAWQ's reader
        codes = nibble(qweight)[..., order].reshape(len(qweight), -1)
        zeros = nibble(qzeros)[..., order].reshape(len(qzeros), -1)
        g_idx = np.arange(len(qweight)) // (len(qweight) // len(scales))
    else:
        codes = nibble(qweight).transpose(0, 2, 1).reshape(-1, qweight.shape[1])
        zeros = nibble(qzeros).reshape(len(qzeros), -1) + v1
        g_idx = tensors[f"{name}.g_idx"]
    return ((codes - zeros[g_idx]) * scales[g_idx]).T


PACKED = [
    ("awq", {"clip": True}, {}, "awq"),
    ("awq", {}, {"checkpoint": "gptq_v2"}, "gptq_v2"),
    ("gptq", {"act_order": True}, {}, "gptq_v2"),
    ("rtn", {}, {"sym": True}, "gptq"),
    ("recommended", {}, {"sym": True, "checkpoint": "gptq"}, "gptq"),
]


@pytest.mark.parametrize(("method", "options", "how", "kind"), PACKED)
def test_what_others_read_is_what_was_measured(short, ids, tmp_path, method, options, how, kind):
    sym = how.get("sym", False)
    rounded = by_layer.round_model(short, method, 4, 64, sym=sym, n_tokens=512, **options)
    written = by_layer.pack_model(short, tmp_path / "out", method, 4, 64, n_tokens=512, **how, **options)
    assert written.path == tmp_path / "out"
    assert written.bpw == rounded.bpw
    config = json.loads((written.path / "config.json").read_text("utf-8"))
    said = config["quantization_config"]
    assert said == json.loads((written.path / "quantize_config.json").read_text("utf-8"))
    assert said["quant_method"] == ("awq" if kind == "awq" else "gptq")
    assert said.get("checkpoint_format", "awq") == kind
    assert said.get("desc_act", False) == (method == "recommended" or "act_order" in options)
    assert (said["bits"], said["group_size"], said.get("sym", False)) == (4, 64, sym)
    # their reader, their names, their forward pass
    tensors = load_file(written.path / "model.safetensors")
    assert sum(x.nbytes for x in tensors.values()) == written.nbytes
    weights = {name: x for name, x in tensors.items() if name.endswith(".weight")}
    for name in (n.removesuffix(".qweight") for n in tensors if n.endswith(".qweight")):
        weights[f"{name}.weight"] = unpacked(tensors, name, kind == "awq", int(kind == "gptq"))
    theirs = hf_folders.forward(config, weights, ids)
    ours = logits(rounded, ids)
    assert np.abs(theirs - ours).max() < 0.01 * ours.std()
    # back again
    layers = checkpoints.read_packed(written.path)
    assert np.array_equal(
        layers["model.layers.1.mlp.down_proj"].dequantize(), rounded["blk.1.ffn_down.weight"].dequantize()
    )
    q = layers["model.layers.1.self_attn.q_proj"].dequantize()[checkpoints.interleaved(256, 4)]
    assert np.array_equal(q, rounded["blk.1.attn_q.weight"].dequantize())
    path = checkpoints.convert(written.path, tmp_path / "back.gguf")
    back = qviz.load(path)
    assert sorted(back) == sorted(short)
    assert all(np.array_equal(back[name].dequantize(), rounded[name].dequantize()) for name in back)
    assert Transformer(back).tokenizer.encode(heldout_text()[:3000]) == Transformer(short).tokenizer.encode(
        heldout_text()[:3000]
    )


@pytest.mark.parametrize(
    ("method", "bits", "size", "sym"), [("rtn", 4, 64, True), ("gptq", 4, 64, False), ("rtn", 8, -1, True)]
)
def test_a_folder_of_compressed_tensors(short, tmp_path, method, bits, size, sym):
    rounded = by_layer.round_model(short, method, bits, size, sym=sym, n_tokens=512)
    how = {"sym": sym, "checkpoint": "compressed-tensors", "n_tokens": 512}
    written = by_layer.pack_model(short, tmp_path / "out", method, bits, size, **how)
    said = json.loads((written.path / "config.json").read_text("utf-8"))["quantization_config"]
    assert (said["quant_method"], said["format"]) == ("compressed-tensors", "pack-quantized")
    tensors = load_file(written.path / "model.safetensors")
    assert sum(x.nbytes for x in tensors.values()) == written.nbytes
    assert tensors["model.layers.0.mlp.down_proj.weight_shape"].tolist() == [256, 768]
    back = qviz.load(checkpoints.convert(written.path, tmp_path / "back.gguf"))
    assert all(np.array_equal(back[name].dequantize(), rounded[name].dequantize()) for name in back)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_other_widths(short, tmp_path, bits):
    rounded = by_layer.round_model(short, "rtn", bits, 64)
    by_layer.pack_model(short, tmp_path / "out", "rtn", bits, 64)
    back = qviz.load(checkpoints.convert(tmp_path / "out", tmp_path / "back.gguf"))
    assert all(np.array_equal(back[name].dequantize(), rounded[name].dequantize()) for name in back)


@pytest.mark.parametrize("name", ["tiny", *hf_folders.WORDS])
def test_tokenizers_go_along(tmp_path, name):
    if name == "tiny":
        metadata = qviz.load(name).metadata
    else:
        hf_folders.byte_level(name).save(str(tmp_path / "tokenizer.json"))
        metadata = checkpoints.tokenizer.tokenizer_metadata(tmp_path, 420)
    for file, value in checkpoints.tokenizer_files(metadata).items():
        (tmp_path / file).write_text(json.dumps(value), "utf-8")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ours = qviz.transformer.Tokenizer(metadata)
    for text in (heldout_text()[:5000], "naïve café 北京 I'VE 12345\n\n  two", "a"):
        assert theirs.encode(text).ids == ours.encode(text)
        assert theirs.decode(ours.encode(text)).strip() == ours.decode(ours.encode(text)).strip()
    again = checkpoints.tokenizer.tokenizer_metadata(tmp_path, len(ours))
    for key in ("tokens", "token_type", "merges", "pre", "model", "bos_token_id", "eos_token_id", "add_bos_token"):
        assert again.get(f"tokenizer.ggml.{key}") == metadata.get(
            f"tokenizer.ggml.{key}", again.get(f"tokenizer.ggml.{key}")
        )


def test_a_gguf_file_by_gptq(short, ids, tmp_path):
    plain = qviz.quantize_model(short.path, tmp_path / "plain.gguf", "Q3_K_M")
    ours = by_layer.gptq_model(short, tmp_path / "gptq.gguf", "Q3_K_M", n_tokens=4096)
    a, b = qviz.load(plain.path), qviz.load(ours.path)
    assert {n: (t.format.name, t.shape) for n, t in a.items()} == {n: (t.format.name, t.shape) for n, t in b.items()}
    assert ours.nbytes == plain.nbytes
    assert b.metadata["general.file_type"] == a.metadata["general.file_type"]
    base = logits(short, ids)
    assert np.square(logits(b, ids) - base).mean() < 0.8 * np.square(logits(a, ids) - base).mean()
    assert a["token_embd.weight"].tobytes() == b["token_embd.weight"].tobytes()
    t = b["blk.1.ffn_up.weight"]
    theirs = ggml.dequantize(t.tobytes(), t.format.name, t.n_weights).reshape(t.shape)
    assert np.array_equal(theirs, t.dequantize())


def test_formats_without_free_codes_are_rounded_by_importance(short, tmp_path):
    written = by_layer.gptq_model(short, tmp_path / "t.gguf", "TQ1_0", n_tokens=512)
    assert len(written.notes) == 2 * 4  # in each layer one for queries, keys and values; output; gate and up; down
    assert all("by importance" in note for note in written.notes)
    assert qviz.load(written.path)["blk.0.ffn_up.weight"].format == "TQ1_0"


@pytest.mark.skipif(
    not llamacpp.INSTALLED, reason="llama-cpp-python is not installed; the float64 reference is checked"
)
@pytest.mark.parametrize("how", ["gptq", "awq"])
def test_llama_cpp_runs_it(short, ids, tmp_path, how):
    import llama_cpp

    if how == "gptq":
        path = by_layer.gptq_model(short, tmp_path / "m.gguf", "Q4_K_M", n_tokens=512).path
    else:
        path = checkpoints.convert(
            by_layer.pack_model(short, tmp_path / "f", "awq", 4, 64, n_tokens=512).path, tmp_path / "m.gguf"
        )
    theirs = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1)
    theirs.eval(ids)
    want = np.array(theirs.scores[: len(ids)])
    assert np.sqrt(np.square(Transformer(qviz.load(path)).logits(ids) - want).mean()) < 0.05 * want.std()


# -- care


def test_nothing_is_left_of_a_job_that_was_stopped(short, tmp_path):
    def stop(what, done, total):
        if done == 5:
            raise KeyboardInterrupt

    for write in (
        lambda: by_layer.pack_model(short, tmp_path / "f", "rtn", 4, 64, progress=stop),
        lambda: by_layer.gptq_model(short, tmp_path / "m.gguf", "Q4_0", n_tokens=256, progress=stop),
    ):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(short, tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "mine").write_text("keep")
    with pytest.raises(CheckpointError, match="not empty"):
        by_layer.pack_model(short, tmp_path / "f", "rtn", 4, 64)
    (tmp_path / "f" / "mine").unlink()
    assert by_layer.pack_model(short, tmp_path / "f", "rtn", 4, 64).path.is_dir()
    with pytest.raises(CheckpointError, match="create it first"):
        by_layer.pack_model(short, tmp_path / "no" / "f", "rtn", 4, 64)


def test_memory_does_not_grow_with_the_layers(tmp_path):
    def peak(layers):
        model = qviz.load(shortened(tmp_path / f"{layers}.gguf", layers))
        tracemalloc.start()
        try:
            by_layer.pack_model(model, tmp_path / f"out{layers}", "rtn", 4, 64)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is loaded once
    assert peak(8) < 1.3 * peak(2)


def test_progress_counts_steps(short):
    told = []
    by_layer.round_model(short, "rtn", progress=lambda *p: told.append(p))
    assert [(done, total) for _, done, total in told] == [(i, 8) for i in range(9)]
    assert told[1][0] == "rtn 4 bit, layer 0: attn_output"


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        (
            {"method": "obq"},
            MethodError,
            "no method 'obq' for packed weights; there are rtn, gptq, awq, adaround",
        ),
        ({"bits": 5}, PipelineError, "hold 2, 3, 4 or 8 bits, not 5"),
        (
            {"method": "awq", "bits": 3, "checkpoint": "awq"},
            PipelineError,
            "4 bits only, not 3; use --checkpoint gptq_v2",
        ),
        ({"method": "recommended", "checkpoint": "awq"}, PipelineError, "columns out of order"),
        ({"method": "recommended", "checkpoint": "compressed-tensors"}, PipelineError, "columns out of order"),
        ({"checkpoint": "marlin"}, PipelineError, "no packed layout 'marlin'"),
        ({"checkpoint": {"awq": 4}}, PipelineError, "no packed layout {'awq': 4}"),
        ({"method": np.zeros(2)}, MethodError, r"no method array\(\[0\., 0\.\]\) for packed weights"),
        ({"group_size": 96}, PipelineError, r"not whole groups of 96.*fits: 128, 64, 32, -1"),
        ({"group_size": 0}, MethodError, "group_size −1"),
        ({"act_order": True}, MethodError, "rtn has no option 'act_order'"),
        ({"method": "awq", "n_tokens": 0}, LlamaError, "n_tokens is 0; a whole number of at least 1"),
        (
            {"method": "awq", "calibration": "word " * 600, "n_tokens": 4096},
            LlamaError,
            "give a longer text, or ask for fewer",
        ),
    ],
)
def test_what_cannot_be_done_is_said_at_once(short, tmp_path, how, error, text):
    with pytest.raises(error, match=text):
        by_layer.pack_model(short, tmp_path / "f", **{"method": "rtn", "group_size": 64, **how})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", [None, {}, "tiny", np.zeros((2, 2))])
def test_what_is_no_model_is_refused(model):
    for job in (by_layer.round_model, by_layer.plan_packing, by_layer.RoundedModel):
        with pytest.raises(LlamaError, match=r"a model is a mapping of tensors with \.metadata"):
            job(model)
    with pytest.raises(LlamaError, match=r"a qviz\.Transformer is wanted"):
        by_layer.calibration_windows(model, None, 64)


def test_numbers_of_numpy_are_numbers_to_a_plan(short):
    plan = by_layer.plan_packing(short, "rtn", np.int8(4), np.int8(64))
    assert plan == by_layer.plan_packing(short, "rtn", 4, 64)


def test_damage_is_refused_by_name(short):
    w = short["blk.1.attn_v.weight"].dequantize().copy()
    w[3, 4] = np.nan
    bad = Changed(short, {"blk.1.attn_v.weight": qviz.QTensor.from_bytes("F32", w.tobytes(), w.shape)})
    with pytest.raises(QvizError, match=r"blk\.1\.attn_v\.weight: weight \[.*\] is nan"):
        by_layer.round_model(bad, "Q4_0")
    with pytest.raises(MethodError, match=r"blk\.1\.attn_v\.weight: weight \[.*\] is nan"):
        by_layer.round_model(bad, "rtn")
    gain = short["blk.1.attn_norm.weight"].dequantize().copy()
    gain[0] = np.inf
    bad = Changed(short, {"blk.1.attn_norm.weight": qviz.QTensor.from_bytes("F32", gain.tobytes(), gain.shape)})
    with pytest.raises(CalibrationError, match=r"inputs of blk\.1\.attn_q\.weight: .* must be finite"):
        by_layer.round_model(bad, "gptq", n_tokens=256)


def test_models_that_are_no_plain_llama(short, tmp_path):
    extra = {name: short[name] for name in short} | {"blk.0.attn_q.bias": np.zeros(256, np.float32)}
    path = gguf.write(tmp_path / "bias.gguf", short.metadata, extra)
    with pytest.raises(CheckpointError, match=r"blk\.0\.attn_k\.bias' is missing.*biases of all matrices only"):
        by_layer.pack_model(path, tmp_path / "f", "rtn", 4, 64)
    without = short.metadata.without("tokenizer.ggml.tokens")
    path = gguf.write(tmp_path / "words.gguf", without, {name: short[name] for name in short})
    with pytest.raises(LlamaError, match=r"tokenizer\.ggml\.tokens"):
        by_layer.round_model(qviz.load(path), "gptq", n_tokens=256)
    with pytest.raises(QvizError, match="no tokenizer"):
        by_layer.pack_model(path, tmp_path / "f", "rtn", 4, 64)
    quantized = qviz.quantize_model(short.path, tmp_path / "q.gguf", "Q8_0").path
    with pytest.raises(PipelineError, match=r"quantized already.*allow_requantize"):
        by_layer.pack_model(quantized, tmp_path / "f", "rtn", 4, 64)
    with pytest.raises(PipelineError, match="quantized already"):
        by_layer.gptq_model(quantized, tmp_path / "g.gguf", "Q4_0")
    with pytest.raises(PipelineError, match="would replace its own source"):
        by_layer.gptq_model(short, short.path, "Q4_0")


# -- biases


@pytest.mark.parametrize("method", ["rtn", "awq", "gptq", "Q8_0"])
def test_biases_stay_with_their_matrices(short, biased, ids, method):
    """AWQ divides rows of attn_v and ffn_up, so their biases, too. Eight bits change less than a lost bias would."""
    rounded = by_layer.round_model(biased, method, 8, 64, n_tokens=256)
    exact = logits(biased, ids)
    without = np.abs(logits(short, ids) - exact).max()
    assert np.abs(logits(rounded, ids) - exact).max() < 0.05 * without
    if method != "Q8_0":
        assert np.abs(logits(rounded.as_stored(), ids) - exact).max() < 0.05 * without


def test_packed_biases_come_back(biased, ids, tmp_path):
    written = by_layer.pack_model(biased, tmp_path / "out", "awq", 4, 64, n_tokens=256)
    config = json.loads((written.path / "config.json").read_text())
    assert config["attention_bias"]
    assert config["mlp_bias"]
    back = qviz.load(checkpoints.convert(written.path, tmp_path / "back.gguf"))
    rounded = by_layer.round_model(biased, "awq", 4, 64, n_tokens=256)
    for name in rounded:
        assert np.array_equal(back[name].dequantize(), rounded[name].dequantize()), name
    by_recipe = by_layer.gptq_model(biased, tmp_path / "q.gguf", "Q4_0", n_tokens=256)
    file = qviz.load(by_recipe.path)
    assert all(np.array_equal(file[name].dequantize(), biased[name].dequantize()) for name in biased if "bias" in name)


def test_positions_that_config_json_is_not_told(short, tmp_path):
    gguf.write(tmp_path / "x.gguf", short.metadata | {"llama.rope.scaling.attn_factor": gguf.F32(1.5)}, short)
    with pytest.raises(CheckpointError, match="no word for a magnitude of rotary positions"):
        by_layer.pack_model(tmp_path / "x.gguf", tmp_path / "out", "rtn")


@pytest.mark.parametrize("change", ["other weights", "cut"])
@pytest.mark.parametrize("into", ["folder", "file"])
def test_a_source_that_changes_meanwhile(short, tmp_path, change, into):
    path = tmp_path / "source.gguf"
    path.write_bytes(short.path.read_bytes())
    done = []

    def progress(what, now, total):
        if now > total // 2 and not done:
            done.append(now)
            with path.open("r+b") as file:
                if change == "cut":
                    file.truncate(path.stat().st_size // 2)
                else:
                    file.seek(path.stat().st_size // 3)
                    file.write(bytes(1000))

    def run():
        if into == "folder":
            by_layer.pack_model(path, tmp_path / "out", "rtn", 4, 64, progress=progress)
        else:
            by_layer.gptq_model(path, tmp_path / "out", "Q4_0", n_tokens=256, progress=progress)

    with pytest.raises(QvizError, match=r"source\.gguf: the file (shrank|was changed by another program)"):
        run()
    assert done
    assert [entry.name for entry in tmp_path.iterdir()] == ["source.gguf"]


def test_a_layer_is_read_into_memory_of_its_own(short):
    """Pages of a map would stay until the whole model is there."""
    mapped = Transformer(short, activations="float").layers[1]
    own = by_layer.source.Source(short).layer(mapped)
    for kind in ("attn_q", "ffn_down"):
        assert not np.shares_memory(own[kind].weight.blocks, mapped[kind].weight.blocks)
        assert np.array_equal(own[kind].weight.dequantize(), mapped[kind].weight.dequantize())
