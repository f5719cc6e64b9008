"""whisper.cpp's own files: the same bytes as its ``quantize`` tool, and as a plain writer with libggml's blocks."""

import hashlib
import json
from pathlib import Path

import ggml
import legacy_files as old
import numpy as np
import pytest
import whisper_models as made
from click.testing import CliRunner

import qviz
from qviz import cli
from qviz.errors import PipelineError, QvizError, RecipeError
from qviz.formats import get
from qviz.gguf import legacy
from qviz.recipes import whisper as recipes
from qviz.whole import by_recipe

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "whisper.json").read_text(encoding="utf-8"))
SMALL = [(width, half, f"{width} wide, {'F16' if half else 'F32'}") for width in (64, 256) for half in (True, False)]


def write(path, width=64, half=True, **changes):
    tensors = made.tensors(width, half=half) | changes
    header = (*old.whisper_header(width), int(half))
    path.write_bytes(old.whisper_file(tensors, header, made.TOKENS, made.MEL))
    return path


@pytest.mark.parametrize(("width", "half", "title"), SMALL, ids=lambda value: str(value))
def test_every_format_is_byte_identical_to_whisper_cpps_tool(tmp_path, width, half, title):
    source, expected = write(tmp_path / "in.bin", width, half), dict(GOLDEN[title])
    assert hashlib.sha256(source.read_bytes()).hexdigest() == expected.pop("source")
    for recipe, digest in expected.items():
        result = qviz.quantize_model(source, tmp_path / "out.bin", recipe.lower())
        assert hashlib.sha256(result.path.read_bytes()).hexdigest() == digest, recipe
        assert result.recipe.name == recipe
    assert set(expected) == {name for name in recipes.RECIPES if width % get(name).block_size == 0}


@pytest.mark.parametrize("recipe", {**made.RECIPES, **made.K_RECIPES})
def test_every_format_as_a_plain_writer_puts_libggmls_blocks(tmp_path, recipe):
    source, expected = write(tmp_path / "in.bin", 256), {}
    for name, matrix in made.tensors(256, half=True).items():
        if old.is_whisper_matrix(name):
            matrix = matrix._replace(type_id=get(recipe).type_id, raw=ggml.quantize(matrix.values, recipe))
        expected[name] = matrix
    header = (*old.whisper_header(256), 2000 + {**made.RECIPES, **made.K_RECIPES}[recipe])
    qviz.quantize_model(source, tmp_path / "out.bin", recipe, threads=1)
    assert (tmp_path / "out.bin").read_bytes() == old.whisper_file(expected, header, made.TOKENS, made.MEL)


@pytest.mark.parametrize(("piece", "threads"), [(32, 1), (1000, 3), (1 << 19, 2)])
def test_neither_pieces_nor_threads_change_a_byte(tmp_path, monkeypatch, piece, threads):
    monkeypatch.setattr(by_recipe, "_PIECE", piece)
    seen = []
    source = write(tmp_path / "in.bin")
    result = qviz.quantize_model(
        source, tmp_path / "out.bin", "Q5_1", threads=threads, progress=lambda *now: seen.append(now)
    )
    assert hashlib.sha256(result.path.read_bytes()).hexdigest() == GOLDEN["64 wide, F16"]["Q5_1"]
    assert seen[-1][1:] == (result.source_nbytes, result.source_nbytes)


def test_the_command_line_and_what_it_made(tmp_path):
    source, out = write(tmp_path / "in.bin"), tmp_path / "out.bin"
    dry = CliRunner().invoke(cli.main, ["quantize", str(source), str(out), "q5_1", "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "position embeddings" in next(line for line in dry.stdout.splitlines() if line.startswith("decoder.pos"))
    assert not out.exists()
    done = CliRunner().invoke(cli.main, ["quantize", str(source), str(out), "q5_1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["recipe"] == "Q5_1"
    shown = CliRunner().invoke(cli.main, ["inspect", str(out), "--json"])
    assert {t["format"] for t in json.loads(shown.stdout)["tensors"]} == {"F32", "F16", "Q5_1"}
    model = qviz.load(out)
    assert model["decoder.token_embedding.weight"].format == "Q5_1"
    assert model.summary.startswith("out.bin: whisper")


def test_a_quantized_source_needs_permission(tmp_path):
    source = write(tmp_path / "in.bin")
    qviz.quantize_model(source, tmp_path / "q8.bin", "Q8_0")
    with pytest.raises(PipelineError, match="is quantized already"):
        qviz.quantize_model(tmp_path / "q8.bin", tmp_path / "out.bin", "Q4_0")
    result = qviz.quantize_model(tmp_path / "q8.bin", tmp_path / "out.bin", "Q4_0", allow_requantize=True)
    name = "decoder.blocks.0.attn.key.weight"
    again = legacy.read(tmp_path / "q8.bin")[name].dequantize()
    assert legacy.read(result.path)[name].tobytes() == ggml.quantize(again, "Q4_0")


def test_older_layouts_become_todays(tmp_path):
    rng = np.random.default_rng(0)
    tensors = made.tensors(64, half=True)
    old_ones = {name: old.V1["Q4_0_v1"](rng, m.shape) for name, m in tensors.items() if old.is_whisper_matrix(name)}
    data = old.whisper_file(tensors | old_ones, (*old.whisper_header(64), 2), made.TOKENS, made.MEL)
    (tmp_path / "old.bin").write_bytes(data)
    qviz.quantize_model(tmp_path / "old.bin", tmp_path / "out.bin", "Q8_0", allow_requantize=True)
    out = legacy.read(tmp_path / "out.bin")
    assert (out.layout, out.header["ftype"]) == (3, 2007)
    for name, matrix in old_ones.items():
        assert out[name].tobytes() == ggml.quantize(matrix.values, "Q8_0")


@pytest.mark.parametrize(
    ("recipe", "options", "kind", "message"),
    [
        ("Q4_K", {}, RecipeError, r"Q4_K does not fit .*rows of 64 .*what fits is Q8_0, Q5_1, Q5_0, Q4_1, Q4_0$"),
        ("Q4_K_M", {}, RecipeError, "one format throughout: no recipe 'Q4_K_M'"),
        ("F16", {}, RecipeError, "one format throughout: no recipe 'F16'"),
        (None, {}, RecipeError, "no recipe None"),
        ("Q8_0", {"rules": "uniform"}, PipelineError, "leave out rules='uniform'"),
        ("Q8_0", {"imatrix": {"a.tensor": [1.0]}}, PipelineError, "leave out an importance matrix"),
    ],
)
def test_what_such_a_file_cannot_be(tmp_path, recipe, options, kind, message):
    with pytest.raises(kind, match=message):
        qviz.quantize_model(write(tmp_path / "in.bin"), tmp_path / "out.bin", recipe, **options)
    assert not (tmp_path / "out.bin").exists()


def test_what_it_refuses_to_copy(tmp_path):
    rng, out = np.random.default_rng(0), tmp_path / "out.bin"
    column = np.full((64, 1), np.nan, np.float32)
    damaged = old.Matrix(old.F32, column.shape, column.tobytes(), column)
    with pytest.raises(PipelineError, match=r"'encoder\.conv1\.bias' is damaged: it holds nan"):
        qviz.quantize_model(write(tmp_path / "in.bin", **{"encoder.conv1.bias": damaged}), out, "Q8_0")
    block = old.V1["Q4_0_v1"](rng, (64,))
    with pytest.raises(RecipeError, match=r"'decoder\.ln\.bias' is stored in Q4_0_v1; whisper\.cpp wants F32 or F16"):
        qviz.quantize_model(write(tmp_path / "in.bin", **{"decoder.ln.bias": block}), out, "Q8_0")
    write(tmp_path / "in.bin")
    with pytest.raises(PipelineError, match="choose another name"):
        qviz.quantize_model(tmp_path / "in.bin", tmp_path / "in.bin", "Q8_0")
    llama = old.llama_file(old.llama_tensors(old.f16), old.hparams(1), old.tokens())
    (tmp_path / "llama.bin").write_bytes(llama)
    with pytest.raises(PipelineError, match="run `qviz convert` on it"):
        qviz.quantize_model(tmp_path / "llama.bin", out, "Q8_0")
    assert not out.exists()


def test_a_file_cut_short_while_it_is_read(tmp_path):
    source, out = write(tmp_path / "in.bin"), tmp_path / "out.bin"

    def cut(*_):
        source.write_bytes(source.read_bytes()[:-100])

    with pytest.raises(QvizError, match="shrank while it was open"):
        qviz.quantize_model(source, out, "Q8_0", threads=1, progress=cut)
    assert not out.exists()
