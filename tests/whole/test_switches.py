"""Every switch of llama-quantize: the same files, by the same command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from recipe_models import model
from switch_cases import CASES, digests, prepare

import qviz
from qviz import cli, gguf, recipes
from qviz.errors import PipelineError, QvizError, RecipeError
from qviz.recipes import Switches, TensorType

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "switches.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(cli.main, ["quantize", *map(str, args)])


@pytest.mark.parametrize("name", CASES)
def test_the_files_are_those_of_llama_quantize(tmp_path, run, name):
    case = CASES[name]
    source, matrix = prepare(tmp_path, case)
    (tmp_path / "out").mkdir()
    given = ["--imatrix", matrix.name] if matrix is not None else []
    done = run(source.name, "out/new.gguf", case.recipe, *given, *case.arguments)
    assert done.exit_code == 0, done.output
    assert digests(tmp_path / "out") == GOLDEN[name]


def plan(switches, recipe="Q4_K_S", **options):
    metadata, tensors = model(**options)
    return {c.name: c for c in recipes.plan(tensors, metadata, recipe, switches=switches)}


def test_a_dry_run_says_which_switch_decided(run, tmp_path):
    gguf.write(tmp_path / "in.gguf", *model(layers=2))
    arguments = ("--tensor-type", "attn_q=q8_0", "--leave-output-tensor", "--dry-run")
    lines = run("in.gguf", "out.gguf", "Q4_K_S", *arguments).stdout.splitlines()
    said = {line.split()[0]: line for line in lines if line.startswith(("blk", "out"))}
    assert "F32 → Q8_0" in said["blk.1.attn_q.weight"]
    assert said["blk.1.attn_q.weight"].endswith("--tensor-type attn_q=q8_0 asks for it")
    assert said["output.weight"].endswith("--leave-output-tensor: it stays as it is")
    answer = json.loads(run("in.gguf", "out.gguf", "Q4_K_S", *arguments, "--json").stdout)
    assert {t["switch"] for t in answer["tensors"]} == {"", "--tensor-type attn_q=q8_0", "--leave-output-tensor"}
    assert not (tmp_path / "out.gguf").exists()


def test_tensor_types_from_a_file(run, tmp_path):
    gguf.write(tmp_path / "in.gguf", *model(layers=1))
    (tmp_path / "types.txt").write_text("attn_q=q8_0\nffn=q6_k  attn_k=f16\n")
    assert run("in.gguf", "out.gguf", "Q4_0", "--tensor-type-file", "types.txt").exit_code == 0
    formats = {name: tensor.format.name for name, tensor in gguf.read(tmp_path / "out.gguf").items()}
    assert [formats[f"blk.0.{part}.weight"] for part in ("attn_q", "attn_k", "ffn_up")] == ["Q8_0", "F16", "Q6_K"]


def test_layers_that_are_left_out_leave_no_gap():
    names = plan(Switches(prune_layers=(0, 2)), layers=5)
    layers = {(int(c.source_name.split(".")[1]), int(c.name.split(".")[1])) for c in names.values() if "blk" in c.name}
    assert layers == {(1, 0), (3, 1), (4, 2)}


def test_the_record_is_frozen_and_in_order():
    switches = Switches(prune_layers=(3, 1, 3), tensor_type="attn_v=Q6_K", include_weights="ffn")
    assert switches.prune_layers == (1, 3)
    assert switches.tensor_type == (TensorType("attn_v", "q6_k"),)
    assert switches.include_weights == ("ffn",)
    with pytest.raises(AttributeError):
        switches.pure = True


# What C++'s std::regex_search finds in blk.12.ffn_down.weight, by g++ 12; None: it refuses the pattern.
IN_CPP = {
    r"blk\.[[:digit:]]+\.ffn": True, r"blk\.[^[:digit:].]": False, "[[:alpha:]]{4}_": False, "[[:upper:]]": False,
    "[[:punct:]]ffn": True, r"\bblk\.(?:1|12)\.(?=ffn)": True, "[0-9]{1,2}.f": True, "(?i)ffn": None, "(?<=blk).": None,
    "k{,2}": None, "w{": None, "(?p<n>ffn)": None,
}  # fmt: skip


@pytest.mark.parametrize("pattern", IN_CPP)
def test_patterns_mean_what_they_mean_in_cpp(pattern):
    if IN_CPP[pattern] is None:
        with pytest.raises(RecipeError, match="refuses or reads otherwise"):
            TensorType(pattern, "Q8_0")
    else:
        assert TensorType(pattern, "Q8_0").fits("blk.12.ffn_down.weight") is IN_CPP[pattern]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Switches(tensor_type=("[]a]=q8_0",)), r"has '\[\]', which llama.cpp"),
        (lambda: Switches(include_weights="a", exclude_weights="b"), "both given"),
        (lambda: Switches(tensor_type=("attn_v",)), r"'attn_v' is no PATTERN=TYPE"),
        (lambda: Switches(tensor_type=("attn_v=q9_z",)), "no format 'q9_z'"),
        (lambda: Switches(tensor_type=("attn_(=q8_0",)), "is not a regular expression"),
        (lambda: Switches(tensor_type=("attn\\S=q8_0",)), "turn into its opposite"),
        (lambda: Switches(output_tensor_type="Q4_K_M"), "no format 'Q4_K_M'"),
        (lambda: Switches(prune_layers=(-1,)), "prune_layers is .*; whole numbers of at least 0"),
        (lambda: Switches(override_kv={"a": None}), "'a' is None; an int"),
        (lambda: plan(Switches(prune_layers=(9,)), layers=2), "names layer 9; this model has layers 0 … 1"),
        (lambda: plan(Switches(prune_layers=(0, 1)), layers=2), "leaves no layer"),
        (lambda: plan(Switches(token_embedding_type="Q4_K"), width=96), r"has rows of 96, no whole blocks of 256"),
        (lambda: recipes.parse_override("a.b=7"), "is no KEY=TYPE:VALUE"),
        (lambda: recipes.parse_override("a.b=int:x"), "'x' is no int"),
        (lambda: recipes.parse_override("a.b=int:1_000"), "'1_000' is no int"),
        (lambda: recipes.parse_override("a.b=int:\u0665"), "is no int"),
        (lambda: recipes.parse_override(f"a.b=int:{1 << 63}"), "is no int"),
        (lambda: recipes.parse_override("a.b=float:1_0.5"), "is no float"),
        (lambda: Switches(override_kv={"split.count": 3}), "says how the file is laid out"),
        (lambda: recipes.parse_override("a.b=str:" + "x" * 128), "127 at most"),
        (lambda: recipes.read_tensor_types("/nowhere"), "no file '/nowhere'"),
        (lambda: recipes.read_tensor_types("/dev/zero"), "not a regular file"),
    ],
)
def test_errors_name_the_value_and_what_is_wanted(call, message):
    with pytest.raises(QvizError, match=message):
        call()


def test_an_embedding_in_a_format_that_needs_an_imatrix_is_refused(tmp_path):
    source = gguf.write(tmp_path / "in.gguf", *model(layers=1))
    with pytest.raises(PipelineError, match=r"needs an importance matrix for 'token_embd.weight'.*qviz imatrix"):
        qviz.quantize_model(source, tmp_path / "out.gguf", "Q4_0", switches=Switches(token_embedding_type="IQ2_XXS"))


def test_a_format_without_a_fallback_is_refused():
    with pytest.raises(RecipeError, match="Q1_0 needs whole blocks of 128, but this model has rows of 96"):
        plan(Switches(), "Q1_0", width=96, ffn=96)
