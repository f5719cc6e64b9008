"""Calls that are wrong: each ends in one error of ours that says what was wanted, none leaves an array."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from made_models import made

import qviz
from qviz import (
    ActivationStats,
    AffineGrid,
    checkpoints,
    figures,
    formats,
    gguf,
    grids,
    measure,
    methods,
    metrics,
    models,
    recipes,
    transformer,
)
from qviz.calibration import Collector, imatrix
from qviz.course import missions, museum
from qviz.errors import QvizError
from qviz.transformer import KVCache, Sampler, Transformer, generate, generate_tokens, group_tensor, linear_inputs
from qviz.transformer.linear import Activations, Linear, multiply_one

RNG = np.random.default_rng(0)
W = RNG.standard_normal((8, 64)).astype(np.float32)
X = RNG.standard_normal((20, 64)).astype(np.float32)
GRID, STATS = AffineGrid(4, 32), ActivationStats.from_inputs(X)
NARROW = ActivationStats.from_inputs(X[:, :32])
T, A, MODEL = qviz.quantize(W, "Q4_0"), GRID.quantize(W), made()
RUN = Transformer(MODEL)
TEXT = list(range(3, 90))
NEAR, TRACED = methods.rtn(W, STATS, GRID), methods.gptq(W, STATS, GRID, trace=True)
STEPS, HILL = figures.gptq_run(W, TRACED, NEAR, GRID), figures.histogram(W, -1, 1)
NAN = float("nan")
HUGE = np.broadcast_to(np.float32(1), (1 << 30, 1 << 29))  # a claim, and more than any address
BLOCKS = qviz.QTensor("Q4_0", np.broadcast_to(T.blocks[0, 0], (1 << 30, 1 << 24)), HUGE.shape)
EMPTY = np.empty((0, 1 << 60), np.float32)  # of no numbers, but as float64 NumPy has no such array
ENDLESS = np.broadcast_to(np.int64(3), (1 << 42,))


def stream(*shape):
    return np.zeros(shape, np.float32)


def cache(**changes):
    made = RUN.new_cache(8)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def linear(x):
    return RUN.layers[0]["attn_q"](x)


def groups(codes=(8, 64), scales=(8, 2), zeros=(8, 2), g_idx=64, bits=4):
    ones = np.ones(scales, np.float32)
    return group_tensor(np.ones(codes, np.uint8), ones, np.ones(zeros, np.uint8), np.arange(g_idx) // 32, bits)


class Refusing:
    """As a tensor that wants its gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("detach it first")


def packed(codes=None, scale=None, g_idx=None):
    codes = np.ones((32, 64), np.int32) if codes is None else codes
    scale = np.ones((32, 2), np.float32) if scale is None else scale
    return checkpoints.pack(codes, scale, np.ones((32, 2), np.int32), g_idx=g_idx)


# what is called; what the error says
WRONG = [
    # a residual stream, a matrix, a cache of another shape: these once read or wrote foreign memory
    (
        lambda: RUN.layer(0, stream(1, 3, 32)),
        r"x has shape \(1, 3, 32\); an array of shape \(n_windows, n_tokens, 64\)",
    ),
    (lambda: RUN.layer(0, stream(1, 3, 65)), "n_tokens, 64"),
    (lambda: RUN.layer(0, stream(3, 64)), "n_tokens, 64"),
    (lambda: RUN.layer(0, stream(1, 0, 64)), "at least one of each"),
    (lambda: RUN.layer(0, None), "x must be real numbers"),
    (lambda: RUN.layer(0, stream(1, 3, 64), "third"), "half must be attention, feed-forward, got 'third'"),
    (lambda: RUN.layer(0, stream(1, 3, 64), 1), "half must be"),
    (lambda: RUN.layer(0, [[["a"]]]), "x must be real numbers"),
    (lambda: RUN.layer(2, stream(1, 3, 64)), "the layer is 2; a whole number from 0 to 1"),
    (lambda: RUN.layer(-1, stream(1, 3, 64)), "the layer is -1"),
    (lambda: RUN.layer(0.0, stream(1, 3, 64)), "the layer is 0.0"),
    (lambda: linear(stream(1, 32)), r"\(1, 32\); an array of shape \(n_tokens, 64\)"),
    (lambda: linear(stream(9, 128)), "n_tokens, 64"),
    (lambda: linear(stream(64)), r"activations has shape \(64,\)"),
    (lambda: linear(stream(0, 64)), "at least one of each"),
    (lambda: linear(Activations(stream(2, 32))), "n_tokens, 64"),
    (lambda: multiply_one(Activations(stream(1, 64)), [Linear(T)], [stream(4)]), r"\(8,\), not \(1, 64\) and \(4,\)"),
    (lambda: multiply_one(Activations(stream(1, 32)), [Linear(T)], [stream(8)]), r"not \(1, 32\)"),
    (lambda: Activations(stream(1, 100)).codes(32), "100 activations cannot be rounded 32 at a time"),
    (lambda: Activations(stream(2, 64)).codes(32), r"an array of shape \(1, n_in\)"),
    (lambda: Activations(stream(2, 64)).rounded(7), "7 at a time"),
    (lambda: Activations(stream(2, 64)).groups(256), "256 at a time"),
    (lambda: Linear(T, bias=np.ones(7, np.float32)), r"bias of weight has shape \(7,\); an array of shape \(8,\)"),
    (lambda: Linear(W), "QTensor is wanted"),
    (lambda: Linear(qviz.quantize(np.ones(32), "Q8_0")), "a matrix"),
    (lambda: RUN.logits([1], cache(length=-1)), "length is -1"),
    (lambda: RUN.logits([1], cache(length=8)), "do not fit its 8"),
    (lambda: RUN.logits([1], cache(length=9)), "length is 9; a whole number from 0 to 8"),
    (lambda: RUN.logits([1], cache(length=10**6, n_ctx=10**7)), "length is 1000000"),
    (lambda: RUN.logits([1], cache(length=2.0)), "length is 2.0"),
    (lambda: RUN.logits([1], "F16"), "a KVCache is wanted"),
    (lambda: RUN.logits([1], Transformer(made(n_head_kv=4)).new_cache(8)), "another model"),
    (lambda: cache().put(0, stream(2, 31), stream(2, 32)), "keys has shape"),
    (lambda: cache().put(0, stream(9, 32), stream(9, 32)), "do not fit a cache of 8"),
    (lambda: cache().put(2, stream(1, 32), stream(1, 32)), "the layer is 2"),
    (lambda: cache().get(0, 9), "length is 9"),
    (lambda: RUN.new_cache(0), "n_ctx is 0; a whole number of at least 1"),
    (lambda: RUN.new_cache(-1), "n_ctx is -1"),
    (lambda: RUN.new_cache(8.0), "n_ctx is 8.0"),
    (lambda: RUN.new_cache(10**15), "more than there is"),
    (lambda: RUN.new_cache(8, 3), "a KV cache of 3"),
    (lambda: RUN.new_cache(8, ("F16", "Q5_0")), "a KV cache of 'Q5_0'"),
    (lambda: RUN.new_cache(8, ("F16",)), "two formats, of keys and of values"),
    (lambda: Transformer(RUN.model, cache="Q2_K"), "a KV cache of 'Q2_K'"),
    (lambda: Transformer(RUN.model, cache_rotation=np.ones((2, 3))), "rotation"),
    (lambda: Transformer(RUN.model, cache_rotation=2 * np.eye(RUN.config.head_size)), "not orthogonal"),
    (lambda: KVCache(None, 8), "a model's .config"),
    (lambda: RUN.logits([[1, 2]]), r"tokens has shape \(1, 2\); an array of shape \(n_tokens,\)"),
    (lambda: RUN.logits([1.5]), "tokens must be whole numbers"),
    (lambda: RUN.logits([[1], [1, 2]]), "array of whole numbers"),
    (lambda: RUN.logits(["a"]), "tokens must be whole numbers"),
    (lambda: RUN.logits([300]), "holds 300; whole numbers from 0 to 299"),
    (lambda: RUN.logits([2**70]), "tokens must be whole numbers"),
    (lambda: RUN.logits([True]), "tokens must be whole numbers"),
    (lambda: RUN.embed([1.0, 2.0]), "tokens must be whole numbers"),
    (lambda: RUN.embed([1, 2]), "n_windows, n_tokens"),
    (lambda: RUN.window_logits([[1, 2, 3]], 2, 2), "last is 2; a whole number from 3 to 3"),
    (lambda: RUN.window_logits([[1, 2, 3]], -1), "first is -1"),
    (lambda: RUN.window_logits([[1, 2, 3]], 0, 4), "last is 4; a whole number from 1 to 3"),
    (lambda: RUN.window_logits([[1, 2, 3]], 0, 1.0), "last is 1.0"),
    (lambda: RUN.window_logits([1, 2, 3]), "n_windows, n_tokens"),
    (lambda: Transformer(MODEL, on_linear_input=3), "a callable"),
    (lambda: Transformer(MODEL, activations=["int8"]), "activations must be int8, float"),
    # generation and evaluation
    (lambda: Sampler(temperature=NAN), "temperature is nan"),
    (lambda: Sampler(temperature="1"), "temperature is '1'"),
    (lambda: Sampler(top_k=2.0), "top_k is 2.0"),
    (lambda: Sampler(top_k=-1), "top_k is -1"),
    (lambda: Sampler(top_p=0), "top_p is 0; a finite number above 0 and at most 1"),
    (lambda: Sampler(seed=-1), "seed is -1"),
    (lambda: Sampler().start()(np.full(3, NAN, np.float32)), "its weights are damaged"),
    (lambda: list(generate_tokens(RUN, [1], -1)), "max_tokens is -1"),
    (lambda: list(generate_tokens(RUN, [1], 2.0)), "max_tokens is 2.0"),
    (lambda: list(generate_tokens(RUN, [1], sampler=3)), "a Sampler is wanted"),
    (lambda: list(generate_tokens(RUN, 3)), "the prompt has shape"),
    (lambda: list(generate_tokens(MODEL, [1])), "make it a qviz.Transformer"),
    (lambda: list(generate(RUN, [1])), "a text is wanted"),
    (lambda: transformer.perplexity(RUN, TEXT, n_ctx=0), "n_ctx is 0; a whole number from 4 to 64"),
    (lambda: transformer.perplexity(RUN, TEXT, n_ctx=8.0), "is 8.0"),
    (lambda: transformer.perplexity(RUN, TEXT, n_ctx=65), "is 65"),
    (lambda: transformer.perplexity(RUN, "", n_ctx=8), "tokens; one window takes 8|the text is empty"),
    (lambda: transformer.perplexity(RUN, [], n_ctx=8), "the text is empty"),
    (lambda: transformer.perplexity(RUN, [1.5] * 90, n_ctx=8), "tokens must be whole numbers"),
    (lambda: transformer.perplexity(RUN, [300] * 90, n_ctx=8), "tokens holds 300"),
    (lambda: transformer.perplexity(RUN, TEXT, n_ctx=8, max_tokens=0), "max_tokens is 0"),
    (lambda: transformer.perplexity(RUN, TEXT, n_ctx=8, progress=3), "progress is 3"),
    (lambda: transformer.perplexity("tiny", TEXT), "a model is a mapping"),
    (lambda: transformer.compare([RUN], TEXT), "a mapping of names to models"),
    (lambda: linear_inputs(MODEL, None, TEXT), "the name of a matrix"),
    # rounded groups
    (lambda: groups(scales=(7, 2)), r"scales has shape \(7, 2\); an array of shape \(8, n_groups\)"),
    (lambda: groups(zeros=(8, 3)), "zero points has shape"),
    (lambda: groups(g_idx=63), r"g_idx has shape \(63,\)"),
    (lambda: groups(scales=(8, 1), zeros=(8, 1)), "g_idx holds 1"),
    (lambda: groups(bits=2.0), "bits is 2.0"),
    # formats
    (lambda: formats.get(None), "a name or a ggml type id"),
    (lambda: qviz.quantize(W, ["Q4_0"]), "a name or a ggml type id"),
    (lambda: qviz.quantize(W, "Q4_0", W), "one value a column"),
    (lambda: qviz.QTensor("Q4_0", None, (8, 64)), "blocks must be an array"),
    (lambda: qviz.QTensor("Q4_0", T.blocks, (8.0, 64)), "whole numbers of at least 0"),
    (lambda: qviz.QTensor("Q4_0", T.blocks, (8, 96)), "need blocks of shape"),
    (lambda: qviz.QTensor.from_bytes("Q4_0", None, (8, 64)), "raw must be bytes"),
    (lambda: qviz.QTensor.from_bytes("Q4_0", b"x", (8, 64)), "take 288 bytes, got 1"),
    (lambda: qviz.QTensor.from_bytes("Q4_0", T.tobytes(), "x"), "shape is 'x'"),
    # no weights, in rows or in a number of axes that no array has
    (lambda: qviz.QTensor.from_bytes("F32", b"", (0, 1 << 61)), "more weights than memory can address"),
    (lambda: qviz.QTensor("F32", EMPTY, EMPTY.shape), "more weights than memory can address"),
    (lambda: qviz.QTensor.from_bytes("F32", b"four", (1,) * 65), "shape has 65 axes"),
    (lambda: qviz.quantize(EMPTY, "Q4_0"), "numbers are taken at once"),
    (lambda: T.rows(0, 2.5), "stop is 2.5"),
    (lambda: T.rows("a"), "start is 'a'"),
    (lambda: T.dequantize([0.0]), "out must be a float32 array"),
    (lambda: T.format.row_size(64.0), "a row's size is 64.0"),
    # grids
    (lambda: GRID.params_shape(None), "shape is None"),
    (lambda: GRID.bpw((0, 64)), "at least 1"),
    (lambda: GRID.levels(np.ones(2), np.ones(3)), "the same shape"),
    (lambda: GRID.levels("x", 0), "scale must be real numbers"),
    (lambda: grids.AffineTensor(GRID, A.codes, A.scale[:4], A.zero_point), r"scale has shape \(4, 2\)"),
    (lambda: grids.AffineTensor(GRID, A.codes[:, :31], A.scale, A.zero_point), "zero_point has shape"),
    (lambda: grids.AffineTensor(GRID, A.codes + 0.5, A.scale, A.zero_point), "codes must be an array of whole"),
    (lambda: grids.AffineTensor(None, A.codes, A.scale, A.zero_point), "grid must be an AffineGrid"),
    (lambda: GRID.quantize(W, (A.scale[:4], A.zero_point)), "shape"),
    (lambda: grids.Codebook([0, 1], group_size=0.5), "group_size, −1 for a row, is 0.5"),
    (lambda: grids.kmeans(W, 2).dequantize([[9, 0]], [[1.0]]), "codes holds 9"),
    (lambda: grids.kmeans(W, 2).dequantize([[1, 0]], [1.0]), "scales has shape"),
    (lambda: grids.kmeans(W, 2, iterations=None), "iterations is None"),
    # metrics
    (lambda: metrics.rmse(W, W[:4]), "same shape"),
    (lambda: metrics.output_error(X[:, :32], W, W), "32"),
    (lambda: metrics.bits_per_weight(None, 3), "nbytes is None"),
    # calibration and methods
    (lambda: ActivationStats(10**12), "n_in is 1000000000000"),
    (lambda: ActivationStats.from_inputs(X).update(X[:, :32]), "32"),
    (lambda: STATS.merge(NARROW), "32"),
    (lambda: grids.choose_range(X, GRID, ["mse"]), "method must be"),
    *((lambda m=m: m(W, NARROW, GRID), "32") for m in (methods.gptq, methods.awq, methods.recommended)),
    (lambda: methods.rtn(W, NARROW, GRID, weighted=True), "32"),
    (lambda: methods.rtn(W, STATS, GRID, weighted="yes"), "weighted is 'yes'"),
    (lambda: methods.gptq(W, STATS, GRID, act_order=np.zeros(3)), "act_order is"),
    (lambda: methods.gptq_format(W, STATS, None), "a name or a ggml type id"),
    (lambda: methods.awq(W, STATS, GRID, n_grid=10**12), "n_grid is 1000000000000"),
    (lambda: methods.channel_scale([], 0.5), "act_scale has shape"),
    (lambda: methods.channel_scale(abs(X[0]), "x"), "alpha is 'x'"),
    (lambda: methods.hadamard(10**12), "n is 1000000000000"),
    (lambda: methods.rotation(W, STATS, GRID, method=lambda *a: None), "method returned NoneType"),
    (lambda: methods.obs_row(W[0], np.eye(64), np.ones(2), np.zeros(2), GRID), "64 columns"),
    (lambda: methods.obs_row(W[0] * NAN, np.eye(64), np.ones(64), np.zeros(64), GRID), "must be finite"),
    # recipes and importance matrices
    (lambda: recipes.plan(None, {}, "Q4_K_M"), "tensors must be a mapping"),
    (lambda: recipes.plan({}, None, "Q4_K_M"), "metadata must be a mapping"),
    (lambda: recipes.plan({"a": W}, {}, "Q4_K_M"), r"tensors\['a'\] is an array .*; a QTensor or TensorInfo"),
    (lambda: recipes.plan({3: T}, {}, "Q4_K_M"), r"tensors\[3\] is"),
    (lambda: recipes.plan({}, {}, "Q4_K_M", imatrix=W), "imatrix is an array"),
    (lambda: recipes.plan({}, {}, "Q4_K_M", switches={}), "switches is {}; a qviz.recipes.Switches"),
    (lambda: recipes.plan_changes(None, []), "before is None; a list"),
    (lambda: recipes.plan_changes([3], []), r"before is \[3\]"),
    (lambda: recipes.Switches(tensor_type=3), "tensor_type is 3; a text or TensorType or a list"),
    (lambda: recipes.Switches(exclude_weights=[3]), r"exclude_weights is \[3\]; a text or a list"),
    (lambda: recipes.Switches(pure="no"), "pure is 'no'; True or False"),
    (lambda: recipes.Switches(prune_layers=3), "prune_layers is 3; whole numbers of at least 0"),
    (lambda: recipes.Switches(prune_layers=[True]), "prune_layers is"),
    (lambda: recipes.Switches(override_kv=["a"]), "override_kv is .*; a mapping"),
    (lambda: recipes.Switches(override_kv={3: 3}), "override_kv 3 is 3"),
    (lambda: recipes.model_size("llama-7b", "Q4_K_M", rules=["modern"]), "no rule set"),
    (lambda: recipes.role_of(None), "a text, not NoneType"),
    (lambda: imatrix.Imatrix.from_means(None, tokens=3), "a mapping by tensor name"),
    (lambda: imatrix.Imatrix.from_means({"a": [1.0]}, tokens=None), "tokens is None"),
    (lambda: imatrix.Imatrix({}, datasets="text"), "a list of names"),
    (lambda: imatrix.Imatrix(None), "a tensor's name to an Entry"),
    (lambda: imatrix.Imatrix({"a": X}), "a tensor's name to an Entry"),
    (lambda: imatrix.write("x", imatrix.Imatrix({}), format=W), "no such format"),
    (lambda: imatrix.write("x", imatrix.Imatrix({}), format=0), "no such format"),
    (lambda: imatrix.Entry(np.ones((1, 4)), np.ones(2, np.int64)).means(), "counts has shape"),
    # whole texts and arrays are not read back to the person who gave them
    (lambda: AffineGrid(bits="x" * 10**5), "bits must be an integer"),
    (lambda: AffineGrid(sym=W), r"an array of shape \(8, 64\)"),
    (lambda: qviz.quantize(W, "x" * 10**5), "no format"),
    (lambda: formats.get(10**5000), "a whole number of 16610 bits"),
    (lambda: recipes.model_size("llama-7b", "x" * 10**5), "no recipe"),
    (lambda: grids.Codebook(W), "levels must be"),
    # arrays that refuse to be one, or hold what is none
    (lambda: qviz.quantize(Refusing(), "Q4_0"), "array of numbers: detach it first"),
    (lambda: RUN.logits(Refusing()), "array of whole numbers: detach it first"),
    (lambda: methods.rtn(np.ma.masked_greater(W, 1), STATS, GRID), "masked values"),
    (lambda: metrics.rmse(W, np.ma.masked_greater(W, 1)), "masked values"),
    # methods, grids and metrics
    (lambda: methods.gptq(W, STATS, GRID, trace=W), "trace is an array"),
    (lambda: methods.gptq_format(W, STATS, "Q4_0", sweeps=2.0), "sweeps is 2.0"),
    (lambda: methods.gptq_format(W, STATS, "Q4_0", sweeps=2**40), "sweeps is"),
    (lambda: methods.gptq_format(W, STATS, "Q4_0", sweeps=1, outputs=np.ones(8)), r"\(8, 8\), got \(8,\)"),
    (lambda: methods.gptq_format(W, STATS, "Q4_0", sweeps=1, outputs=True), r"\(8, 8\), got \(\)"),
    (lambda: methods.channel_scale(-np.ones(4), 0.5), "finite numbers from 0"),
    (lambda: methods.channel_scale(np.ones(4), 2**40), "at most 16"),
    (lambda: methods.random_hadamard(2.0), "n is 2.0"),
    (lambda: methods.random_hadamard(-1), "n is -1"),
    (lambda: methods.straight_through(W, None, GRID, W), "a pair"),
    (lambda: methods.straight_through(W, (A.scale, A.zero_point), None, W), "an AffineGrid is wanted"),
    (lambda: grids.two_level_scales([1.0], 0), "reach is 0"),
    (lambda: grids.two_level_scales([np.inf], 6), "finite numbers"),
    (lambda: grids.kmeans(W, 2, trace=True), "a list is wanted"),
    (lambda: grids.kmeans_vectors(W, 2, 2, iterations=2**40), "from 1 to 1,000,000"),
    (lambda: metrics.pareto(None), "points must be real numbers"),
    (lambda: metrics.pareto(W), "n_points, 2"),
    # containers
    (lambda: gguf.read("\ud800"), "not the path of a file"),
    (lambda: gguf.write("x.gguf", {}, {}, version=2.0), "no such GGUF version"),
    (lambda: gguf.write("x.gguf", {}, {}, endian=W), "no such byte order"),
    (lambda: gguf.Metadata(3), "a mapping from key to value"),
    (lambda: gguf.edit("x.gguf", set="a"), "a mapping from key to value"),
    (lambda: gguf.edit("x.gguf", remove="a"), "a list of keys"),
    (lambda: checkpoints.pack_bits(np.ones((32, 1), int), 2.0), "that many bits"),
    (lambda: checkpoints.unpack_bits(np.ones((32, 1), np.int32), None), "that many bits"),
    (lambda: checkpoints.zeros_from_v1(None, 4), "int32 matrix"),
    (lambda: checkpoints.zeros_to_v1(np.ones((2, 2), np.int32), 0), "that many bits"),
    (lambda: packed(codes=np.full((32, 64), 2**32)), "do not fit 4 bits"),
    (lambda: packed(scale=np.full((32, 2), "x")), "scale must be real numbers"),
    (lambda: packed(g_idx=np.full(64, NAN)), "g_idx must be whole numbers"),
    (lambda: packed(g_idx=np.full(64, 2**32)), "from 0 to 1"),
    (lambda: checkpoints.packed_parts("gptq", 4, 32, 64, 0), "groups have columns"),
    (lambda: checkpoints.packed_parts("gptq", 4, None, 64, 32), "n_out is None"),
    (lambda: checkpoints.interleaved(3, 2), "no pairs of 2 heads"),
    (lambda: checkpoints.write_packed("x", {"a": W}), "PackedLinear"),
    (lambda: checkpoints.write_packed("x", {"a": packed()}, others=3), "name to array"),
    (lambda: RUN.tokenizer.decode(None), "a list of tokens"),
    (lambda: RUN.tokenizer.decode(["a"]), "a token is 'a'"),
    # recipes and tables
    (lambda: recipes.cache_size("llama-7b", 8, ("F16",)), "two, of keys and of values"),
    (lambda: recipes.what_fits(8e9, "llama-7b", recipes="Q4_0"), "a list of names"),
    (lambda: recipes.what_fits(8e9, "llama-7b", recipes=[[]]), "no recipe"),
    (lambda: recipes.parse_override(None), "None is no text"),
    (lambda: recipes.TensorType(None, "Q4_0"), "a regular expression is wanted"),
    (lambda: recipes.allocate({"a": [recipes.Option("Q4_0", 1, 1.0)]}, NAN), "budget is nan"),
    (lambda: recipes.allocate({"a": 3}, 10), "a list of Option"),
    (lambda: measure.tails([]), "one at least"),
    (lambda: measure.tails([NAN]), "finite"),
    (lambda: measure.paired_accuracy([[True], []], [True]), r"before is \[\[True\], \[\]\]; an array of numbers"),
    (lambda: measure.paired_ratio([1.0, 2.0], [1.0, 2.0], 2.0), "window is 2.0"),
    (lambda: measure.paired_ratio("x", [1.0], 1), "ours is 'x'; an array of numbers"),
    (lambda: measure.rank_correlations({"a": 1, "b": 2}), "a list .a number for each item"),
    (lambda: measure.intensity(0), "bpw is 0"),
    (lambda: measure.token_traffic("llama-7b", "Q4_0", None), "context is None"),
    (lambda: measure.cloze_items(["words"]), r"task is \['words'\]; a text or None"),
    (lambda: measure.models_table(W), "model is an array of shape"),
    (lambda: measure.measure_rounding(W, X, names=None), "names is None; a list"),
    (lambda: measure.measure_rounding(W, X, repeats=2**40), "repeats is"),
    (lambda: measure.measure_formats(shape=3), r"shape is 3; a list of 2 items"),
    (lambda: measure.measure_formats(tokens=2**40), "tokens is 1099511627776; a whole number from 1"),
    (lambda: measure.measure_formats(shape=(1 << 24, 1 << 24)), "larger than what is timed here"),
    (lambda: measure.measure_machine(megabytes=2**40), "megabytes is 1099511627776"),
    (lambda: measure.measure_machine(seconds=NAN), "seconds is nan"),
    (lambda: measure.intensity(10**400), "bpw is a whole number|bpw is 1000"),
    (lambda: measure.items_needed(1e-300, 0.5), "no test shows less"),
    (lambda: measure.items_needed(0.1, 0.5, level=1e-300), "level is 1e-300"),
    (lambda: measure.groups_in_order(None), "rows is None; a list"),
    (lambda: recipes.allocate({"a": [recipes.Option("Q4_0", None, 1.0)]}, 10), "Option: nbytes is None"),
    (lambda: replace(recipes.get_shapes("llama-7b"), layers=2**40), "layers is 1099511627776"),
    (lambda: replace(recipes.get_shapes("llama-7b"), heads=0), "heads is 0"),
    (lambda: replace(recipes.get_shapes("llama-7b"), architecture="a"), "architecture is 'a'; one of"),
    (lambda: recipes.what_fits(8e9, "llama-7b", recipes=np.array(1)), "a list of names"),
    (lambda: replace(measure.best_files()[0], nbytes=None), "BestRow: nbytes is None"),
    (lambda: replace(recipes.get_shapes("llama-7b"), experts=None), "experts is None"),
    (lambda: recipes.cache_size("llama-7b", 10**5000), "n_ctx is a whole number of 16610 bits"),
    (lambda: recipes.parse_override("x" * 10**5), "is no KEY=TYPE:VALUE"),
    (lambda: recipes.read_name("x" * 10**5), "cannot read"),
    (lambda: recipes.Switches(tensor_type="x" * 10**5), "is no PATTERN=TYPE"),
    (lambda: recipes.Switches(prune_layers=HUGE), "prune_layers is an array of shape"),
    (lambda: models.verify([]), r"a text, not \[\]"),
    (lambda: models.mel_filters(10**5000), "no mel filters of a whole number of 16610 bits"),
    (lambda: Collector()([], X), r"the name of a matrix is a text, not \[\]"),
    (lambda: figures.weights_image(W, limit=1, window=object()), "window is <object object at .*; a Window or None"),
    # callbacks
    *(
        (lambda f=f: transformer.perplexity(RUN, TEXT, n_ctx=8, progress=f), r"progress is .*; a callable \(what, done")
        for f in (True, 0, "", [], lambda: None, lambda what, done: None)
    ),
    (lambda: qviz.quantize_model("a.gguf", "b.gguf", "Q4_0", progress=True), "progress is True"),
    (lambda: methods.adaround(W, STATS, GRID, progress=3), "progress is 3"),
    # the course
    (lambda: museum.get([]), r"get: name is \[\]; a text is wanted"),
    (lambda: museum.source(3), "function is 3; a callable is wanted"),
    (lambda: museum.weight_error(W, None), "other is None; an array of numbers"),
    (lambda: missions.play(3, 3), "play: mission is 3; a Mission is wanted"),
    (lambda: missions.importance("tiny"), "model is 'tiny'; a Model is wanted"),
    # pictures take what their annotations say
    (lambda: figures.balance("abc", [1], [1], [0], budget=9), "balance: names is 'abc'; a list"),
    (lambda: figures.balance(["a"], [1j], [1], [0], budget=9), r"sizes is \[1j\]; an array of numbers is wanted"),
    (lambda: figures.balance(["a"], [1], [1], [0], budget="9"), "budget is '9'; a number is wanted"),
    (lambda: figures.balance(["a"], [1], [1], [0], budget=9, current=1.5), "current is 1.5; a whole number"),
    (lambda: figures.token_duel("p", ("l",), ([], [])), "a duel has two sides, got 1 names"),
    (lambda: figures.block_lens(W, 0, (0, 1)), "tensor is an array of shape .*; a QTensor is wanted"),
    (lambda: figures.block_lens(T, 0, itertools.count()), r"flips is count\(.*\); a list"),
    (lambda: figures.block_lens(T, 0, {3}), r"flips is \{3\}; a list \(a list of 2 items"),
    (lambda: figures.bit_map(3), "bit_map: fmt is 3; a Format is wanted"),
    (lambda: figures.balance(HUGE, [1], [1], [0], budget=9), "names is an array of shape"),
    (lambda: figures.balance(["a"], [1], [1], [0], budget=9, series=[NAN]), "series must be whole numbers"),
    (lambda: figures.balance(["a"], [1], [1], [0], budget=9, series=[1]), "series holds 1; whole numbers from 0 to 0"),
    (lambda: figures.histogram(HUGE, 0, 1), "of 4,294,967,296 numbers at most"),
    (lambda: qviz.quantize(HUGE, "Q4_0"), "weights has shape .*; at most 4,294,967,296 numbers"),
    (lambda: qviz.quantize(W, "Q4_0", imatrix=HUGE), "imatrix has shape .*; at most"),
    (lambda: ActivationStats.from_inputs(HUGE), "at most 4,294,967,296 numbers"),
    (lambda: linear(HUGE), "has shape"),
    (lambda: transformer.perplexity(RUN, ENDLESS), "tokens has shape .* at most 4,294,967,296 whole numbers"),
    (lambda: qviz.whole.imatrix.collect(MODEL, ENDLESS), "at most 4,294,967,296 whole numbers"),
    (lambda: missions.Mission("a", "b", "tiny", 5, 7, 256, chats=0), "chats is 0; a whole number of at least 1"),
    (lambda: missions.Mission("a", "b", "tiny", 5, NAN, 256), "memory is nan; a budget is a number from 0 on"),
    (lambda: missions.Mission([], "b", "tiny", 5, 7, 256), r"Mission: name is \[\]; a text is wanted"),
    (lambda: missions.Choice(cache=3), "Choice: cache is 3"),
    (lambda: museum.Number(3, 1.0, 2.0), "Number: label is 3"),
    (lambda: replace(museum.get("min-sign"), wrong=None), "Exhibit: wrong is None; a callable"),
    (lambda: museum.source(len), "has no source that can be read"),
    (lambda: measure.Machine("fast", 1.0, 1.0, 1, 1), "Machine: bandwidth is 'fast'; a number is wanted"),
    (
        lambda: measure.recipe_table(None, "\ud800", ["Q4_0"], max_tokens=9, cache=False),
        "the text has 5 tokens; one window takes 256",
    ),
    (lambda: gguf.write("never.gguf", {}, {"a": HUGE}), "tensor 'a' does not lie in order, and memory does not hold"),
    (
        lambda: gguf.write("never.gguf", {}, {"a": BLOCKS}),
        "tensor 'a' does not lie in order, and memory does not hold",
    ),
    (lambda: figures.psnr(range(10**12), [1]), "not enough memory"),
    (lambda: figures.psnr(np.ma.masked_greater(W, 1), W), "is wanted, without masked values"),
    (lambda: figures.psnr([NAN], [1]), "an image holds nan; finite numbers"),
    (lambda: figures.channel_tracks([1], [1], [1], [1], part=NAN), "part is nan; a finite number of at least 0"),
    (lambda: figures.alpha_curve(W, W, W, alpha=0), "got an array of shape"),
    (lambda: figures.alpha_curve([0], [np.inf], [1], alpha=0), "an error holds inf"),
    (lambda: figures.result_table(W, X, {"rtn": NEAR}, digits=-1), "digits is -1; a whole number from 0 to 15"),
    (
        lambda: figures.result_table(W, X, {"rtn": 3}),
        r"results is \{'rtn': 3\}; a mapping \(from a text to a MethodRes",
    ),
    (lambda: figures.group_axis((), False), "finite weights"),
    (lambda: figures.level_set(W, W, W, 0, 1), "levels must be ascending"),
    (lambda: figures.number_line(W[0], GRID, (1.0, 2**40), HILL), "zero_point is 1099511627776"),
    (lambda: figures.pair_plane([[0, 1]], [[0, 0]], reach=NAN), "reach is nan"),
    (lambda: figures.pair_plane([[0, 1]], [[9, 0]], reach=3), "ends at 9 or later"),
    (lambda: figures.pair_plane([[0, 1]], [[0, 0]], taken=[2**40]), "taken holds 1099511627776"),
    (lambda: figures.pair_plane([[0, 1e30]], [[0, 0]]), "as far as squares can be taken"),
    (lambda: figures.pixel_image([[NAN]], "grey", 0, 1), "a matrix without NaN"),
    (lambda: figures.squares((2**20, 2**20), 1), "1,048,576 squares at most"),
    (lambda: figures.squares((4, 4, 4), 2), "a matrix is wanted"),
    (lambda: figures.staircase([0, 1], (0, 1, 0), 0, rate=1, steps=2**40, current=0), "steps is 1099511627776"),
    (lambda: figures.staircase([0, 1], (0, 0, 0), 0, rate=1, steps=1, current=0), "curvature is 0"),
    (lambda: figures.row_map([NAN]), "order must be whole numbers"),
    (lambda: figures.row_map(np.zeros(64, int)), "has each number once, got an array"),
    (lambda: figures.file_strip([(0, 1, "header", "")], 0, 0, b"x", [], changes=[(0, 256)]), "byte 0 is 256"),
    (lambda: figures.table(["a"], [W[0]]), "a row of 64 cells"),
    (lambda: figures.hexdump(np.ones(8, np.uint8)[::2], [0, 4], ["a"]), "in one piece"),
    (lambda: figures.token_rates(["a"], [1], 1, [0]), "seconds must be above 0"),
    # records refuse when they are made what is unlike their annotations
    (lambda: figures.Window(0.5, 0, 1, 1), "Window: top is 0.5; a whole number is wanted"),
    (lambda: figures.Window(0, 0, 0, 1), "got 0 × 1"),
    (lambda: figures.Window(0, 0, 2, 2).cell(2, 0), r"no pixel \(2, 0\)"),
    (lambda: figures.Window(0, 0, 9, 9).of(W), "does not lie inside"),
    (lambda: figures.Histogram(NAN, 1.0, np.ones(2, np.int32), 0), "finite low < high, got nan"),
    (lambda: figures.MatrixImage(W, "grey", 1.0, figures.Window(0, 0, 8, 64)), "pixels is an array .* whole numbers"),
    (lambda: replace(STEPS, factor=W), r"factor has shape \(8, 64\); an array of shape \(64, 64\)"),
    (lambda: replace(STEPS, batch=0), "batch is 0"),
    (lambda: STEPS.now(64), r"no weight \[0, 64\]"),
    (lambda: STEPS.before(0, 8), r"no weight \[8, 0\]"),
    (lambda: replace(NEAR, scales="x"), "MethodResult: scales is 'x'"),
    (
        lambda: figures.gptq_run(W, replace(TRACED, zero_points=NEAR.zero_points[:4]), NEAR, GRID),
        "zero_points has shape",
    ),
    (lambda: figures.gptq_run(W, NEAR, NEAR, GRID), "no trace of adjusted"),
    (lambda: grids.KMeansStep(W[0], None), "KMeansStep: error is None"),
    (lambda: grids.SmallFloat("a", 0, 3, 1, "none"), "exponent_bits is 0"),
    (lambda: grids.SmallFloat("a", 4, 4, 1, "none"), "'a' has 9 bits"),
]


@pytest.mark.parametrize(("call", "says"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_what_was_wanted_is_said(call, says):
    with pytest.raises(QvizError, match=says) as caught:
        call()
    assert len(str(caught.value)) < 500


def test_what_stays_right():
    """The same calls as they should be."""
    assert RUN.layer(1, stream(1, 3, 64)).shape == (1, 3, 64)
    assert RUN.layer(np.int64(0), np.zeros((1, 3, 64))).dtype == np.float32
    assert linear(stream(2, 64)).shape == (2, 64)
    assert RUN.logits(5).shape == RUN.logits(np.int32(5)).shape == (1, 300)
    assert RUN.window_logits(np.array([[1, 2, 3]], np.uint8), 1, 2).shape == (1, 1, 300)
    assert groups().shape == (8, 64)
    assert metrics.pareto([(NAN, 0.1), (1, 2), (2, 1), (3, NAN)]) == [1, 2]
    assert transformer.perplexity(RUN, TEXT, n_ctx=np.int8(16)) == transformer.perplexity(RUN, TEXT, n_ctx=16)
    assert recipes.what_fits(8e9, "llama-7b", recipes=["q4_0"])[0].recipe == "Q4_0"
    assert T.rows(-3).shape == (3, 64)
    wide = np.ones((300, 300), np.float32)
    assert np.array_equal(figures.from_afar(wide, np.uint8(255)), figures.from_afar(wide, 255))
    assert figures.psnr(T, W) == figures.psnr(T.dequantize(), W)
    odd = W.astype(">f8")[:, ::-1][:, ::-1], np.asfortranarray(W), W.astype(np.longdouble), W.tolist()
    for same in odd:
        assert figures.histogram(same, -1, 1).counts.tolist() == HILL.counts.tolist()
        assert figures.weights_image(same, limit=2).pixels.tolist() == figures.weights_image(W, limit=2).pixels.tolist()
    assert figures.block_lens(T, 0, {(2, 0)}).raw.tolist() == figures.block_lens(T, 0, [(2, 0)]).raw.tolist()
    assert figures.row_map([]).order.size == 0
    assert repr(figures.table(["a"], [(10**5000,)])).endswith("a whole number of 16610 bits")
    assert figures.psnr([0], [1e-300], peak=1) == np.inf
    assert figures.psnr([0.0], [1.0], peak=1e-200) == -4000.0
    assert Sampler(temperature=1, top_p=1).start()(X[0]) in range(64)
