"""The answers called right in lesson 12 are right: computed here, on the files and the table of the lesson."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qviz
from qviz.course import lesson

TINY = qviz.load("tiny")
TEXT = qviz.models.heldout_text()


def right(id: str) -> str:
    return lesson.question(id).right.text


@pytest.fixture(scope="module")
def run() -> qviz.Transformer:
    return qviz.Transformer(TINY)


def test_12_1_a_file_with_rows_in_the_wrong_order_opens_and_predicts_badly(tmp_path: Path, run: qviz.Transformer):
    folder = qviz.checkpoints.write_folder(tmp_path / "tiny", TINY)
    stored = qviz.checkpoints.read(folder)
    unmoved = {p.target: stored[p.source] for p in qviz.checkpoints.plan(folder).tensors if p.change}
    assert {name.split(".")[2] for name in unmoved} == {"attn_q", "attn_k"}
    wrong = qviz.gguf.write(tmp_path / "wrong.gguf", TINY.metadata, {n: unmoved.get(n, TINY[n]) for n in TINY})
    found = qviz.perplexity(qviz.load(wrong), TEXT, baseline=run, max_tokens=500)
    assert found.ppl > 1.5 * (found.ppl - found.delta)
    assert found.delta > 5 * found.delta_se
    assert right("12.1") == "The model runs, and its predictions get much worse"


def test_12_2_an_unknown_key_is_skipped_and_an_unknown_format_is_not(tmp_path: Path):
    future = tmp_path / "future.gguf"
    qviz.gguf.edit(TINY.path, set={"general.mood": "cheerful"}, out=future)
    assert qviz.Transformer(qviz.load(future)), "the key alone stops nobody"
    with qviz.gguf.read(future) as file:
        regions = file.parts[0].regions
        end = next(r.stop for r in regions if r.kind == "tensor info" and r.name == "blk.0.ffn_down.weight")
    with future.open("r+b") as raw:
        raw.seek(end - 12)
        raw.write((200).to_bytes(4, "little"))
    opened = qviz.load(future)
    assert set(opened) == set(TINY)
    assert opened["blk.0.ffn_up.weight"].tobytes() == TINY["blk.0.ffn_up.weight"].tobytes()
    with pytest.raises(qviz.errors.QvizError, match="nobody here knows"):
        qviz.Transformer(opened)
    assert right("12.2") == "List everything and read the other tensors, but not run the model"


def test_12_3_an_importance_matrix_helps_where_bits_are_few(tmp_path: Path, run: qviz.Transformer):
    imatrix = qviz.whole.imatrix.collect(TINY, qviz.models.calibration_text(), chunks=40)
    made = {}
    for recipe in ("Q4_K_M", "Q2_K"):
        for name, given in ((f"{recipe} without", None), (f"{recipe} with", imatrix)):
            path = qviz.quantize_model(TINY.path, tmp_path / f"{name}.gguf", recipe, imatrix=given).path
            made[name] = qviz.load(path)
    found = qviz.transformer.compare(made, TEXT, run, max_tokens=3500)  # the baseline runs once for all
    left = {}
    for recipe in ("Q4_K_M", "Q2_K"):
        damage = [found[f"{recipe} {how}"] for how in ("without", "with")]
        left[recipe] = damage[1].kld / damage[0].kld
        apart = np.hypot(damage[0].kld_se, damage[1].kld_se)
        assert (damage[0].kld - damage[1].kld > 5 * apart) == (recipe == "Q2_K")
        if recipe == "Q4_K_M":
            assert damage[0].delta - damage[1].delta < 2 * np.hypot(damage[0].delta_se, damage[1].delta_se)
    assert 0.75 < left["Q2_K"] < 0.85, "about a fifth less"
    assert 0.9 < left["Q4_K_M"] < 0.98, "a few percent"
    assert right("12.3") == "About a fifth at `Q2_K`, a few percent at `Q4_K_M`"


def test_12_4_a_template_brings_no_tokens(tmp_path: Path, run: qviz.Transformer):
    slices = qviz.load("smollm2-slices").metadata
    assert "<|im_start|>" in slices["tokenizer.ggml.tokens"], "one token for SmolLM2"
    out = tmp_path / "chat.gguf"
    qviz.gguf.edit(TINY.path, set={"tokenizer.chat_template": slices["tokenizer.chat_template"]}, out=out)
    cut = qviz.transformer.Tokenizer(qviz.load(out).metadata).encode("<|im_start|>", bos=False, special=True)
    assert len(cut) > 2
    assert cut == run.tokenizer.encode("<|im_start|>", bos=False, special=True), "with or without the template"
    assert right("12.4") == "Several ordinary tokens, as for any other text"


def test_12_5_one_recording_makes_more_than_half_of_the_difference():
    formats = qviz.models.word_errors().formats
    plain, q4 = (np.array(formats[name].errors) for name in ("F16", "Q4_0"))
    more = q4 - plain
    assert 1.8 < q4.sum() / plain.sum() < 2.3, "about twice as many, says the question"
    assert more.max() > more.sum() / 2
    assert plain[more.argmax()] < plain.mean(), "and F16 hears that recording rather well"
    assert (more == 0).any(), "some have no more than before"
    assert right("12.5") == "More than half of them are in one recording"
