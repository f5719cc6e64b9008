"""GPTQ and AWQ layer by layer on a model of every family: to eight bits, nothing but rounding changes."""

import numpy as np
import pytest
from made_models import made, reference_logits

import qviz
from qviz import gguf
from qviz.architectures import ARCHITECTURES
from qviz.transformer import Transformer
from qviz.whole import by_layer

IDS = [1, 5, 7, 7, 30, 2, 274, 11]
TEXT = list(range(3, 299))


def whole(name):
    """A model of a family; each token meets all experts, for another choice of them would be another model."""
    return made(name, optional="all", **({"n_expert_used": 4} if name in ("qwen3moe", "gpt-oss") else {}))


def rounded(model, method):
    return by_layer.round_model(model, method, bits=8, group_size=32, calibration=TEXT, n_tokens=256)


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq"])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_family(name, method):
    model = whole(name)
    found = rounded(model, method)
    want = reference_logits(model, IDS)
    # steps of 1/127 of a group's largest weight, over a few layers of some matrices
    assert np.abs(Transformer(found, activations="float").logits(IDS) - want).max() < 0.05 * np.abs(want).max()
    matrices = {tensor for tensor, place in places(model) if place.role in ("matrix", "experts")}
    kept = {"output.weight", *(tensor for tensor in matrices if "ffn_gate_inp" in tensor)}
    changed = {t for t in matrices if not np.array_equal(found[t].dequantize(), model[t].dequantize())}
    assert changed == matrices - kept


def places(model):
    name = model.metadata["general.architecture"]
    layers, experts = (model.metadata.get(f"{name}.{key}", 0) for key in ("block_count", "expert_count"))
    return [(t, place) for t, place in ARCHITECTURES[name].names(layers, experts > 0) if t in model]


def test_an_expert_that_no_token_reaches_is_named():
    model = made("gpt-oss")
    bias = model["blk.1.ffn_gate_inp.bias"].dequantize().copy()
    bias[2] = -1e4
    model["blk.1.ffn_gate_inp.bias"] = qviz.quantize(bias, "F32")
    found = rounded(model, "gptq")
    notes = [note for note in found.notes if "no calibration token reached expert 2;" in note]
    assert [note.split(":")[0] for note in notes] == [
        "blk.1.ffn_gate_exps.weight, blk.1.ffn_up_exps.weight",
        "blk.1.ffn_down_exps.weight",
    ]
    weight = model["blk.1.ffn_up_exps.weight"].dequantize()[2]
    nearest = qviz.rtn(weight, None, qviz.AffineGrid(8, 32)).weight  # as if all its inputs were alike
    # a scale in float16 has 11 bits
    assert np.abs(found["blk.1.ffn_up_exps.weight"].dequantize()[2] - nearest).max() < 2**-10 * np.abs(weight).max()


@pytest.mark.parametrize("name", ["qwen3moe", "gemma3", "phi3", "gpt2", "gpt-oss"])
def test_a_gguf_file_of_gptq(tmp_path, name):
    model = whole(name)
    gguf.write(tmp_path / "m.gguf", model.metadata, model)
    written = by_layer.gptq_model(tmp_path / "m.gguf", tmp_path / "q.gguf", "Q8_0", calibration=TEXT, n_tokens=256)
    found = qviz.load(written.path)
    assert set(found) == set(model)
    want = reference_logits(model, IDS)
    logits = Transformer(found, activations="float").logits(IDS)
    assert np.abs(logits - want).max() < 0.05 * np.abs(want).max()
