"""Importance matrices as llama-imatrix measures them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from bounds import U
from split_models import tiny_in_f32

import qviz
from qviz import gguf, models, transformer
from qviz.calibration import imatrix as files
from qviz.errors import LlamaError, QvizError
from qviz.whole import imatrix as whole

GOLDEN = Path(__file__).parent.parent / "golden" / "imatrix.gguf"
# llama-imatrix, the same sums in its older form
DAT_SHA256 = "0c274b6bd0205d710316edecca46ac16b4d888b5d9e09352c807936ebf50171c"


def test_the_sums_of_llama_imatrix():
    """Each layer rounds its keys and values to float16; in another order of float32 sums, some fall to the other side.

    Such a step is 2^-11 of a number, twice that of its square, and every layer may add one. What comes before the first
    of them differs by the roundings of a sum alone.
    """
    theirs = files.read(GOLDEN)
    ours = whole.collect(tiny_in_f32(), models.calibration_text()[:6000], n_ctx=256, chunks=3, dataset="cal.txt")
    assert list(ours) == list(theirs)
    assert (ours.datasets, ours.chunk_count, ours.chunk_size) == (theirs.datasets, 3, 256)
    for name, entry in ours.entries.items():
        other = theirs.entries[name]
        assert entry.counts.tolist() == other.counts.tolist() == [768]
        layer, kind = name.split(".")[1:3]
        steps = 0 if (layer, kind) in (("0", "attn_q"), ("0", "attn_k"), ("0", "attn_v")) else int(layer) + 1
        bound = (2 * 2.0**-11 * steps + 768 * U) * other.sums
        assert (np.abs(entry.sums.astype(np.float64) - other.sums) <= bound).all(), name


def test_both_forms_of_the_file(tmp_path):
    theirs = files.read(GOLDEN)
    assert files.write(tmp_path / "again.gguf", theirs).read_bytes() == GOLDEN.read_bytes()
    dat = files.write(tmp_path / "again.dat", theirs).read_bytes()
    assert hashlib.sha256(dat).hexdigest() == DAT_SHA256


def test_it_is_the_mean_square_of_the_inputs():
    model = qviz.load("tiny")
    found = whole.collect(model, models.calibration_text(), chunks=2, activations="float")
    x = transformer.linear_inputs(model, "blk.2.ffn_down.weight", models.calibration_text(), 512)
    expected = (x.astype(np.float64) ** 2).sum(axis=0)
    got = found.entries["blk.2.ffn_down.weight"].sums.astype(np.float64)
    # windows that run together are multiplied in another order; layers 0 to 2 round keys and values
    assert (np.abs(got - expected) <= (2 * 2.0**-11 * 3 + 512 * U) * expected).all()


def test_experts_are_counted_apart():
    squares = whole.Squares(lambda name: {"blk.0.ffn_up_exps.weight": 3}[name])
    squares("blk.0.ffn_up_exps.weight[2]", np.array([[1, 2], [3, 0]], np.float32))
    squares("blk.0.ffn_up_exps.weight[0]", np.array([[1, 1]], np.float32))
    squares("blk.0.ffn_gate_inp.weight", np.ones((2, 2), np.float32))
    squares("output.weight", np.ones((2, 2), np.float32))
    found = whole._imatrix(squares, 16, 2, "")
    assert list(found) == ["blk.0.ffn_gate_inp.weight", "blk.0.ffn_up_exps.weight"]
    entry = found.entries["blk.0.ffn_up_exps.weight"]
    assert entry.sums.tolist() == [[1, 1], [0, 0], [10, 4]]
    assert entry.counts.tolist() == [1, 0, 2]
    assert found["blk.0.ffn_up_exps.weight"].tolist() == [[1, 1], [1, 1], [5, 2]]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("short", {}, "one window takes 256, so give a longer text"),
        (list(range(3, 303)), {}, "the text fills 1 chunk of 256 tokens, and importance needs at least two"),
        (list(range(3, 303)), {"n_ctx": 8}, "n_ctx is 8; a whole number of at least 16"),
        (list(range(3, 303)), {"n_ctx": 16, "chunks": 0}, "chunks is 0"),
        (list(range(3, 303)), {"n_ctx": 512}, "n_ctx is 512"),
        (list(range(3, 303)), {"dataset": np.zeros(2)}, r"dataset is array\(\[0\., 0\.\]\); a text is wanted"),
    ],
)
def test_what_cannot_be_measured(text, options, said):
    with pytest.raises(QvizError, match=said):
        whole.collect(qviz.load("tiny"), text, **options)


def test_damaged_weights_are_named():
    model = tiny_in_f32()
    model["blk.1.attn_norm.weight"] = qviz.quantize(np.full(256, 3e38, np.float32), "F32")
    with pytest.raises(LlamaError, match=r"what blk\.1\.\S+ receives is not finite"):
        whole.collect(model, list(range(3, 67)), n_ctx=16)


def test_progress_tells_chunks_and_can_end_it():
    told = []
    whole.collect(qviz.load("tiny"), list(range(3, 67)), n_ctx=16, progress=lambda *now: told.append(now))
    assert told == [("importance matrix", done, 4) for done in range(5)]

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole.collect(qviz.load("tiny"), list(range(3, 67)), n_ctx=16, progress=stop)


def test_quantize_takes_it(tmp_path):
    found = whole.collect(qviz.load("tiny"), list(range(3, 67)), n_ctx=16, dataset="numbers")
    path = files.write(tmp_path / "m.gguf", found)
    out = qviz.quantize_model(models.load("tiny").path, tmp_path / "out.gguf", "Q2_K_S", imatrix=path).path
    assert gguf.read(out).metadata["quantize.imatrix.dataset"] == "numbers"
    assert gguf.read(out).metadata["quantize.imatrix.chunks_count"] == 4
