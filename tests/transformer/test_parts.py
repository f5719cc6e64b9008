"""The door of the runner: every tensor and setting is measured by the architecture's table, and none is left over."""

import numpy as np
import pytest
from made_models import Made, made, reference_logits

import qviz
from qviz import gguf
from qviz.architectures import ARCHITECTURES, size
from qviz.errors import LlamaError
from qviz.transformer import Transformer, evaluate
from qviz.whole import by_layer

IDS = [1, 5, 7, 7, 30, 2, 274, 11]
BIASES = tuple(
    f"blk.{{}}.{part}.bias" for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
)
MODEL = made(optional=("output.weight",))
LLAMA = ARCHITECTURES["llama"]


def f32(*shape):
    return qviz.quantize(np.ones(shape, np.float32), "F32")


def test_a_shape_is_a_product_of_settings():
    values = {"n_head": 4, "head_size": 16, "rope_size": 10}
    assert size("n_head * head_size", values) == 64
    assert size("rope_size / 2", values) == 5
    assert size("3", values) == 3


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_tables_hold_together(name):
    """Every length of a table can be computed from its settings, and every name of it is one of a kind."""
    architecture = ARCHITECTURES[name]
    for experts in (False, True):
        names = [tensor for tensor, _ in architecture.names(3, experts)]
        assert len(names) == len(set(names))
    keys = [s.key for s in architecture.settings] + [i.key for i in architecture.inactive] + list(architecture.unread)
    assert len(keys) == len(set(keys))
    model = made(name, optional="all")
    layers, experts = (model.metadata.get(f"{name}.{key}", 0) for key in ("block_count", "expert_count"))
    assert set(model) == {tensor for tensor, _ in architecture.names(layers, experts > 0)}
    assert Transformer(model).logits([1, 2]).shape == (2, 300)


# 11 bits of keys, values and activations that pass through float16, over two layers, relative to the largest logit
HALF = 0.01


@pytest.mark.parametrize(
    ("optional", "metadata"),
    [
        ((), {}),
        (("output.weight",), {}),
        (BIASES[:3], {}),
        (BIASES[:4], {}),
        (BIASES, {}),
        (("rope_freqs.weight",), {}),
        ("all", {}),
        ((), {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}),
        ((), {"llama.rope.scaling.factor": 4.0}),
        ((), {"llama.rope.scale_linear": 4.0}),
        ((), {"llama.rope.scaling.factor": 2.0, "llama.rope.scale_linear": 4.0}),
        ((), {"llama.rope.scaling.factor": 0.0, "llama.rope.scale_linear": 4.0}),
        ((), {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0}),
        ((), {"llama.rope.scaling.attn_factor": 1.25}),
        ((), {"llama.attention.scale": 0.0}),
        ((), {"llama.rope.dimension_count": 8}),
        ("all", {"llama.rope.freq_base": 500.0, "llama.rope.scaling.factor": 8.0}),
    ],
)
def test_what_a_file_says_is_done(optional, metadata):
    """All at once, token by token in one compiled call, in windows, layer by layer: the same model each time."""
    sizes = {"rope_size": metadata["llama.rope.dimension_count"]} if "llama.rope.dimension_count" in metadata else {}
    model = made(optional=optional, metadata=metadata, **sizes)
    want = reference_logits(model, IDS)
    most = HALF * np.abs(want).max()
    llama = Transformer(model, activations="float")
    assert np.abs(llama.logits(IDS) - want).max() < most
    cache = llama.new_cache(8)
    one_by_one = [llama.logits([token], cache) for token in IDS]
    assert np.abs(np.concatenate(one_by_one) - want).max() < most
    assert np.abs(llama.window_logits(np.array([IDS, IDS[::-1]]), 2, 6)[0] - want[2:6]).max() < most
    stream = llama.embed([IDS])
    for i in range(llama.config.n_layers):
        stream = llama.layer(i, stream)
    exact = llama.output(stream[0] / np.sqrt((stream[0] ** 2).mean(-1, keepdims=True) + 1e-5) * llama.output_norm)
    assert np.abs(exact - want).max() < most
    seen = []
    watched = Transformer(model, activations="float", on_linear_input=lambda name, x: seen.append((name, x.shape)))
    assert np.abs(watched.logits(IDS) - want).max() < most
    assert len(seen) == 2 * 7 + 1


@pytest.mark.parametrize("fmt", ["Q8_0", "Q4_0", "F16"])
def test_biases_beside_rounded_activations(fmt):
    """Few tokens and many take different ways to the same product; the bias is added once on each."""
    model = made(optional=BIASES, fmt=fmt)
    plain = Made({name: tensor for name, tensor in model.items() if not name.endswith("bias")})
    plain.metadata = model.metadata
    llama = Transformer(model)
    at_once, cache = llama.logits(IDS), llama.new_cache(8)
    one_by_one = np.concatenate([llama.logits([token], cache) for token in IDS])
    # an activation may fall on the other side of a rounding boundary: a step of 1/127 of its block, over two layers
    assert np.abs(at_once - one_by_one).max() < 0.05 * np.abs(at_once).max()
    assert np.abs(at_once - Transformer(plain).logits(IDS)).max() > 0.2 * np.abs(at_once).max()
    biased = llama.layers[0]["attn_q"]
    for n in (1, 3, 40):
        x = np.random.default_rng(n).standard_normal((n, 64)).astype(np.float32)
        without = Transformer(plain).layers[0]["attn_q"](x)
        assert np.array_equal(biased(x), without + model["blk.0.attn_q.bias"].dequantize())


def test_evaluation_and_inputs_know_the_biases():
    model, text = made(optional="all"), list(range(3, 259))
    p = evaluate.perplexity(model, text, n_ctx=16)
    want = []
    for k in range(0, 256, 16):
        window = [1, *text[k + 1 : k + 16]]
        logits = reference_logits(model, window)[8:15]
        log_p = (
            logits
            - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
            - logits.max(-1, keepdims=True)
        )
        want += [-log_p[j, window[9 + j]] for j in range(7)]
    # each log-probability is off by at most twice what a logit is off by
    assert abs(np.log(p.ppl) - np.mean(want)) < 2 * HALF * np.abs(logits).max()


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq"])
def test_rounding_a_model_keeps_its_biases(method):
    """AWQ divides rows of attn_v and ffn_up, so their biases too; to 8 bits nothing else changes."""
    model = made(optional=BIASES, n_head_kv=4)
    text = list(range(3, 299))
    rounded = by_layer.round_model(model, method, bits=8, group_size=32, calibration=text, n_tokens=256)
    want = reference_logits(model, IDS)
    found = Transformer(rounded, activations="float").logits(IDS)
    # steps of 1/127 of a group's largest weight, over two layers of seven matrices
    assert np.abs(found - want).max() < 0.05 * np.abs(want).max()
    without = Made({name: rounded[name] for name in rounded if not name.endswith("ffn_up.bias")})
    without.metadata = rounded.metadata
    assert np.abs(Transformer(without).logits(IDS) - want).max() > 0.2 * np.abs(want).max()


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        ("blk.0.attn_norm.weight", (1,)),
        ("blk.1.ffn_norm.weight", (63,)),
        ("output_norm.weight", (65,)),
        ("output_norm.weight", (1, 64)),
        ("blk.0.attn_norm.weight", (64, 1)),
        ("output.weight", (299, 64)),
        ("output.weight", (301, 64)),
        ("output.weight", (300, 128)),
        ("output.weight", (300 * 64,)),
        ("output.weight", (1, 300, 64)),
        ("token_embd.weight", (300, 63)),
        ("rope_freqs.weight", (7,)),
        ("rope_freqs.weight", (9,)),
        ("rope_freqs.weight", (16,)),
        ("rope_freqs.weight", (1 << 10,)),
        ("rope_freqs.weight", (1,)),
        ("blk.0.attn_q.weight", (64, 32)),
        ("blk.0.attn_k.weight", (64, 64)),
        ("blk.1.ffn_down.weight", (96, 64)),
        ("blk.1.attn_q.bias", (63,)),
        ("blk.1.attn_k.bias", (64,)),
        ("blk.1.ffn_up.bias", (1, 96)),
    ],
)
def test_a_tensor_of_another_shape(tensor, shape):
    model = MODEL.but(**{tensor: f32(*shape)})
    with pytest.raises(LlamaError, match=rf"{tensor} has shape \({shape[0]},.*the metadata ask for"):
        Transformer(model)


@pytest.mark.parametrize("rows", [299, 301, 1])
def test_a_vocabulary_of_another_size(rows):
    with pytest.raises(LlamaError, match=rf"{rows:,} by token_embd.weight"):
        Transformer(MODEL.but(**{"token_embd.weight": f32(rows, 64)}))
    with pytest.raises(LlamaError, match=rf"{rows:,} by vocab_size"):
        Transformer(MODEL.but({"llama.vocab_size": rows}))
    with pytest.raises(LlamaError, match=rf"{rows:,} by tokenizer.ggml.tokens"):
        Transformer(MODEL.but({"tokenizer.ggml.tokens": gguf.Array(["x"] * rows, "str")}))


@pytest.mark.parametrize("name", sorted({p.name for p in LLAMA.tensors if not p.optional and p.when != "experts"}))
def test_a_missing_tensor(name):
    with pytest.raises(LlamaError, match=r"no tensor .*not a whole model"):
        Transformer(MODEL.but(**{name.format(1): None}))


@pytest.mark.parametrize(
    "name",
    [
        "blk.0.attn_q_norm.weight",
        "blk.0.attn_norm.bias",
        "blk.1.attn_q.scale",
        "blk.2.attn_norm.weight",
        "blk.0.ffn_gate_exps.weight",
        "output.bias",
        "rope_factors_long.weight",
        "whatever",
    ],
)
def test_a_tensor_that_is_left_over(name):
    with pytest.raises(LlamaError, match=rf"does not use: '{name}'"):
        Transformer(MODEL.but(**{name: f32(64)}))


def test_what_cannot_be_decoded_or_is_no_tensor():
    foreign = next(f for f in qviz.formats.FORMATS.values() if not f.can_decode and 64 % f.block_size == 0)
    tensor = qviz.QTensor.from_bytes(foreign, bytes(foreign.row_size(64)), (64,))
    with pytest.raises(LlamaError, match=f"{foreign}, which cannot be decoded"):
        Transformer(MODEL.but(**{"output_norm.weight": tensor}))
    with pytest.raises(LlamaError, match="QTensor is wanted"):
        Transformer(MODEL.but(**{"output_norm.weight": np.ones(64, np.float32)}))
    for what in (None, {}, 3, "tiny", [1]):
        with pytest.raises(LlamaError, match=r"a model is a mapping of tensors with \.metadata"):
            Transformer(what)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("general.architecture", None, "there is no general.architecture"),
        ("general.architecture", 3, "a text is wanted"),
        ("general.architecture", "mamba", "'mamba'"),
        ("llama.block_count", 10**12, "from 1 to 512"),
        ("llama.block_count", 2.0, "is 2.0"),
        ("llama.block_count", 3, "no tensor blk.2.attn_norm.weight"),
        ("llama.block_count", 1, "with 1 layers does not use: 'blk.1"),
        ("llama.context_length", 0, "is 0"),
        ("llama.context_length", [64], r"is \[64\]"),
        ("llama.embedding_length", "64", "is '64'"),
        ("llama.embedding_length", 2**31, "2,147,483,647"),
        ("llama.attention.head_count", 3, "pairs must fit a head"),
        ("llama.attention.head_count", 128, "128 query heads"),
        ("llama.attention.head_count", [4, 2], "differs among the layers"),
        ("llama.attention.head_count", [4], "an array of 2 is wanted"),
        ("llama.attention.head_count", [4, 4.0], r"head_count\[1\] is 4.0"),
        ("llama.attention.head_count_kv", 0, "head_count_kv is 0"),
        ("llama.attention.head_count_kv", 3, "divide evenly"),
        ("llama.attention.key_length", 32, "keys have 32 values a head and values 32|has shape"),
        ("llama.attention.value_length", 32, "keys have 16 values a head and values 32"),
        ("llama.feed_forward_length", -96, "is -96"),
        ("llama.attention.layer_norm_rms_epsilon", float("nan"), "is nan"),
        ("llama.attention.layer_norm_rms_epsilon", 0.0, "above 0"),
        ("llama.attention.layer_norm_rms_epsilon", -1e-5, "above 0"),
        ("llama.attention.layer_norm_rms_epsilon", None, "there is no llama.attention.layer_norm_rms_epsilon"),
        ("llama.rope.freq_base", float("inf"), "is inf"),
        ("llama.rope.freq_base", gguf.F64(1e300), "1e\\+300"),
        ("llama.rope.dimension_count", 18, "18 of 16 values turned"),
        ("llama.rope.dimension_count", 7, "7 of 16 values turned"),
        ("llama.rope.scaling.type", "longrope", "'longrope'"),
        ("llama.rope.scaling.type", 4, "is 4"),
        ("llama.rope.scaling.factor", float("nan"), "is nan"),
        ("llama.rope.scale_linear", -2.0, "at least 0"),
        ("llama.attention.scale", 0.5, "another scale of scores"),
        ("llama.expert_count", 8, "0 experts of 8"),
        ("llama.expert_used_count", 2, "2 experts of 0"),
        ("llama.rope.scaling.yarn_beta_fast", 16.0, "another ramp of YaRN"),
        ("llama.attention.sliding_window", 16, "windows"),
        ("llama.attention.causal", False, "later"),
        ("llama.attention.causal", 1, "later"),
        ("llama.logit_scale", 2.0, "scaled logits"),
        ("llama.attention.sinks", 3, "'llama.attention.sinks'.*not known here"),
        ("tokenizer.ggml.tokens", 3, "an array is wanted"),
    ],
)
def test_a_setting_that_cannot_be(key, value, says):
    with pytest.raises(LlamaError, match=says):
        Transformer(MODEL.but({key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.attention.head_count", [4, 4]),
        ("llama.attention.head_count_kv", gguf.Array([2, 2], "u32")),
        ("llama.feed_forward_length", np.array([96, 96])),
        ("llama.embedding_length", np.int64(64)),
        ("llama.expert_count", 0),
        ("llama.attention.causal", True),
        ("llama.attention.sliding_window", 64),
        ("llama.attention.sliding_window", 4096),
        ("llama.rope.scaling.original_context_length", 32),
        ("llama.tensor_data_layout", "Meta AI original pth"),
        ("llama.attention.value_length", 16),
        ("llama.vocab_size", None),
        ("tokenizer.ggml.tokens", None),
        ("general.file_type", 7),
        ("somebody.else", "x"),
    ],
)
def test_a_setting_that_changes_nothing(key, value):
    assert np.array_equal(Transformer(MODEL.but({key: value})).logits(IDS), Transformer(MODEL).logits(IDS))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize(
    "tensor", ["blk.0.attn_norm.weight", "blk.1.ffn_up.weight", "output.weight", "token_embd.weight"]
)
def test_damaged_weights_run_and_are_not_scored(tensor, bad):
    """As in llama.cpp the numbers go through; a perplexity of them would mean nothing."""
    x = MODEL[tensor].dequantize().copy()
    x[5] = bad
    llama = Transformer(MODEL.but(**{tensor: qviz.quantize(x, "F32")}))
    assert llama.logits(IDS).shape == (8, 300)
    cache = llama.new_cache(8)
    assert all(llama.logits([token], cache).shape == (1, 300) for token in IDS)
    with pytest.raises(LlamaError, match="its weights are damaged"):
        evaluate.perplexity(llama, list(range(256)), n_ctx=16)
