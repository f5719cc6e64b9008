"""Names where a command takes a model, and options that do not go together."""

import json

import pytest
from click.testing import CliRunner

from qviz import cli


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(cli.main, [str(arg) for arg in args])


def test_names_of_models_wherever_a_model_is_taken(run, tmp_path):
    assert "general.architecture" in run("inspect", "tiny").output
    dry = run("quantize", "tiny", "out.gguf", "Q4_0", "--dry-run")
    assert (dry.exit_code, "F16 → Q4_0" in dry.output) == (0, True)
    packed = run("quantize", "tiny", "out", "--method", "rtn", "--dry-run", "--json")
    assert json.loads(packed.stdout)["matrices"] == 56
    assert run("quantize", "tiny", "out", "Q4_0", "--method", "gptq", "--dry-run").exit_code == 0
    assert list(tmp_path.iterdir()) == []
    made = run("quantize", "smollm2-slices", "out.gguf", "Q8_0", "--allow-requantize")
    assert made.exit_code == 0, made.output
    assert "open it with qviz.gguf.read" in run("convert", "tiny", "new.gguf").output


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "tyny"),
        ("quantize", "tyny", "out.gguf", "Q4_0"),
        ("quantize", "tyny", "out.gguf", "Q4_0", "--dry-run"),
        ("quantize", "tyny", "out", "--method", "rtn"),
        ("perplexity", "tyny"),
        ("perplexity", "tiny", "--baseline", "tyny"),
        ("fetch", "tyny"),
    ],
)
def test_a_name_that_is_none(run, command):
    result = run(*command)
    assert result.exit_code == 2
    assert "'tyny'; did you mean 'tiny'?; known models: smollm2, gemma3-270m, whisper-tiny.en, tiny, " in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("Q4_0", "--rules", "nonsense"), "no rule set 'nonsense'"),
        (("Q4_0", "--rules", "nonsense", "--dry-run"), "no rule set 'nonsense'"),
        (("Q4_0", "--rules", "nonsense", "--method", "gptq"), "no rule set 'nonsense'"),
        (("Q4_0", "--rules", "nonsense", "--method", "gptq", "--dry-run"), "no rule set 'nonsense'"),
        (("--rules", "nonsense", "--method", "rtn"), "--rules is for a RECIPE"),
        (("--rules", "modern", "--method", "awq"), "--rules is for a RECIPE"),
        (("Q4_0", "--threads", 2, "--dask", "tcp://x:1"), "--threads is for this machine"),
        (("Q4_0", "--threads", 0), "Invalid value for '--threads'"),
        (("Q4_0", "--calibration", "x"), "--calibration is for --method"),
        (("Q4_0", "--tokens", 9), "--tokens is for --method"),
        (
            ("--method", "rtn", "--calibration", "x"),
            "--calibration is for gptq, awq, adaround, autoround, recommended, not for rtn",
        ),
        (
            ("--method", "rtn", "--tokens", 9),
            "--tokens is for gptq, awq, adaround, autoround, recommended, not for rtn",
        ),
        (("--method", "gptq", "--tokens", 0), "Invalid value for '--tokens'"),
        (("--method", "gptq", "--threads", 2), "--threads is not for --method"),
        (("--method", "gptq", "--dask", "x"), "--dask is not for --method"),
        (("Q4_0", "--imatrix", "nowhere.dat", "--dry-run"), "nowhere.dat"),
    ],
)
def test_options_that_do_not_go_together_are_named(run, tmp_path, options, said):
    result = run("quantize", "tiny", "out", *options)
    assert result.exit_code == 2
    assert said in result.output.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_inspect_full_needs_what_it_is_for(run):
    assert "--full is for metadata" in run("inspect", "tiny", "--full", "--no-metadata").output
