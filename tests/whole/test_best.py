"""The best file: gradients beside differences, its size to the byte, less damage than a recipe's file, resumed."""

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_models import made

import qviz
from qviz import gguf, transformer
from qviz._types import no_progress
from qviz.calibration.stats import Collector
from qviz.errors import PipelineError
from qviz.gguf import U32
from qviz.whole import backward, best, best_file
from qviz.whole.best import job, rounding, sensitivity
from qviz.whole.by_layer import calibration_windows


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two layers of the small model."""
    tiny = qviz.load("tiny")
    names = [name for name in tiny if not name.startswith("blk.") or name[4] in "01"]
    metadata = tiny.metadata.without("llama.block_count") | {"llama.block_count": U32(2)}
    return gguf.write(tmp_path_factory.mktemp("models") / "in.gguf", metadata, {name: tiny[name] for name in names})


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma3"])
def test_gradients_are_what_small_changes_do(architecture):
    """Σ c·y changes by Σ g·δ when something inside changes by δ; keys and values as float16 add noise to that."""
    run = transformer.Transformer(made(architecture), activations="float")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 64)).astype(np.float32)
    c = rng.standard_normal(x.shape).astype(np.float32)
    found = {}
    back = backward.Backward(run, (2, 7))
    dx = back.layer(1, x.reshape(14, 64), c.reshape(14, 64), lambda i, kind, x, g, back: found.update({kind: g}))

    def answer(stream):
        return float(np.sum(run.layer(1, stream) * c, dtype=np.float64))

    step = 0.02
    way = rng.standard_normal(x.shape).astype(np.float32)
    slope = (answer(x + step * way) - answer(x - step * way)) / (2 * step)
    # stated: a quotient of two answers, whose keys and values are float16, over a step of 0.02 has this noise
    assert slope == pytest.approx(float(np.sum(dx.reshape(x.shape) * way)), rel=0.03)
    for kind, g in found.items():
        linear = run.layers[1][kind]
        way, bias = rng.standard_normal(linear.n_out).astype(np.float32), linear.bias
        sides = []
        for sign in (step, -step):
            linear.bias = sign * way + (0 if bias is None else bias)
            sides.append(answer(x))
        linear.bias = bias
        expected = float(np.sum(g @ way))
        noise = 0.03 * float(np.abs(g @ way).sum())
        assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(expected, abs=noise), kind


def test_the_curvature_foretells_the_divergence():
    tiny = qviz.load("tiny")
    run = transformer.Transformer(tiny, activations="float")
    windows = calibration_windows(run, None, 1024)
    sensed = sensitivity.measure(tiny, windows)
    seen = Collector()
    run.on_linear_input = seen
    logits = run.window_logits(windows)
    run.on_linear_input = None
    for name in ("blk.1.ffn_down.weight", "blk.5.ffn_gate.weight", "blk.3.attn_output.weight"):
        _, i, kind, _ = name.split(".")
        rounded = qviz.quantize(tiny[name].dequantize(), "Q3_K")
        E = tiny[name].dequantize() - rounded.dequantize()
        groups = sensed.of(int(i), kind).outputs
        parts = E.reshape(*groups.shape[:2], -1)
        foretold = 0.25 * np.einsum("gij,gij->", groups @ (parts @ seen.stats[name].hessian), parts)
        linear = run.layers[int(i)][kind]
        run.layers[int(i)][kind] = transformer.linear.Linear(rounded, name, "float")
        other = run.window_logits(windows)
        run.layers[int(i)][kind] = linear
        p, q = (x - x.max(-1, keepdims=True) for x in (logits.astype(np.float64), other.astype(np.float64)))
        p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p, q))
        divergence = np.mean(np.sum(np.exp(p) * (p - q), -1))
        assert 0.6 < foretold / divergence < 1.6, name


def test_what_rounded_activations_cost_is_foretold():
    """Everything in Q8_0, whose inputs are rounded in 32s: with that and without, on the tokens of the gradients."""
    tiny = qviz.load("tiny")
    windows = calibration_windows(transformer.Transformer(tiny, activations="float"), None, 1024)
    sensed = sensitivity.measure(tiny, windows)
    foretold = sensed.answer_inputs[0] + sum(part.inputs[0] for part in sensed.by_kind.values())
    eight = type("Eight", (dict,), {"metadata": tiny.metadata})(
        {name: t if len(t.shape) < 2 else qviz.quantize(t.dequantize(), "Q8_0") for name, t in tiny.items()}
    )
    p, q = (
        transformer.Transformer(eight, activations=kind).window_logits(windows).astype(np.float64)
        for kind in ("float", "int8")
    )
    p, q = (x - np.logaddexp.reduce(x, axis=-1, keepdims=True) for x in (p, q))
    divergence = np.mean(np.sum(np.exp(p) * (p - q), -1))
    assert 0.6 < foretold / divergence < 1.6  # stated: as for the curvature


def test_less_damage_than_a_recipe_of_the_same_size(source, tmp_path):
    seen = Collector()
    run = transformer.Transformer(qviz.load(source), activations="float", on_linear_input=seen)
    run.window_logits(calibration_windows(run, None, 1024))
    imatrix = {name: stats.mean_sq for name, stats in seen.stats.items() if name.startswith("blk.")}
    theirs = qviz.quantize_model(source, tmp_path / "theirs.gguf", "Q3_K_S", imatrix=imatrix)
    size = theirs.path.stat().st_size
    ours = best_file(source, tmp_path / "ours.gguf", size=size, n_tokens=1024)
    assert ours.path.stat().st_size == ours.nbytes <= size
    made_of = qviz.load(ours.path)
    assert ours.bpw == pytest.approx(8 * ours.nbytes / sum(tensor.n_weights for tensor in made_of.values()))
    assert {name: made_of[name].format.name for name in made_of} == ours.formats
    text = qviz.models.heldout_text()[:20000]
    found = transformer.evaluate.compare(
        {"theirs": qviz.load(theirs.path), "ours": made_of}, text, qviz.load(source), max_tokens=1000
    )
    assert found["ours"].kld < 0.7 * found["theirs"].kld
    assert ours.measured is not None
    assert ours.measured > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.gguf", "theirs.gguf"]


def test_goes_on_where_it_was_ended(source, tmp_path, monkeypatch):
    target = tmp_path / "out.gguf"

    def until_rounding(what, done, total):
        if what.startswith("layer 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        best_file(source, target, bpw=4.5, n_tokens=512, progress=until_rounding)
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf.measured.npz"]
    monkeypatch.setattr(job, "measure", lambda *_, **__: pytest.fail("measured again"))
    monkeypatch.setattr(job.costs, "layer_options", lambda *_, **__: pytest.fail("measured again"))
    made_now = best_file(source, target, bpw=4.5, n_tokens=512)
    assert made_now.bpw <= 4.5
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_measurements_that_are_damaged_count_as_absent(source, tmp_path, monkeypatch):
    """Cut, of other contents under the same key, or unpacking to more than they hold; a pipe is not waited for."""
    kept = tmp_path / "kept.npz"
    made = job._BestJob(qviz.load(source), tmp_path / "out", kept, None, 512, best.Method(), no_progress)
    ones = np.ones((2, 2), np.float32)
    made._keep({"reading": ones})
    assert made._known()["reading"].tolist() == ones.tolist()
    with np.load(kept) as file:
        key, whole = file["key"], kept.read_bytes()
    for damaged in (whole[:60], b"", bytes(100), bytes([*whole[:-200], 255, *whole[-199:]])):
        kept.write_bytes(damaged)
        assert made._known() == {}
    np.savez(kept, key=key, reading=2 * ones)
    assert made._known() == {}
    np.savez_compressed(kept, key=key, reading=np.zeros((2000, 2000)))
    assert made._known() == {}
    kept.unlink()
    os.mkfifo(kept)
    assert made._known() == {}
    monkeypatch.setattr(job, "measure", lambda *_, **__: pytest.fail("measured, and nowhere to keep it"))
    for place in (kept, tmp_path):
        with pytest.raises(PipelineError, match=r"not a regular file|a file for the measurements"):
            best_file(source, tmp_path / "out.gguf", bpw=4.5, measurements=place)


def test_measurements_do_not_replace_what_is_none(source, tmp_path):
    """A text, an archive of other arrays, the model itself, and the file that is asked for."""
    theirs, other = tmp_path / "notes.npz", tmp_path / "other.npz"
    theirs.write_text("mine", "utf-8")
    np.savez(other, a=np.ones(3), key=np.array("mine"))
    model = Path(shutil.copy(source, tmp_path / "model.gguf"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    out = tmp_path / "out.gguf"
    for place, says in (
        (theirs, "holds no measurements"),
        (other, "holds no measurements"),
        (model, "its own source"),
        (out, "in the new file"),
    ):
        with pytest.raises(PipelineError, match=says):
            best_file(model, out, bpw=4.5, n_tokens=300, measurements=place)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "give the size of the file or its bits per weight"),
        ({"size": 10, "bpw": 4}, "give the size of the file or its bits per weight"),
        ({"size": -1}, "size is -1; a finite number above 0"),
        ({"bpw": float("nan")}, "bpw is nan; a finite number above 0"),
        ({"bpw": "4"}, "bpw is '4'; a finite number above 0"),
    ],
)
def test_sizes_that_are_none(source, tmp_path, options, says):
    with pytest.raises(PipelineError, match=says):
        best_file(source, tmp_path / "out.gguf", n_tokens=512, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parts", "says"), [({"sweeps": "a"}, "sweeps"), ({"sweeps": -1}, "sweeps"), ({"drift": "yes"}, "drift")]
)
def test_methods_that_are_none(parts, says):
    with pytest.raises(PipelineError, match=says):
        best.Method(**parts)


def test_families_whose_gradients_are_not_known():
    for architecture, says in (("gpt2", "attn_"), ("gemma2", "caps"), ("qwen3moe", "ffn_gate_exps")):
        assert says in backward.unknown_parts(transformer.Transformer(made(architecture)))
    for architecture in ("llama", "qwen2", "qwen3", "gemma3"):
        assert not backward.unknown_parts(transformer.Transformer(made(architecture)))
    assert best.Method().sweeps > 0


@pytest.mark.parametrize("room", [1 << 28, 0])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3"])
def test_the_exact_side_is_the_model_as_it_was(architecture, room, monkeypatch):
    """While the other side is rounded, its stream goes through each half once, whatever matrices leave it early."""
    monkeypatch.setattr(rounding, "_RECEIVED_BYTES", room)
    model = made(architecture)
    run = transformer.Transformer(model, activations="float")
    windows = np.arange(40).reshape(4, 10) % run.config.n_vocab
    sides = rounding.Sides(model, windows, None)
    kinds = ("attn_q", "attn_output", "ffn_gate", "ffn_down")
    received = {}
    run.on_linear_input = lambda name, x: received.update({name.split(".")[2]: np.array(x)})
    stream = run.embed(windows)
    for i in range(run.config.n_layers):
        stream = run.layer(i, stream)
        for kind in kinds[1:] if i else kinds:  # nobody asks for what a matrix receives that stays as it is
            for _, x, y, _ in sides.inputs(i, kind, False):
                assert np.array_equal(x, y)
                assert np.array_equal(x, received[kind]), (i, kind)
            if kind in ("attn_output", "ffn_down"):
                sides.advance(i, kind)
        for side in sides.streams:
            assert np.array_equal(side, stream)


def test_how_many_tokens_unless_given(source, tmp_path):
    """As many as help, if the text has them, and some are left to check on."""
    model = qviz.load(source)

    def windows(text, n_tokens=None):
        made = job._BestJob(model, tmp_path / "out.gguf", tmp_path / "kept", text, n_tokens, best.Method(), no_progress)
        return made.windows.size, len(made.unseen)

    text = qviz.models.calibration_text()
    assert windows(None)[0] == 24_576
    used, left = windows(text[:12_000])
    assert abs(0.75 * (used + left) - used) < 256, "three quarters, in whole windows"
    assert left >= 256
    assert windows(text, 512)[0] == 512


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bpw": 10**5000}, "bpw is a whole number of 16610 bits; a finite number above 0"),
        ({"bpw": None, "size": "big"}, "size is 'big'; a finite number above 0"),
        ({"method": "gptq"}, "method is 'gptq'; a Method or None is wanted"),
        ({"method": []}, r"method is \[\]; a Method or None is wanted"),
        ({"calibration": 1.5}, "calibration must be"),
        ({"calibration": itertools.count()}, "calibration must be"),
        ({"calibration": [1.5] * 600}, "calibration must be whole numbers"),
        ({"calibration": [10**6] * 600}, "calibration holds 1000000; whole numbers from 0 to"),
        ({"calibration": [1] * 600}, "the calibration text says too little: its tokens are nearly all alike"),
    ],
)
def test_what_says_no_size_and_no_text_is_refused(source, tmp_path, change, says):
    with pytest.raises(PipelineError, match=says):
        best_file(source, tmp_path / "out.gguf", **{"bpw": 4.5, "n_tokens": 512, **change})
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("name", ["", "folder", "no/out.gguf"])
def test_where_no_file_can_be_is_said_before_anything_is_measured(source, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(PipelineError, match="cannot be written"):
        best_file(source, name, bpw=4.5, n_tokens=512, progress=lambda *_: pytest.fail("something was begun"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
