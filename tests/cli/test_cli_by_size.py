"""``qviz quantize --size`` and ``--bpw``, through click's runner."""

import json

import pytest
from click.testing import CliRunner

import qviz
from qviz import cli, gguf
from qviz.cli.sizes import Size
from qviz.gguf import U32


def run(*args):
    return CliRunner().invoke(cli.main, ["quantize", *map(str, args)])


def test_a_file_of_at_most_that_size(tmp_path):
    tiny = qviz.load("tiny")
    names = [name for name in tiny if not name.startswith("blk.") or name.startswith("blk.0.")]
    metadata = tiny.metadata.without("llama.block_count") | {"llama.block_count": U32(1)}
    source = gguf.write(tmp_path / "in.gguf", metadata, {name: tiny[name] for name in names})
    out = tmp_path / "out.gguf"
    result = run(source, out, "--size", "1.1M", "--tokens", 512, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["bytes"] == out.stat().st_size <= 1_100_000
    assert found["kld"] > 0
    assert {name: tensor.format.name for name, tensor in qviz.load(out).items()} == found["formats"]
    small = run(source, out, "--size", "10K")  # which is told from shapes: nothing is measured
    assert small.exit_code == 2
    assert "answers depend" not in small.output
    assert "10,000 bytes are too few for this model: with the smallest formats it takes" in small.output


def test_sizes():
    assert [Size().convert(text, None, None) for text in ("120M", "1.5g", "4096", "3k", "2GB")] == [
        *(120_000_000, 1_500_000_000, 4096, 3000, 2_000_000_000),
    ]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--size", "many"), "'--size': 'many' is no size; write bytes, or 500K"),
        (("--size", "0"), "'--size': '0' is no size; write bytes, or 500K"),
        (("--size", "1M", "--bpw", "4"), "give one of them"),
        (("Q4_K_M", "--size", "1M"), "Q4_K_M is not for --size"),
        (("--size", "1M", "--bits", "4"), "--bits is not for --size"),
        (("--size", "1M", "--dry-run"), "--dry-run is for a RECIPE or --method"),
    ],
)
def test_what_does_not_go_together(tmp_path, args, says):
    result = run("tiny", tmp_path / "out.gguf", *args)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
