"""Training: gradients beside differences in float64, a loss that falls, and a result that is codes and scales."""

import itertools

import numpy as np
import pytest
from made_models import made, reference_logits

import qviz
from qviz.errors import LlamaError, MethodError, PipelineError
from qviz.whole.backward import KINDS
from qviz.whole.by_layer import round_model
from qviz.whole.training import Training

TOKENS = np.random.default_rng(4).integers(3, 300, 64 * 8).tolist()


def training(model=None, **changes):
    given = {"bits": 2, "group_size": 32, "start": "rtn", "calibration": TOKENS, "n_tokens": 512, "steps": 40}
    return Training(made() if model is None else model, **{**given, "batch": 2, **changes})


def surprise(model, windows):
    """Mean −log p of each token but the first of its window, and all log-probabilities, in float64."""
    logits = np.array([reference_logits(model, window) for window in windows])
    logs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    logs -= logits.max(-1, keepdims=True)
    picks = np.take_along_axis(logs[:, :-1], np.array(windows)[:, 1:, None], -1)
    return -picks.mean(), logs


@pytest.mark.parametrize("targets", ["text", "model"])
def test_gradients_are_what_small_changes_do(targets):
    model = made()
    trained = training(model, targets=targets)
    now = model.but(**dict(trained.rounded().items()))
    # as it is trained: scales in float32
    for (i, kind), matrix in trained._matrices.items():
        now[f"blk.{i}.{kind}.weight"] = qviz.quantize(matrix.rounded, "F32")
    windows = trained.windows[:2]
    wanted = surprise(model, windows)[1]

    def loss(model):
        nll, logs = surprise(model, windows)
        return nll if targets == "text" else float(np.mean(np.sum(np.exp(wanted) * (wanted - logs), axis=-1)))

    found, gradients = trained._gradients(np.array([0, 1]))
    # stated: float32 through two layers and the sums of 300 logits keeps five digits of a loss
    assert found == pytest.approx(loss(now), rel=1e-5, abs=1e-5)
    rng, h = np.random.default_rng(0), 0.02
    for i in range(2):
        for kind in KINDS:
            name, g = f"blk.{i}.{kind}.weight", gradients[i, kind]
            weight = now[name].dequantize()
            way = rng.standard_normal(weight.shape).astype(np.float32)
            slopes = []
            for step in (h, h / 2):
                sides = [
                    loss(now.but(**{name: qviz.quantize(weight + np.float32(sign * step) * way, "F32")}))
                    for sign in (1, -1)
                ]
                slopes.append((sides[0] - sides[1]) / (2 * step))
            # what a smaller step changes is three quarters of what the larger one is off
            off = abs(slopes[0] - slopes[1])
            noise = 1e-4 * float(np.abs(g * way).sum())  # stated: float32 keeps four digits of a sum of such terms
            assert abs(float(np.sum(g * way)) - slopes[1]) <= off + noise, name


def test_the_loss_falls_and_what_is_left_are_codes_and_scales():
    model = made()
    trained = training(model)
    first = np.mean([trained._gradients(np.array([k]))[0] for k in range(8)])
    trained.run(10)
    assert trained.loss.shape == (10,)
    trained.run()
    last = np.mean([trained._gradients(np.array([k]))[0] for k in range(8)])
    assert last < 0.7 * first
    assert 0 < trained.moved() < 1
    rounded = trained.rounded()
    plain = round_model(model, "rtn", 2, 32, calibration=TOKENS, n_tokens=512)
    assert rounded.bpw == plain.bpw
    for name, tensor in rounded.items():
        w = tensor.dequantize()
        if name.startswith("blk.") and w.ndim == 2:
            groups = w.reshape(len(w), -1, 32)
            assert max(len(np.unique(group)) for row in groups for group in row) <= 4
        else:
            np.testing.assert_array_equal(w, model[name].dequantize())
    with pytest.raises(PipelineError, match="0 of the 40 planned are left"):
        trained.run(1)


def test_gradients_that_are_not_let_through_move_nothing(monkeypatch):
    """The estimator is what training stands on: without it no weight ever moves."""

    def stairs(w, scale, zero, size, qmin, qmax, gradient, by_weight, by_scale):
        by_weight[:], by_scale[:] = 0, 0

    monkeypatch.setattr("qviz.whole.training.back", stairs)
    trained = training()
    before = {key: matrix.weight.copy() for key, matrix in trained._matrices.items()}
    trained.run(3)
    assert all(np.array_equal(before[key], matrix.weight) for key, matrix in trained._matrices.items())


@pytest.mark.parametrize(("start", "options"), [("gptq", {"mse": True}), ("autoround", {"steps": 20}), ("rtn", {})])
def test_training_begins_with_what_the_method_chose(start, options):
    model = made()
    first = training(model, start=start, options=options).rounded()
    method = round_model(model, start, 2, 32, calibration=TOKENS, n_tokens=512, **options)
    for name in first:
        np.testing.assert_array_equal(first[name].dequantize(), method[name].dequantize(), err_msg=name)


def test_the_same_seed_trains_the_same_model():
    one, same, other = (training(seed=seed).run(3).loss for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_progress_is_heard_and_ends_the_work():
    heard = []
    trained = training(progress=lambda what, done, total: heard.append(what))
    trained.run(1)
    assert "training" in heard
    assert any("unquantized" in what for what in heard)

    def enough(what, done, total):
        raise KeyboardInterrupt

    trained._report = enough
    with pytest.raises(KeyboardInterrupt):
        trained.run()
    assert trained.loss.size == 1


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ({"start": "awq"}, PipelineError, "start must be rtn, gptq, adaround, autoround, got 'awq'"),
        ({"targets": "both"}, PipelineError, "targets must be model, text"),
        ({"steps": 0}, PipelineError, "steps is 0"),
        ({"batch": 0}, PipelineError, "batch is 0"),
        ({"rate": 0}, PipelineError, "rate is 0"),
        ({"seed": -1}, PipelineError, "seed is -1"),
        ({"bits": 8}, PipelineError, "2, 3 or 4 bits"),
        ({"progress": 5}, PipelineError, "progress is 5"),
        ({"start": "gptq", "options": {"act_order": True}}, PipelineError, "act_order=False"),
        ({"options": itertools.count()}, MethodError, "options is count.*; a mapping of names to values is wanted"),
        ({"options": np.zeros(2)}, MethodError, r"options is array\(\[0\., 0\.\]\); a mapping"),
        ({"n_tokens": 10**5000}, LlamaError, "n_tokens is a whole number of 16610 bits; .* from 1 to 18,4"),
        ({"start": "gptq", "options": {"damp_percent": 10**5000}}, MethodError, "damp_percent must be a number 0 … 10"),
        ({"options": {"clip": True}}, MethodError, "rtn has no option 'clip'"),
        ({"model": made("phi3")}, PipelineError, "no gradients are known for parts of this model: attn_k"),
    ],
)
def test_what_is_refused(how, error, says):
    with pytest.raises(error, match=says):
        training(**how)
