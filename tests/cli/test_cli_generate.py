"""``qviz generate`` and ``qviz imatrix``."""

import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

import qviz
from qviz import cli, gguf, transformer
from qviz.calibration import imatrix

PROMPT = "The Government of the United"


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(cli.main, [str(arg) for arg in args])


@pytest.fixture
def talking(tmp_path):
    """The small model with a template for chats."""
    model = qviz.load("tiny")
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}. {% endfor %}The answer is"
    return gguf.write(tmp_path / "talking.gguf", model.metadata | {"tokenizer.chat_template": template}, model.file)


def test_it_continues_a_prompt(run):
    result = run("generate", "tiny", PROMPT, "--max-tokens", 8)
    llama = transformer.Transformer(qviz.load("tiny"))
    assert (result.exit_code, result.stdout) == (0, "".join(transformer.generate(llama, PROMPT, 8)) + "\n")
    drawn = [run("generate", "tiny", PROMPT, "--max-tokens", 8, "--temp", 2, "--seed", s).stdout for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert run("generate", "tiny", PROMPT, "--temp", 5, "--top-k", 1, "--max-tokens", 8).stdout == result.stdout
    assert run("generate", "tiny", PROMPT, "--max-tokens", 0).stdout == "\n"


def test_it_answers(run, talking):
    result = run("generate", "talking.gguf", "Who are you?", "--chat", "--max-tokens", 8)
    assert result.exit_code == 0, result.output
    llama = transformer.Transformer(qviz.load(talking))
    ids = llama.tokenizer.encode("user: Who are you?. The answer is", bos=False, eos=False, special=True)
    expected = "".join(llama.tokenizer.stream(transformer.generate_tokens(llama, ids, 8)))
    assert result.stdout == expected + "\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny", "x", "--chat"), "the model has no tokenizer.chat_template"),
        (("tyny", "x"), "did you mean 'tiny'?"),
        (("tiny", "x", "--temp", "-1"), "-1.0 is not in the range"),
        (("tiny", "x", "--top-p", "0"), "0.0 is not in the range"),
        (("tiny", "word " * 400), "the model's context is 256"),
        (("smollm2-slices", "x"), "the file holds only a part of a model"),
    ],
)
def test_it_refuses_in_one_sentence(run, arguments, said):
    result = run("generate", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert result.stdout == ""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_the_line():
    command = [sys.executable, "-m", "qviz", "generate", "tiny", PROMPT, "--max-tokens", "250", "--temp", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        begun = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert begun
    assert (process.returncode, err.decode()) == (130, "interrupted\n")
    assert out.endswith(b"\n")


def test_imatrix(run, tmp_path):
    (tmp_path / "text.txt").write_text("The state of the Union is as it is. " * 40)
    result = run("imatrix", "tiny", "out.dat", "--text", "text.txt", "--ctx", 64, "--chunks", 3)
    assert (result.exit_code, result.stdout) == (0, "out.dat\n"), result.output
    found = imatrix.read("out.dat")
    assert (found.legacy, found.datasets, found.chunk_count, len(found)) == (True, ("text.txt",), 3, 56)
    assert run("imatrix", "tiny", "out.gguf", "--text", "text.txt", "--ctx", 64).exit_code == 0
    assert imatrix.read("out.gguf").chunk_size == 64
    few = run("imatrix", "tiny", "none.gguf", "--text", "text.txt", "--ctx", 256)
    assert (few.exit_code, "importance needs at least two" in few.output) == (2, True)
    assert not (tmp_path / "none.gguf").exists()
