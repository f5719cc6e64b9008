"""The forward pass against a plain float64 Llama, and, where it is installed, against llama.cpp itself."""

import threading

import numpy as np
import pytest
from llamacpp import INSTALLED

import qviz
from qviz.errors import LlamaError
from qviz.methods import hadamard
from qviz.transformer import KVCache, Sampler, Transformer, generate, generate_tokens, group_tensor

TEXT = "The President of the United States shall from time to time give to the Congress"


def reference_logits(model, tokens):
    """A Llama in float64, each formula as the papers have it, one head at a time."""
    meta = model.metadata
    w = {name: model[name].dequantize().astype(np.float64) for name in model}
    heads, kv = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
    size = meta["llama.embedding_length"] // heads
    eps, base = meta["llama.attention.layer_norm_rms_epsilon"], meta["llama.rope.freq_base"]
    n = len(tokens)

    def norm(x, gain):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain

    def turned(x):  # (n, size): pairs as complex numbers
        angle = np.arange(n)[:, None] * base ** (-np.arange(0, size, 2) / size)
        z = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angle)
        return np.stack([z.real, z.imag], -1).reshape(n, size)

    x = w["token_embd.weight"][tokens]
    for i in range(meta["llama.block_count"]):
        p = f"blk.{i}."
        h = norm(x, w[p + "attn_norm.weight"])
        q, k, v = (h @ w[f"{p}attn_{part}.weight"].T for part in "qkv")
        mixed = []
        for head in range(heads):
            mine, theirs = slice(head * size, (head + 1) * size), head // (heads // kv) * size
            scores = turned(q[:, mine]) @ turned(k[:, theirs : theirs + size]).T / np.sqrt(size)
            scores[np.triu_indices(n, 1)] = -np.inf
            e = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(e / e.sum(-1, keepdims=True) @ v[:, theirs : theirs + size])
        x = x + np.concatenate(mixed, -1) @ w[p + "attn_output.weight"].T
        h = norm(x, w[p + "ffn_norm.weight"])
        gate, up = h @ w[p + "ffn_gate.weight"].T, h @ w[p + "ffn_up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[p + "ffn_down.weight"].T
    out = w.get("output.weight", w["token_embd.weight"])
    return norm(x, w["output_norm.weight"]) @ out.T


@pytest.fixture(scope="module")
def tiny():
    return Transformer(qviz.load("tiny"))


@pytest.fixture(scope="module")
def tokens(tiny):
    return tiny.tokenizer.encode(TEXT)


# float32 sums, and keys, values and activations that pass through float16: 11 bits, over 8 layers
TOLERANCE = 0.02


def test_logits_of_the_shipped_model(tiny, tokens):
    want = reference_logits(tiny.model, tokens)
    assert np.abs(tiny.logits(tokens) - want).max() < TOLERANCE
    assert np.abs(want).max() > 5


class Loose(dict):
    """Tensors in memory, with metadata: all that a model needs to be."""

    metadata: dict


def grouped_llama(width=64, heads=4, kv_heads=2, ffn=96, vocab=40):
    rng = np.random.default_rng(2)
    kv = width // heads * kv_heads
    shapes = {"token_embd": (vocab, width), "output": (vocab, width), "output_norm": (width,)}
    for i in range(2):
        shapes |= {f"blk.{i}.attn_norm": (width,), f"blk.{i}.ffn_norm": (width,)}
        shapes |= {f"blk.{i}.attn_q": (width, width), f"blk.{i}.attn_output": (width, width)}
        shapes |= {f"blk.{i}.attn_k": (kv, width), f"blk.{i}.attn_v": (kv, width)}
        shapes |= {
            f"blk.{i}.ffn_gate": (ffn, width),
            f"blk.{i}.ffn_up": (ffn, width),
            f"blk.{i}.ffn_down": (width, ffn),
        }
    model = Loose()
    for name, shape in shapes.items():
        x = rng.standard_normal(shape) / np.sqrt(shape[-1]) if len(shape) > 1 else rng.uniform(0.5, 1.5, shape)
        model[f"{name}.weight"] = qviz.quantize(x.astype(np.float32), "F32")
    model.metadata = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 64,
        "llama.embedding_length": width,
        "llama.feed_forward_length": ffn,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
    }
    return model


def test_grouped_queries_and_an_output_matrix_of_its_own():
    model = grouped_llama()
    llama, ids = Transformer(model, activations="float"), [1, 5, 7, 7, 30, 2]
    want = reference_logits(model, ids)
    assert np.abs(llama.logits(ids) - want).max() < 0.01 * np.abs(want).max()


def test_one_by_one_is_the_same_as_all_at_once(tiny, tokens):
    at_once = tiny.logits(tokens)
    cache = tiny.new_cache(64)
    one_by_one = np.concatenate([tiny.logits([token], cache) for token in tokens])
    assert np.abs(at_once - one_by_one).max() < TOLERANCE
    assert cache.length == len(tokens)
    halves = tiny.new_cache(64)
    tiny.logits(tokens[:5], halves)
    assert np.abs(tiny.logits(tokens[5:], halves) - at_once[5:]).max() < TOLERANCE


@pytest.mark.parametrize(
    "formats",
    [("F32",), ("F16",), ("BF16",), ("Q8_0",), ("Q4_0", "Q8_0"), ("Q5_1", "F16"), ("IQ4_NL", "Q4_1"), ("MXFP4",)],
)
@pytest.mark.parametrize("activations", ["int8", "float"])
def test_the_compiled_pass_is_the_one_in_steps(formats, activations):
    """Kernels called by address, on all cores, against the same layers one call after the other."""
    model = grouped_llama(width=96, heads=6, kv_heads=2, ffn=160, vocab=75)
    for k, name in enumerate(name for name in model if "norm" not in name):
        model[name] = qviz.quantize(model[name].dequantize(), formats[k % len(formats)])
    whole = Transformer(model, activations=activations)
    steps = Transformer(
        model, activations=activations, on_linear_input=lambda name, x: None
    )  # which leaves the compiled pass
    ids, caches = [1, 5, 7, 7, 30, 2, 74], (whole.new_cache(8), steps.new_cache(8))
    for token in ids:
        found, want = whole.logits([token], caches[0]), steps.logits([token], caches[1])
        assert found.shape == want.shape == (1, 75)
        # an activation may fall on the other side of a rounding boundary, since attention sums in another order
        assert np.abs(found - want).max() < (1e-4 if activations == "float" else 0.02) * np.abs(want).max()
    assert np.abs(caches[0].halves.view(np.float16) - caches[1].halves.view(np.float16)).max() < 0.02


@pytest.mark.parametrize("activations", ["int8", "float"])
def test_columns_in_another_order(activations):
    """Groups of act_order, each matrix with an order of its own, in the compiled pass and in steps."""
    model, rng = grouped_llama(width=96, heads=6, kv_heads=2, ffn=160, vocab=75), np.random.default_rng(8)
    for name in model:
        if name.startswith("blk") and "norm" not in name and "attn_k" not in name:
            n_out, n_in = model[name].shape
            g_idx = np.repeat(np.arange(n_in // 32, dtype=np.int32), 32)
            rng.shuffle(g_idx)
            scales = np.full((n_out, n_in // 32), 1 / 64, np.float32)
            codes, zeros = rng.integers(0, 16, (n_out, n_in)), rng.integers(0, 16, scales.shape)
            model[name] = group_tensor(codes, scales, zeros, g_idx, 4)
    whole = Transformer(model, activations=activations)
    steps = Transformer(model, activations=activations, on_linear_input=lambda name, x: None)
    ids, caches = [1, 5, 7, 7, 30, 2, 74], (whole.new_cache(8), steps.new_cache(8))
    want = reference_logits(model, ids)
    for k, token in enumerate(ids):
        found, beside = whole.logits([token], caches[0]), steps.logits([token], caches[1])
        assert np.abs(found - beside).max() < (1e-4 if activations == "float" else 0.02) * np.abs(beside).max()
        assert np.abs(found[0] - want[k]).max() < (0.01 if activations == "float" else 0.1) * np.abs(want).max()


def test_generating_from_several_threads():
    """Each has a cache of its own; one of them has the other cores."""
    llama = Transformer(grouped_llama(width=96, heads=6, kv_heads=2, ffn=160, vocab=75))

    def run():
        cache = llama.new_cache(40)
        return np.concatenate([llama.logits([token % 75], cache) for token in range(40)])

    want, found = run(), []
    threads = [threading.Thread(target=lambda: found.extend(run() for _ in range(10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert all(np.array_equal(one, want) for one in found)


def test_a_cache_of_another_model(tiny):
    other = Transformer(grouped_llama())
    with pytest.raises(LlamaError, match="another model"):
        tiny.logits([1], other.new_cache(8))
    cache = other.new_cache(16)
    wider = Transformer(grouped_llama(ffn=320, vocab=90))  # the same keys and values, more room to work in
    assert other.logits([1], cache).shape == (1, 40)
    assert np.array_equal(wider.logits([2], cache), wider.logits([2], rewound(cache, 1)))


def rewound(cache, length):
    cache.length = length
    return cache


@pytest.mark.parametrize(("kind", "most"), [("F32", 0.02), ("F16", 0.02), ("Q8_0", 0.3), ("Q4_0", 4.0)])
def test_cache_formats(tiny, tokens, kind, most):
    exact = tiny.logits(tokens, tiny.new_cache(64, "F32"))[-1]
    cache = tiny.new_cache(64, kind)
    last = [tiny.logits([token], cache) for token in tokens][-1]
    assert np.abs(last - exact).max() < most
    assert cache.nbytes == 8 * 2 * 64 * 256 * {"F32": 32, "F16": 16, "Q8_0": 8.5, "Q4_0": 4.5}[kind] / 8


@pytest.mark.parametrize("rotation", [None, hadamard(64)])
@pytest.mark.parametrize("kind", ["F32", "Q8_0", ("Q8_0", "Q4_0"), ("Q4_0", "F16")])
def test_windows_are_rounded_as_a_cache_would(tokens, kind, rotation):
    """The same logits through a cache, which stores bytes, and as a window, which only rounds."""
    run = Transformer(qviz.load("tiny"), activations="float", cache=kind, cache_rotation=rotation)
    cache = run.new_cache(64)
    assert cache.kinds == (kind if isinstance(kind, tuple) else (kind, kind))
    assert np.abs(run.logits(tokens, cache) - run.window_logits([tokens])[0]).max() < TOLERANCE
    bits = {"F32": 32, "F16": 16, "Q8_0": 8.5, "Q4_0": 4.5}
    assert cache.nbytes == 8 * 64 * 256 * sum(bits[each] for each in cache.kinds) / 8


def test_a_cache_keeps_keys_and_values_apart():
    """Keys in the format of keys, values in that of values, both by ggml's rounding."""
    config = qviz.Transformer(qviz.load("tiny")).config
    k, v = np.random.default_rng(0).standard_normal((2, 3, 256)).astype(np.float32)
    cache = KVCache(config, 8, ("Q8_0", "Q4_0"))
    cache.put(1, k, v)
    found = cache.get(1, 3)
    for got, given, kind in zip(found, (k, v), ("Q8_0", "Q4_0"), strict=True):
        assert np.array_equal(got, qviz.quantize(given, kind).dequantize())


def test_a_rotated_cache_turns_each_head_there_and_back():
    config, turn = qviz.Transformer(qviz.load("tiny")).config, hadamard(64)
    k = np.zeros((1, 256), np.float32)
    k[0, 64:128] = 8 * turn[:, 3]  # the second head: rotated, it is one number in one channel
    cache = KVCache(config, 1, "Q8_0", turn)
    cache.put(0, k, k)
    blocks = cache._stores[0][0, 0]
    codes = blocks["qs"].reshape(4, 64)
    assert codes[1].tolist() == [0, 0, 0, 127] + [0] * 60
    assert not codes[[0, 2, 3]].any()
    # float16 rounds the scale, 8 / 127, to 2^-11 of itself; each value is one product of it
    assert np.abs(cache.get(0, 1)[0] - k).max() <= 2**-11 * np.abs(k).max() * 1.01


def test_windows_are_independent_and_may_be_scored_in_part(tiny, tokens):
    windows = np.array([tokens[:8], tokens[4:12]])
    whole = tiny.window_logits(windows)
    for row, window in zip(whole, windows, strict=True):
        assert np.abs(row - tiny.logits(window)).max() < TOLERANCE
    assert np.abs(tiny.window_logits(windows, 3, 7) - whole[:, 3:7]).max() < TOLERANCE


def test_inputs_of_every_matrix_are_shown(tokens):
    seen = {}
    llama = Transformer(qviz.load("tiny"), on_linear_input=lambda name, x: seen.setdefault(name, []).append(x.copy()))
    llama.logits(tokens)
    for name, found in seen.items():
        assert found[0].shape == (len(tokens), llama.model[name].shape[1])
    assert len(seen) == 7 * 8 + 1
    cache = llama.new_cache(64)
    again = {name: found[0] for name, found in seen.items()}
    seen.clear()
    for token in tokens:
        llama.logits([token], cache)
    for name, found in seen.items():
        assert np.abs(np.concatenate(found) - again[name]).max() < 0.05


def test_generation(tiny):
    text = "".join(generate(tiny, "The Government of the United", 1))
    assert text == " States"
    sampler = Sampler(temperature=0.8, seed=3)
    first = list(generate_tokens(tiny, [1, 50, 60], 8, sampler))
    assert first == list(generate_tokens(tiny, [1, 50, 60], 8, sampler))
    assert first != list(generate_tokens(tiny, [1, 50, 60], 8, Sampler(temperature=0.8, seed=4)))
    stopped = generate(tiny, "It was", 1000)
    assert next(stopped)
    stopped.close()  # whoever stops taking pieces stops the model


def test_top_p_keeps_the_likeliest():
    logits = np.log(np.array([0.6, 0.3, 0.1], np.float32))
    choose = Sampler(temperature=1, top_p=0.5, seed=0).start()
    assert {choose(logits) for _ in range(50)} == {0}
    choose = Sampler(temperature=1, top_p=0.8, seed=0).start()
    assert {choose(logits) for _ in range(50)} == {0, 1}


def test_what_is_refused(tiny):
    with pytest.raises(LlamaError, match=r"not a whole model|only a part"):
        Transformer(qviz.load("smollm2-slices"))
    with pytest.raises(LlamaError, match="4096"):
        tiny.logits([4096])
    with pytest.raises(LlamaError, match="at least one"):
        tiny.logits([])
    with pytest.raises(LlamaError, match="do not fit"):
        tiny.logits([1, 2, 3], tiny.new_cache(2))
    with pytest.raises(LlamaError, match="'Q3_K'"):
        KVCache(tiny.config, 8, "Q3_K")
    with pytest.raises(LlamaError, match="empty"):
        next(generate_tokens(tiny, []))
    with pytest.raises(LlamaError, match="257 tokens"):
        next(generate_tokens(tiny, [1] * 257))
    with pytest.raises(LlamaError, match="temperature"):
        Sampler(temperature=-1)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("general.architecture", "mamba", "'mamba'"),
        ("llama.block_count", 0, "block_count is 0"),
        ("llama.rope.scaling.type", "longrope", "longrope"),
        ("llama.attention.head_count_kv", 3, "divide evenly"),
        ("llama.expert_count", 8, "0 experts of 8"),
        ("llama.feed_forward_length", 512, r"ffn_gate.weight has shape \(768, 256\)"),
    ],
)
def test_metadata_that_cannot_be_run(tiny, key, value, says):
    model = Loose(tiny.model)
    model.metadata = {**dict(tiny.model.metadata), key: value}
    with pytest.raises(LlamaError, match=says):
        Transformer(model)


@pytest.mark.skipif(not INSTALLED, reason="llama-cpp-python is not installed; the float64 reference is checked instead")
@pytest.mark.parametrize("recipe", ["F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K_M", "Q2_K", "IQ4_NL"])
def test_logits_and_tokens_as_llama_cpp(tiny, tmp_path, recipe):
    import llama_cpp

    path = tmp_path / "m.gguf"
    qviz.quantize_model(tiny.model.path, path, recipe)
    theirs = llama_cpp.Llama(str(path), n_ctx=256, n_batch=256, logits_all=True, verbose=False, n_threads=2)
    text = qviz.models.heldout_text()[:900]
    ids = tiny.tokenizer.encode(text)
    assert theirs.tokenize(text.encode(), add_bos=True) == ids
    theirs.eval(ids[:200])
    want = np.array(theirs.scores[:200])
    got = Transformer(qviz.load(path)).logits(ids[:200])
    # float sums in another order move an activation over a rounding boundary now and then, and the next layers with it
    most = 0.02 if recipe == "F16" else 0.05 * want.std()
    assert np.sqrt(((got - want) ** 2).mean()) < most
