"""Perplexity and its companions against the same definitions written out in NumPy."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from bounds import assert_within, paired_bound, shown_bound
from click.testing import CliRunner

import qviz
from qviz.cli import main
from qviz.errors import LlamaError
from qviz.transformer import Transformer, compare, perplexity, score_tokens
from qviz.transformer.evaluate import windows_of


@pytest.fixture(scope="module")
def tiny():
    return Transformer(qviz.load("tiny"))


@pytest.fixture(scope="module")
def rounded(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "q3.gguf"
    qviz.quantize_model(qviz.load("tiny").path, path, "Q3_K_S")
    return path


@pytest.fixture(scope="module")
def text():
    return qviz.models.heldout_text()[:6000]


def log_probabilities(llama, text, n_ctx=256):
    """Window by window, each by itself, in float64: (n_scored, n_vocab), and the tokens that came."""
    ids = llama.tokenizer.encode(text)
    rows, came = [], []
    for start in range(0, len(ids) - n_ctx + 1, n_ctx):
        window = [llama.tokenizer.bos, *ids[start + 1 : start + n_ctx]]
        logits = llama.logits(window).astype(np.float64)[n_ctx // 2 : -1]
        rows.append(logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)))
        rows[-1] -= logits.max(-1, keepdims=True)
        came += window[n_ctx // 2 + 1 :]
    return np.concatenate(rows), np.array(came)


def test_every_figure(tiny, rounded, text):
    # activations stay in float: rounded ones flip with the order of a sum, which differs between one window and many
    llama = Transformer(qviz.load(rounded), activations="float")
    found = perplexity(llama, text, tiny)
    base, came = log_probabilities(tiny, text)
    ours, _ = log_probabilities(llama, text)
    n = came.size
    assert found.n_tokens == n
    nll, base_nll = -ours[np.arange(n), came], -base[np.arange(n), came]
    ppl, base_ppl = np.exp(nll.mean()), np.exp(base_nll.mean())
    kld = (np.exp(base) * (base - ours)).sum(-1)
    same = (base.argmax(-1) == ours.argmax(-1)).mean()
    # llama.cpp's formulas: variances of means, and their covariance for what is paired
    cov = np.cov(nll, base_nll) / n
    want = {
        "ppl": ppl,
        "ppl_se": ppl * math.sqrt(cov[0, 0]),
        "base_ppl": base_ppl,
        "delta": ppl - base_ppl,
        "delta_se": math.sqrt(ppl**2 * cov[0, 0] + base_ppl**2 * cov[1, 1] - 2 * ppl * base_ppl * cov[0, 1]),
        "log_ratio": nll.mean() - base_nll.mean(),
        "log_ratio_se": math.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]),
        "kld": kld.mean(),
        "kld_se": kld.std(ddof=1) / math.sqrt(n),
    }
    for name, value in want.items():
        # stated: a last bit may round an activation to another int8, which the standard errors feel least
        assert getattr(found, name) == pytest.approx(value, rel=5e-3), name
    assert abs(found.same_top - same) <= 2 / n
    # stated: two tokens of n
    assert found.same_top_se == pytest.approx(math.sqrt(same * (1 - same) / (n - 1)), rel=0.02)
    assert found.delta_se < found.ppl_se / 3  # paired: what both find hard drops out


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "perplexity.json").read_text(encoding="utf-8"))


def test_the_golden_figures_are_of_these_files(tiny):
    """llama.cpp evaluated this very model and text; after a change of either, make_perplexity.py must run again."""
    assert hashlib.sha256(tiny.model.path.read_bytes()).hexdigest() == GOLDEN["model"]
    assert hashlib.sha256(qviz.models.heldout_text().encode()).hexdigest() == GOLDEN["text"]


def per_token(llama, base, text):
    """−log p of each token that came, and its divergence from what a baseline expected."""
    found, came = log_probabilities(llama, text)
    return -found[np.arange(came.size), came], (np.exp(base) * (base - found)).sum(-1)


def test_tokens_by_themselves(tiny, rounded, text):
    """Each token's figures, to a thousandth of a nat; `compare` has their means."""
    # nothing is rounded on the way: a key or a value that a sum in another order rounds elsewhere moves a token by more
    tiny = Transformer(tiny.model, activations="float", cache="F32")
    llama = Transformer(qviz.load(rounded), activations="float", cache="F32")
    found = score_tokens({"q3": llama}, text, tiny)["q3"]
    base, came = log_probabilities(tiny, text)
    nll, kld = per_token(llama, base, text)
    assert_within(found.nll, nll, shown_bound(3))
    assert_within(found.base_nll, -base[np.arange(came.size), came], shown_bound(3))
    assert_within(found.kld, kld, shown_bound(3))
    assert found.same.dtype == bool
    assert found.summary() == compare({"q3": llama}, text, tiny)["q3"]
    alone = score_tokens({"q3": llama}, text)["q3"]
    assert alone.kld is alone.base_nll is alone.same is None
    assert alone.summary().kld is None


def test_perplexity_and_divergence_as_llama_cpp_finds_them(tiny, tmp_path):
    """Eleven recipes on 4699 tokens.

    Both round activations to int8, and float sums in another order move a few of them over a rounding boundary, and the
    next layers with them: the two runs differ token by token, in both directions, and by how much is the machine's to
    decide. At most their roundings are independent: then each token differs by √2 times what rounding its activations
    does to it at all, which is measured here, on some of the tokens, against the same weights with activations left in
    float. Four standard errors of that are allowed.

    Where weights are F16, activations are rounded to F16 or not at all; at the largest of a block that is 16 times as
    fine as int8. First choices differ at one token in fifty or so; the difference of both counts then has a standard
    error of 0.002, of which four are allowed.
    """
    paths = {}
    for recipe in GOLDEN["found"]:
        if recipe != "F16":
            paths[recipe] = qviz.quantize_model(tiny.model.path, tmp_path / f"{recipe}.gguf", recipe).path
    runs = {"F16": tiny} | {recipe: Transformer(qviz.load(path)) for recipe, path in paths.items()}
    whole, n_ctx, n = qviz.models.heldout_text(), GOLDEN["n_ctx"], GOLDEN["tokens"]
    pieces = [whole[begin:end] for begin, end in GOLDEN["slices"]]
    found = compare(runs, "\n\n".join(pieces), tiny, n_ctx=n_ctx)
    assert len(found) >= 10
    ppl_bounds, kld_bounds, some = {}, {"F16": 0.0}, pieces[0][:3000]
    base, _ = log_probabilities(tiny, some)
    for recipe, path in paths.items():
        twin = Transformer(qviz.load(path), activations="float")
        pairs = zip(*(per_token(run, base, some) for run in (runs[recipe], twin)), strict=True)
        ppl_bounds[recipe], kld_bounds[recipe] = (math.sqrt(2) * paired_bound(*pair, n, k=4) for pair in pairs)
    ppl_bounds["F16"] = ppl_bounds["Q8_0"] / 16
    for recipe, theirs in GOLDEN["found"].items():
        ours = found[recipe]
        assert ours.n_tokens == n
        # the golden figures have five and seven decimals
        assert abs(math.log(ours.ppl / theirs["ppl"])) <= ppl_bounds[recipe] + 5e-6 / theirs["ppl"], recipe
        assert abs(ours.kld - theirs["kld"]) <= kld_bounds[recipe] + 5e-8, recipe
        # stated: four standard errors of the tokens that differ
        assert ours.same_top == pytest.approx(theirs["same_top"], abs=0.008), recipe


def test_a_model_against_itself(tiny, text):
    found = perplexity(tiny, text, tiny, max_tokens=200)
    assert (found.delta, found.kld, found.same_top) == (0, 0, 1)
    assert found.n_tokens == 254


def test_a_part_of_a_text_is_spread_over_it(tiny):
    ids = np.arange(1000) % 4000
    whole = windows_of(tiny, ids, 100, None)
    assert whole.shape == (10, 100)
    assert (whole[:, 0] == tiny.tokenizer.bos).all()
    assert whole[:, 1].tolist() == list(range(1, 1000, 100))
    assert windows_of(tiny, ids, 100, 4 * 49)[:, 1].tolist() == [1, 301, 601, 901]
    assert windows_of(tiny, ids, 100, 1)[:, 1].tolist() == [1]
    assert np.array_equal(windows_of(tiny, ids, 100, 10**9), whole)


def test_several_models_share_one_run_of_the_baseline(tiny, rounded, text):
    told = []
    found = compare({"a": tiny, "b": qviz.load(rounded)}, text, tiny, progress=lambda *p: told.append(p))
    assert found["b"] == perplexity(qviz.load(rounded), text, tiny)
    assert {what for what, _, _ in told} == {"scoring"}
    assert told[-1][1] == told[-1][2] == 3 * (found["a"].n_tokens // 127)


def test_an_interrupted_run_ends(tiny, text):
    def stop(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perplexity(tiny, text, progress=stop)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"n_ctx": 3}, "n_ctx is 3"), ({"n_ctx": 512}, "n_ctx is 512"), ({"max_tokens": 0}, "max_tokens is 0")],
)
def test_what_is_refused(tiny, text, options, says):
    with pytest.raises(LlamaError, match=says):
        perplexity(tiny, text, **options)
    with pytest.raises(LlamaError, match="longer text"):
        perplexity(tiny, "Call me Ishmael.")


def test_command_line(rounded, tmp_path, text):
    file = tmp_path / "text.txt"
    file.write_text(text, encoding="utf-8")
    run = CliRunner().invoke(main, ["perplexity", str(rounded), "--text", str(file), "--baseline", "tiny", "--json"])
    assert run.exit_code == 0, run.output
    said = json.loads(run.stdout)
    assert said["delta"] > 0
    assert said["n_tokens"] == perplexity(qviz.load(rounded), text).n_tokens
    run = CliRunner().invoke(main, ["perplexity", "tiny", "--max-tokens", "100"])
    assert run.stdout.startswith("perplexity ")
    file.write_bytes(b"\xff\xfe")
    run = CliRunner().invoke(main, ["perplexity", "tiny", "--text", str(file)])
    assert run.exit_code != 0
    assert "UTF-8" in run.output
