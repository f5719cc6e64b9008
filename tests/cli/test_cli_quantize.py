"""``qviz quantize``, through click's runner and as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner
from recipe_models import importance, model

from qviz import cli, gguf
from qviz.calibration import imatrix


@pytest.fixture
def run():
    return lambda *args: CliRunner().invoke(cli.main, ["quantize", *map(str, args)])


@pytest.fixture
def source(tmp_path):
    return gguf.write(tmp_path / "in.gguf", *model(layers=2))


def test_it_writes_the_model_and_sums_up(run, source, tmp_path):
    out = tmp_path / "out.gguf"
    result = run(source, out, "q8_0", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert gguf.read(out)["blk.0.attn_q.weight"].format == "Q8_0"
    assert result.stdout.startswith(f"{sum(t.nbytes for t in gguf.read(source).values()):,} bytes")


def test_a_dry_run_gives_a_reason_for_every_tensor_and_writes_nothing(run, source, tmp_path):
    result = run(source, tmp_path / "out.gguf", "Q4_K_S", "--dry-run")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "out.gguf").exists()
    line = next(line for line in result.stdout.splitlines() if line.startswith("blk.0.attn_v.weight"))
    assert "2 × 256" in line
    assert "F32 → Q5_K" in line
    assert line.endswith("this is one of the first four")
    plain = run(source, tmp_path / "out.gguf", "Q4_K_S", "--dry-run", "--rules", "uniform")
    assert "F32 → Q4_K" in next(line for line in plain.stdout.splitlines() if line.startswith("output.weight"))


def test_json(run, source, tmp_path):
    out, matrix = tmp_path / "out.gguf", imatrix.write(tmp_path / "m.dat", importance("plain"))
    result = run(source, out, "Q8_0", "--imatrix", matrix, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["recipe"], found["rules"], found["path"]) == ("Q8_0", "modern", str(out))
    assert found["without_imatrix"] == ["token_embd.weight"] or "blk.0.ffn_down.weight" in found["without_imatrix"]
    assert {t["name"]: t["format"] for t in found["tensors"]} == {n: t.format.name for n, t in gguf.read(out).items()}
    assert found["bytes"] == sum(t.nbytes for t in gguf.read(out).values())
    dry = json.loads(run(source, out, "Q8_0", "--json", "--dry-run").stdout)
    assert dry["bytes"] == found["bytes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.gguf", "out.gguf", "Q4_0"), "nowhere.gguf"),
        (("{}", "out.gguf", "Q4_9"), "no recipe 'Q4_9'"),
        (("{}", "{}", "Q4_0"), "would replace its own source"),
        (("{}", "out.gguf", "Q4_0", "--rules", "old"), "no rule set 'old'"),
        (("{}", "out.gguf", "Q2_K_S"), "needs an importance matrix"),
    ],
)
def test_refusals_are_one_line(run, source, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*(argument.format(source) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("polite", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_kill_cleans_up(source, tmp_path, polite):
    code = """
        import sys, time
        from qviz import cli
        from qviz.whole import by_recipe
        from qviz.whole.workers import pools
        by_recipe._PIECE = 256
        convert = pools.convert
        def slowly(piece):
            sys.stdout.write("working\\n")
            sys.stdout.flush()
            time.sleep(0.1)
            return convert(piece)
        pools.convert = slowly
        cli.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), "quantize", str(source), str(tmp_path / "o.gguf"), "Q4_0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "working\n"
        job.send_signal(polite)
        _, said = job.communicate(timeout=60)
    assert job.returncode != 0
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.gguf"]
