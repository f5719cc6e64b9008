"""``qviz convert``, and ``qviz inspect`` on files from before GGUF."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import hf_folders as folders
import legacy_files as old
import pytest
from click.testing import CliRunner, Result

from qviz import gguf
from qviz.cli import main
from qviz.gguf.writer import TensorStream


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def legacy_file(tmp_path: Path) -> Path:
    path = tmp_path / "ggml-model-q4_0.bin"
    tensors = old.llama_tensors(old.V1["Q4_0_v1"])
    path.write_bytes(old.llama_file(tensors, old.hparams(2), old.tokens(), "GGMF", 1))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folders.folder(tmp_path / "model", folders.byte_level("gpt-2"))
    return tmp_path / "model"


def test_convert_a_folder(folder: Path, tmp_path: Path) -> None:
    result = run("convert", folder, tmp_path / "out.gguf", "--type", "bf16", "--name", "Mine", "--pre", "falcon")
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "out.gguf"))
    file = gguf.read(tmp_path / "out.gguf")
    assert file["output.weight"].format == "BF16"
    assert (file.metadata["general.name"], file.metadata["tokenizer.ggml.pre"]) == ("Mine", "falcon")


def test_convert_says_what_is_lost(folder: Path, tmp_path: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(
        path.read_text("utf-8").replace('"lstrip": false', '"lstrip": true').replace("<|pad|>", "<\\u001bd>")
    )
    result = run("convert", folder, tmp_path / "out.gguf")
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "out.gguf"))
    assert result.stderr.strip().splitlines() == [
        "warning: model: some tokens take the blanks before them (lstrip), which no GGUF file can say: "
        r"'<|begin|>', '<|end|>', '<\x1bd>' ..."
    ]


def test_convert_a_file(legacy_file: Path, tmp_path: Path) -> None:
    options = ("--inexact", "round", "--context-length", 4096, "--rms-eps", "1e-5")
    result = run("convert", legacy_file, tmp_path / "out.gguf", *options)
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "out.gguf"))
    file = gguf.read(tmp_path / "out.gguf")
    assert file["output.weight"].format == "Q4_0"
    assert file.metadata["llama.context_length"] == 4096


def test_options_for_the_other_kind(legacy_file: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    for source, option in ((legacy_file, "--type=f16"), (legacy_file, "--pre=x"), (folder, "--inexact=F16")):
        result = run("convert", source, out, option)
        assert result.exit_code == 2
        assert f"{option.partition('=')[0]} is for a " in result.stderr
        assert not out.exists()


def test_refusals_are_one_line(legacy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.bin").write_bytes(b"junk" * 10)
    for source, problem in (("junk.bin", "not a GGML"), ("nothing", "no file"), ("", "config.json")):
        result = run("convert", tmp_path / source, tmp_path / "out.gguf")
        assert result.exit_code == 2
        assert problem in result.stderr
        assert "\n" not in result.stderr.strip()
    before = legacy_file.read_bytes()
    result = run("convert", legacy_file, legacy_file)
    assert "would replace its own source" in result.stderr
    assert legacy_file.read_bytes() == before


def test_inspect_a_file_from_before_gguf(legacy_file: Path) -> None:
    result = run("inspect", legacy_file)
    assert result.exit_code == 0
    assert "GGMF version 1" in result.stdout
    assert "layers.1.feed_forward.w2.weight" in result.stdout
    shown = json.loads(run("inspect", legacy_file, "--json").stdout)
    assert (shown["container"], shown["version"], shown["metadata"]["n_embd"]["value"]) == ("GGMF", 1, old.N_EMBD)
    assert shown["formats"]["Q4_0_v1"]["bpw"] == 5.0


def test_reading_one_as_gguf_says_what_to_run(legacy_file: Path) -> None:
    with pytest.raises(gguf.reader.GGUFError, match=r"a GGMF file from before GGUF; .*`qviz convert`"):
        gguf.read(legacy_file)


@pytest.mark.parametrize("source", ["folder", "legacy_file"])
def test_ctrl_c_leaves_nothing(
    source: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, appended, append = request.getfixturevalue(source), [], TensorStream.append

    def interrupt(stream: TensorStream, blocks: object) -> None:
        append(stream, blocks)
        appended.append(blocks)
        if len(appended) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TensorStream, "append", interrupt)
    # whoever runs the tests may ignore the signal, or answer it otherwise, as a background job and xdist do
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    result = run("convert", model, tmp_path / "out.gguf")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "interrupted")
    assert list(tmp_path.iterdir()) == [model]
    assert len(appended) == 3
