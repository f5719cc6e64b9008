"""Whole models: the same bytes as llama.cpp, in bounded memory, whole or not at all."""

import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import llamacpp
import numpy as np
import pytest
from recipe_models import IMATRIX_MODELS, MODELS, importance, model, weights, write_model

import qviz
from qviz import gguf, recipes
from qviz.calibration import imatrix
from qviz.errors import GGUFError, ImatrixError, ModelNotFoundError, PipelineError, QvizError, RecipeError
from qviz.formats import quantize
from qviz.whole import by_recipe

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "recipes.json").read_text(encoding="utf-8"))["sha256"]


@pytest.fixture
def folder(tmp_path):
    """An empty folder that must hold no stray files afterwards."""
    yield tmp_path
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a model of `MODELS`, written once."""
    folder = tmp_path_factory.mktemp("models")
    return functools.cache(lambda name: write_model(folder / f"{len(list(folder.iterdir()))}.gguf", name))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def small(folder, **options):
    options = {"layers": 2, **options}
    return gguf.write(folder / "small.gguf", *model(**options))


# -- the same bytes as llama.cpp


@pytest.mark.parametrize("name", MODELS)
def test_every_recipe_is_byte_identical_to_llama_cpp(folder, name):
    source = write_model(folder / "in.gguf", name)
    for rules, title in (("modern", name), ("uniform", f"{name}, uniform")):
        for recipe, expected in GOLDEN[title].items():
            out = folder / "out.gguf"
            if expected == "refused":
                with pytest.raises(QvizError, match=r"needs an importance matrix|no format takes its place"):
                    qviz.quantize_model(source, out, recipe, rules=rules)
                continue
            qviz.quantize_model(source, out, recipe, rules=rules)
            assert digest(out) == expected, f"{recipe} under {rules} rules"


@pytest.mark.parametrize("recipe", recipes.RECIPES)
@pytest.mark.parametrize("name", IMATRIX_MODELS)
def test_with_an_importance_matrix_too(folder, written, name, recipe):
    source, matrix = written(name), importance(name)
    if GOLDEN[f"{name}, imatrix"][recipe] == "refused":
        with pytest.raises(PipelineError, match=r"'blk.0.ffn_down.weight'.*does not name this tensor"):
            qviz.quantize_model(source, folder / "out.gguf", recipe, imatrix=matrix)
        return
    result = qviz.quantize_model(source, folder / "out.gguf", recipe, imatrix=matrix)
    assert digest(folder / "out.gguf") == GOLDEN[f"{name}, imatrix"][recipe]
    unnamed = {c.name for c in result.choices if c.name not in matrix and c.quantized}
    assert result.without_imatrix == [c.name for c in result.choices if c.name in unnamed and c.format is not c.source]
    assert "experts" in name or "blk.0.ffn_down.weight" in unnamed


@pytest.mark.parametrize("first", ["Q8_0", "Q4_0"])
def test_requantizing_too(folder, first):
    source = write_model(folder / "in.gguf", "plain")
    qviz.quantize_model(source, folder / "quantized.gguf", first)
    for recipe, expected in GOLDEN[f"from {first}"].items():
        qviz.quantize_model(folder / "quantized.gguf", folder / "out.gguf", recipe, allow_requantize=True)
        assert digest(folder / "out.gguf") == expected, recipe


@pytest.mark.skipif(not llamacpp.INSTALLED, reason="llama-cpp-python is not installed; its digests are checked instead")
@pytest.mark.parametrize("recipe", ["Q4_0", "Q4_K_M", "Q8_0", "F16"])
@pytest.mark.parametrize("name", MODELS)
def test_against_llama_cpp_itself(folder, name, recipe):
    source = write_model(folder / "in.gguf", name)
    done, said = llamacpp.quantize(source, folder / "theirs.gguf", recipe)
    assert done, said
    qviz.quantize_model(source, folder / "ours.gguf", recipe)
    assert digest(folder / "ours.gguf") == digest(folder / "theirs.gguf")


@pytest.mark.parametrize("piece", [1, 999, 1 << 20])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_neither_threads_nor_pieces_change_a_byte(folder, monkeypatch, threads, piece):
    source = write_model(folder / "in.gguf", "eight experts")
    monkeypatch.setattr(by_recipe, "_PIECE", piece)
    qviz.quantize_model(source, folder / "out.gguf", "Q4_K_M", threads=threads)
    assert digest(folder / "out.gguf") == GOLDEN["eight experts"]["Q4_K_M"]


# -- what is copied, and what is said about it


def test_metadata_is_copied_in_order_and_says_what_was_done(folder):
    source = small(folder)
    qviz.quantize_model(source, folder / "out.gguf", "Q5_K_S")
    before, after = gguf.read(source).metadata, gguf.read(folder / "out.gguf").metadata
    changed = ["general.quantization_version", "general.file_type"]
    assert list(after) == [key for key in before if key not in changed] + changed
    assert after["general.file_type"] == 16
    assert after["general.quantization_version"] == 2
    assert {k: after[k] for k in before if k not in changed} == {k: before[k] for k in before if k not in changed}
    assert after.types["a.wide"] == "u64"


def test_an_imatrix_file_leaves_its_traces(folder):
    source = small(folder)
    matrix = folder / ("long" * 40 + ".dat")
    imatrix.write(matrix, importance("plain"))
    qviz.quantize_model(source, folder / "out.gguf", "Q8_0", imatrix=matrix)
    meta = gguf.read(folder / "out.gguf").metadata
    assert meta["quantize.imatrix.file"] == str(matrix)[:127]
    assert meta["quantize.imatrix.dataset"] == "more.txt"
    assert meta["quantize.imatrix.entries_count"] == len(importance("plain"))
    assert meta["quantize.imatrix.chunks_count"] == 7
    assert list(meta)[-4:] == [f"quantize.imatrix.{k}" for k in ("file", "dataset", "entries_count", "chunks_count")]
    # of a plain mapping nothing is known
    qviz.quantize_model(source, folder / "plain.gguf", "Q8_0", imatrix=dict(importance("plain")))
    assert not any(key.startswith("quantize.") for key in gguf.read(folder / "plain.gguf").metadata)


@pytest.mark.parametrize("alignment", [8, 64, 256])
def test_an_unusual_alignment_gives_a_file_that_can_be_read(folder, alignment):
    metadata, tensors = model(layers=1, width=96, extra={"general.alignment": gguf.U32(alignment)})
    source = gguf.write(folder / "in.gguf", metadata, tensors)
    qviz.quantize_model(source, folder / "out.gguf", "Q4_0")
    out = gguf.read(folder / "out.gguf")
    assert out.alignment == alignment
    assert all(info.offset % alignment == 0 for info in out.tensor_info.values())
    assert (
        out["blk.0.attn_q.weight"].tobytes() == quantize(tensors["blk.0.attn_q.weight"].dequantize(), "Q4_0").tobytes()
    )


@pytest.mark.parametrize("options", [{"version": 1}, {"version": 2}, {"endian": "big"}])
def test_other_kinds_of_gguf_give_the_same_file(folder, options):
    metadata, tensors = model(layers=2)
    expected = folder / "expected.gguf"
    qviz.quantize_model(gguf.write(folder / "in.gguf", metadata, tensors), expected, "Q4_K_S")
    qviz.quantize_model(gguf.write(folder / "other.gguf", metadata, tensors, **options), folder / "out.gguf", "Q4_K_S")
    assert digest(folder / "out.gguf") == digest(expected)


def test_a_split_model_becomes_one_file(folder):
    metadata, tensors = model(layers=2)
    names = list(tensors)
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    for i, half in enumerate(halves):
        split = {"split.no": gguf.U16(i), "split.count": gguf.U16(2), "split.tensors.count": gguf.I32(len(names))}
        part = {**metadata, **split} if i == 0 else split
        gguf.write(folder / f"m-{i + 1:05}-of-00002.gguf", part, {name: tensors[name] for name in half})
    qviz.quantize_model(folder / "m-00001-of-00002.gguf", folder / "out.gguf", "Q4_0")
    qviz.quantize_model(gguf.write(folder / "in.gguf", metadata, tensors), folder / "expected.gguf", "Q4_0")
    assert digest(folder / "out.gguf") == digest(folder / "expected.gguf")


def test_the_result_tells_what_happened(folder):
    source = small(folder)
    seen = []
    result = qviz.quantize_model(source, folder / "out.gguf", "Q4_K_M", progress=lambda *step: seen.append(step))
    assert result.path == folder / "out.gguf"
    assert result.recipe.name == "Q4_K_M"
    out = gguf.read(result.path)
    assert {c.name: c.format for c in result.choices} == {name: info.format for name, info in out.tensor_info.items()}
    assert result.nbytes == sum(info.nbytes for info in out.tensor_info.values())
    assert seen[-1] == (result.choices[-1].name, result.source_nbytes, result.source_nbytes)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert result.bpw == pytest.approx(8 * result.nbytes / sum(c.n_weights for c in result.choices))


# -- what is refused, before or while


def broken(folder, value, where="blk.1.ffn_up.weight", dtype="F32"):
    metadata, tensors = model(layers=2, dtype=dtype)
    x = tensors[where].dequantize().copy()
    x.reshape(-1)[260] = value
    tensors[where] = quantize(x, tensors[where].format)
    return gguf.write(folder / "broken.gguf", metadata, tensors)


@pytest.mark.parametrize("recipe", ["Q4_0", "Q4_K_M", "F16", "BF16", "Q8_0"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_as_llama_cpp_does(folder, value, recipe):
    out = folder / "out.gguf"
    for dtype in ("F32", "F16", "BF16"):
        source = broken(folder, value, dtype=dtype)
        with pytest.raises(PipelineError, match=rf"tensor 'blk.1.ffn_up.weight' .* {value} in row 1, column 4"):
            qviz.quantize_model(source, out, recipe)
        assert not out.exists()
        if llamacpp.INSTALLED:
            assert not llamacpp.quantize(source, folder / "theirs.gguf", recipe)[0]


def test_what_is_only_copied_must_be_sound_too(folder):
    metadata, tensors = model(layers=2, width=512)
    tensors["blk.0.attn_q.bias"].blocks["x"][260] = np.nan
    source = gguf.write(folder / "in.gguf", metadata, tensors)
    with pytest.raises(PipelineError, match=r"'blk\.0\.attn_q\.bias' is damaged: it holds nan in row 0, column 260"):
        qviz.quantize_model(source, folder / "out.gguf", "F32")


@pytest.mark.parametrize(("recipe", "value"), [("F16", 1e5), ("Q4_0", 1e6), ("Q8_0", -1e8), ("Q4_K_S", 1e9)])
def test_weights_beyond_float16_are_refused(folder, recipe, value):
    with pytest.raises(PipelineError, match=r"does not fit (F16|Q4_0|Q8_0|Q4_K).*BF16"):
        qviz.quantize_model(broken(folder, value), folder / "out.gguf", recipe)
    qviz.quantize_model(broken(folder, value), folder / "out.gguf", "BF16")


def test_a_quantized_source_needs_permission(folder):
    source = small(folder)
    qviz.quantize_model(source, folder / "q4.gguf", "Q4_0")
    with pytest.raises(PipelineError, match=r"is quantized already \(Q6_K\).*allow_requantize"):
        qviz.quantize_model(folder / "q4.gguf", folder / "out.gguf", "Q8_0")
    # what keeps its format is copied
    again = qviz.quantize_model(folder / "q4.gguf", folder / "out.gguf", "Q4_0")
    assert again.source_nbytes == again.nbytes
    assert digest(folder / "out.gguf") == digest(folder / "q4.gguf")


def test_the_source_is_never_overwritten(folder):
    source = small(folder)
    before = digest(source)
    (folder / "link.gguf").symlink_to(source)
    (folder / "hard.gguf").hardlink_to(source)
    for target in ("small.gguf", "link.gguf", "hard.gguf", "../" + folder.name + "/small.gguf"):
        with pytest.raises(PipelineError, match="would replace its own source"):
            qviz.quantize_model(source, folder / target, "Q4_0")
    assert digest(source) == before


OTHER = {"of.another.model": [1.0]}


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"recipe": "Q4_9"}, RecipeError, "no recipe 'Q4_9'"),
        ({"rules": "old"}, RecipeError, "no rule set 'old'"),
        ({"recipe": "IQ4_XS", "rules": "2023-06"}, RecipeError, "did not exist in June 2023"),
        ({"src": "nowhere.gguf"}, ModelNotFoundError, "nowhere.gguf"),
        ({"dst": "nowhere/out.gguf"}, GGUFError, "folder does not exist"),
        ({"imatrix": "nowhere.dat"}, QvizError, "nowhere.dat"),
        ({"threads": 0}, PipelineError, "threads is 0; a whole number from 1 to 4,096"),
        ({"threads": 2**40}, PipelineError, "threads is 1099511627776; a whole number from 1 to 4,096"),
        ({"threads": "two"}, PipelineError, "threads is 'two'"),
        ({"imatrix": {"output.weight": [1.0, 2.0]}}, ImatrixError, "'output.weight'.*found '2 values', expected 256"),
        ({"imatrix": {"output.weight": [np.nan] * 256}}, ImatrixError, "negative, NaN"),
        ({"recipe": "Q2_K_S", "imatrix": {}}, PipelineError, "make one with `qviz imatrix MODEL OUT`"),
        ({"recipe": "Q2_K_S", "imatrix": OTHER}, PipelineError, "the one given does not name this tensor"),
        ({"dask": 7}, PipelineError, "Dask"),
    ],
)
def test_arguments_that_make_no_sense(folder, monkeypatch, change, kind, message):
    monkeypatch.chdir(folder)
    options = {"src": small(folder), "dst": folder / "out.gguf", "recipe": "Q4_0", **change}
    with pytest.raises(kind, match=message):
        qviz.quantize_model(**options)
    assert not (folder / "out.gguf").exists()


def test_an_embeddings_importance_of_the_wrong_size_is_ignored(folder):
    source = small(folder, tied=True)
    matrix = {"token_embd.weight": np.ones(7)}
    result = qviz.quantize_model(source, folder / "out.gguf", "Q8_0", imatrix=matrix)
    assert "token_embd.weight" in result.without_imatrix


def test_formats_that_cannot_be_written_are_refused_at_once(folder, monkeypatch):
    source = small(folder)
    monkeypatch.setattr(
        sys.modules["qviz.recipes.plan"],
        "RULES",
        {**recipes.RULES, "all Q8_1": (recipes.Rule("*", "*", "", "Q8_1", "a test"),)},
    )
    with pytest.raises(PipelineError, match="should become Q8_1, which can be read here but not written"):
        qviz.quantize_model(source, folder / "out.gguf", "Q4_0", rules="all Q8_1")


# -- whole or not at all


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_job_that_is_interrupted_leaves_nothing(folder, monkeypatch, threads, error):
    monkeypatch.setattr(by_recipe, "_PIECE", 256)
    source = small(folder)
    out = folder / "out.gguf"
    out.write_bytes(b"the old file")

    def stop(tensor, done, total):
        if done > total // 2:
            raise error

    with pytest.raises(error):
        qviz.quantize_model(source, out, "Q4_0", threads=threads, progress=stop)
    assert out.read_bytes() == b"the old file"
    assert sorted(path.name for path in folder.iterdir()) == ["out.gguf", "small.gguf"]


SLOW_JOB = """
    import sys, time
    from qviz.whole import by_recipe
    by_recipe._PIECE = 256
    def slowly(*step):
        print("working", flush=True)
        time.sleep(0.05)
    by_recipe.quantize_model(sys.argv[1], sys.argv[2], "Q4_0", progress=slowly)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("deadly", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_process_leaves_no_half_written_file(tmp_path, deadly):
    source, out = small(tmp_path), tmp_path / "out.gguf"
    command = [sys.executable, "-c", textwrap.dedent(SLOW_JOB), str(source), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        for _ in range(3):  # by then every kernel is compiled: LLVM's callbacks would swallow the interruption
            assert job.stdout.readline() == "working\n"
        job.send_signal(deadly)
        job.communicate(timeout=60)
    assert job.returncode != 0
    assert not out.exists()
    if deadly is signal.SIGINT:  # the others give no chance to clean up
        assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]


def test_a_full_disk_is_an_error_with_a_name(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GGUFError, match="No space left on device"):
        qviz.quantize_model(small(folder), folder / "out.gguf", "Q4_0")
    assert not (folder / "out.gguf").exists()


# -- memory

PEAK = """
    import sys, resource, threading
    from pathlib import Path
    import qviz
    def rss():  # resident memory, mapped files included
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    src, dst = sys.argv[1:3]
    qviz.quantize_model(sys.argv[3], dst, "Q4_0")  # compiles, imports
    before = peak = rss()
    def watch(*step):
        global peak
        peak = max(peak, rss())
    qviz.quantize_model(src, dst, "Q4_0", threads=2, progress=watch)
    print(peak - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_memory_does_not_grow_with_the_model(tmp_path, dtype):
    largest = 1 << 21  # weights
    tensor = quantize(weights("w", (largest // 512, 512)), dtype)
    tensors = {f"blk.{i}.ffn_up.weight": tensor for i in range(24)}
    source = gguf.write(tmp_path / "in.gguf", {"general.architecture": "llama"}, tensors)
    tiny = small(tmp_path, dtype=dtype)
    command = [sys.executable, "-c", textwrap.dedent(PEAK), str(source), str(tmp_path / "out.gguf"), str(tiny)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert source.stat().st_size > 10 * 4 * largest or dtype == "F16"
    assert grown <= 4 * 4 * largest


@pytest.mark.parametrize("dst", ["", ".", "/"])
def test_parts_need_a_name_to_be_numbered(tmp_path, monkeypatch, dst):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match="name a file"):
        qviz.quantize_model(qviz.load("tiny").path, dst, "Q8_0", switches=recipes.Switches(keep_split=True))
    assert not list(tmp_path.iterdir())
