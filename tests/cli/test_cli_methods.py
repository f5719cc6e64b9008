"""``qviz quantize --method``, through click's runner and as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner

import qviz
from qviz import checkpoints, cli, gguf
from qviz.cli.by_method import _shared
from qviz.gguf import U32


@pytest.fixture
def run():
    return lambda *args: CliRunner().invoke(cli.main, ["quantize", *map(str, args)])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """One layer of the small model."""
    tiny = qviz.load("tiny")
    names = [name for name in tiny if not name.startswith("blk.") or name.startswith("blk.0.")]
    metadata = tiny.metadata.without("llama.block_count") | {"llama.block_count": U32(1)}
    return gguf.write(tmp_path_factory.mktemp("models") / "in.gguf", metadata, {name: tiny[name] for name in names})


def test_a_folder(run, source, tmp_path):
    out = tmp_path / "out"
    result = run(source, out, "--method", "gptq", "--group-size", 64, "--tokens", 512, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["method"], found["bits"], found["group_size"], found["checkpoint"]) == ("gptq", 4, 64, "gptq_v2")
    assert found["options"] == {"act_order": True}
    assert found["path"] == str(out)
    layers = checkpoints.read_packed(out)
    assert len(layers) == found["matrices"] == 7
    # codes; a scale and a zero point for 64; 32 bits for the group of each of 6 · 256 + 768 columns
    weights = 4 * 256 * 256 + 3 * 256 * 768
    assert found["bpw"] == pytest.approx(4 + 20 / 64 + 32 * (6 * 256 + 768) / weights)
    plain = run(source, tmp_path / "b", "--method", "gptq", "--no-act-order", "--tokens", 512, "--bits", 3, "--sym")
    assert plain.exit_code == 0, plain.output
    assert plain.stdout.endswith("3.125 bits per weight in the layers' matrices\n")
    settings = json.loads((tmp_path / "b" / "config.json").read_text("utf-8"))["quantization_config"]
    assert (settings["checkpoint_format"], settings["desc_act"], settings["bits"]) == ("gptq", False, 3)


def test_awq_with_clip_and_a_text_of_ones_own(run, source, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("Call me Ishmael. Some years ago, never mind how long precisely. " * 40, "utf-8")
    result = run(source, tmp_path / "out", "--method", "awq", "--clip", "--calibration", text, "--tokens", 512)
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))["quantization_config"]
    assert (settings["quant_method"], settings["version"]) == ("awq", "gemm")
    again = run(source, tmp_path / "out", "--method", "awq")
    assert again.exit_code == 2
    assert "not empty" in again.stderr
    short = run(source, tmp_path / "other", "--method", "awq", "--calibration", text)
    assert "give a longer text, or ask for fewer tokens" in short.stderr


@pytest.mark.parametrize("recipe", [("Q4_K_S",), ("--format", "Q4_K_S")])
def test_gguf_by_gptq(run, source, tmp_path, recipe):
    out = tmp_path / "out.gguf"
    result = run(source, out, *recipe, "--method", "gptq", "--tokens", 512, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["recipe"] == "Q4_K_S"
    plan = qviz.recipes.plan(gguf.read(source), gguf.read(source).metadata, "Q4_K_S")
    assert {n: t.format for n, t in gguf.read(out).items()} == {c.name: c.format for c in plan}
    assert found["bytes"] == sum(c.nbytes for c in plan)
    dry = run(source, tmp_path / "no.gguf", *recipe, "--method", "gptq", "--dry-run", "--json")
    assert json.loads(dry.stdout)["bytes"] == found["bytes"]
    assert "F16 → Q4_K" in run(source, tmp_path / "no.gguf", *recipe, "--method", "gptq", "--dry-run").stdout
    assert not (tmp_path / "no.gguf").exists()


def test_gptq_measures_the_importance_that_a_recipe_needs(run, source, tmp_path):
    """What a layer's inputs say is an importance matrix; the embedding has none, so it may not need one."""
    result = run(source, tmp_path / "out.gguf", "IQ2_XXS", "--method", "gptq", "--tokens", 512)
    assert result.exit_code == 0, result.output
    assert "IQ2_XXS" in {t.format.name for t in gguf.read(tmp_path / "out.gguf").values()}
    result = run(source, tmp_path / "few.gguf", "IQ1_S", "--method", "gptq", "--tokens", 512)
    assert result.exit_code == 0, result.output
    assert "the codes of IQ1_S cannot be chosen one by one" in result.stderr + result.stdout
    refused = run(source, tmp_path / "no.gguf", "IQ2_XS", "--method", "gptq", "--rules", "uniform")
    assert refused.exit_code == 2
    assert "only matrices of layers are calibrated here" in " ".join(refused.stderr.split())


def test_a_dry_run_writes_nothing(run, source, tmp_path):
    result = run(source, tmp_path / "out", "--method", "awq", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "blk.0.attn_q.weight  256 × 256  awq, 4 bit" in result.stdout
    assert "7 matrices, awq layout" in result.stdout
    found = json.loads(run(source, tmp_path / "out", "--method", "awq", "--dry-run", "--json").stdout)
    assert found["dry_run"]
    assert len(found["tensors"]) == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "obq"), "no method 'obq'"),
        (("--bits", "4"), "--bits is for --method"),
        ((), "Missing argument 'RECIPE'"),
        (("--method", "awq", "--bits", "3", "--checkpoint", "awq"), "4 bits only"),
        (("--method", "awq", "Q4_K"), "RECIPE goes with gptq"),
        (("--method", "gptq", "Q4_K", "--bits", "4"), "--bits is for packed folders"),
        (("--method", "gptq", "Q4_K", "--format", "Q4_0"), "RECIPE is given twice"),
        (("--method", "gptq", "--clip"), "--clip is for awq"),
        (("--method", "rtn", "--act-order"), "--act-order is for gptq"),
        (("--method", "rtn", "--group-size", "96"), "not whole groups of 96"),
        (("--method", "rtn", "--imatrix", "m"), "--imatrix is not for --method"),
        (("--method", "gptq", "--tokens", "99999999"), "give a longer text"),
        (("--method", "gptq", "--calibration", "nowhere.txt"), "nowhere.txt: the text cannot be read"),
    ],
)
def test_refusals_are_one_line(run, source, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(source, "out", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_notes_are_said_once_for_all_layers():
    notes = ["blk.0.attn_output.weight: rounded without", "blk.1.attn_output.weight: rounded without", "beware: v1"]
    assert list(_shared(notes)) == ["blk.0.attn_output.weight and 1 more: rounded without", "beware: v1"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_polite_kill_cleans_up(source, tmp_path):
    code = """
        import sys, time
        from qviz import cli, methods
        rtn = methods.rtn
        def slowly(*args):
            sys.stdout.write("working\\n")
            sys.stdout.flush()
            time.sleep(20)
            return rtn(*args)
        methods.rtn = slowly
        cli.main()
    """
    arguments = ["quantize", str(source), str(tmp_path / "out"), "--method", "rtn"]
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "working\n"
        job.send_signal(signal.SIGTERM)
        _, said = job.communicate(timeout=60)
    assert job.returncode != 0
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
