"""``qviz compare``, and the comparison behind it."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import qviz
from qviz import cli, gguf, metrics, models, transformer
from qviz.measure import difference


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(cli.main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def rounded(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "small.gguf"
    return qviz.quantize_model(models.load("tiny").path, path, "Q3_K_S").path


def test_tensors_and_text(rounded, monkeypatch):
    a, b = qviz.load("tiny"), qviz.load(rounded)
    monkeypatch.setattr(difference, "_PIECE", 5000)
    found = difference.compare_models(a, b, models.heldout_text(), max_tokens=300)
    assert [tensor.name for tensor in found.tensors] == list(a)
    for tensor in found.tensors[:12]:
        x, y = a[tensor.name], b[tensor.name]
        assert (tensor.format_b, tensor.bytes_b) == (str(y.format), y.nbytes)
        if x.tobytes() == y.tobytes():
            assert tensor.sqnr_db == math.inf
        else:
            expected = metrics.sqnr_db(x.dequantize(), y.dequantize())
            assert tensor.sqnr_db == pytest.approx(expected, abs=1e-6)  # stated: both sum as float64
    assert found.quality == qviz.perplexity(b, models.heldout_text(), a, max_tokens=300)
    llama = transformer.Transformer(a)
    prompt = llama.tokenizer.encode(models.heldout_text()[:1000], eos=False)[:32]
    both = [list(transformer.generate_tokens(transformer.Transformer(m), prompt, 64)) for m in (a, b)]
    step = found.parting.step
    assert both[0][:step] == both[1][:step]
    assert both[0][step] != both[1][step]


def test_equal_models_never_part():
    a = qviz.load("tiny")
    found = difference.compare_models(a, qviz.load("tiny"), models.heldout_text()[:3000], max_tokens=100)
    assert {tensor.sqnr_db for tensor in found.tensors} == {math.inf}
    assert (found.quality.kld, found.quality.same_top, found.parting.step) == (0, 1, None)


def test_the_command(run, rounded):
    result = run("compare", "tiny", rounded, "--max-tokens", 100)
    assert result.exit_code == 0, result.output
    assert "same first choice" in result.stdout
    assert "greedy continuations of 64 tokens part at token" in result.stdout
    told = json.loads(run("compare", "tiny", rounded, "--no-text", "--json").stdout)
    assert (told["quality"], told["parting"], told["only_a"]) == (None, None, [])
    assert told["bytes_a"] == sum(t.nbytes for t in qviz.load("tiny").values())
    row = next(t for t in told["tensors"] if t["name"] == "blk.0.attn_norm.weight")
    assert (row["format_a"], row["sqnr_db"]) == ("F32", "inf")


def test_files_that_do_not_run_or_differ_in_shape(run, tmp_path):
    ones = np.ones((2, 32), np.float32)
    gguf.write(tmp_path / "a.gguf", {}, {"same": ones, "other": ones, "a": ones, "none": np.zeros(0, np.float32)})
    gguf.write(tmp_path / "b.gguf", {}, {"same": qviz.quantize(ones, "Q8_0"), "other": ones[:1], "b": ones * 0})
    result = run("compare", "a.gguf", "b.gguf")
    assert result.exit_code == 0, result.output
    assert "only in a.gguf, or there in another shape: other, a, none" in result.stdout
    assert "only in b.gguf, or there in another shape: other, b" in result.stdout
    assert "no text was read: " in result.stdout
    (tmp_path / "t.txt").write_text("x")
    strict = run("compare", "a.gguf", "b.gguf", "--text", "t.txt")
    assert strict.exit_code == 2
    assert len(strict.output.strip().splitlines()) == 1
    assert run("compare", "a.gguf", "b.gguf", "--text", "t.txt", "--no-text").exit_code == 2
    assert "did you mean 'tiny'" in run("compare", "tiny", "tyny").output
