"""The answers called right are right: each is computed here with qviz, on the weights and files of its lesson."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import qviz
from qviz.course import lesson
from qviz.measure.machine import FormatSpeed, Machine
from qviz.metrics import sqnr_db
from qviz.widgets import (
    BlockExplorer,
    NumberExplorer,
    OutlierExplorer,
    PhotoExplorer,
    SpeedExplorer,
    TensorExplorer,
    trace_search,
)

MODEL = qviz.load("smollm2-slices")


@functools.cache
def embedding() -> Any:
    return MODEL["token_embd.weight"].rows(0, 1536).dequantize()


def right(id: str) -> str:
    return lesson.question(id).right.text


def grid(bits: int, group_size: int) -> float:
    return sqnr_db(embedding(), qviz.AffineGrid(bits=bits, group_size=group_size).fake_quantize(embedding()))


def test_00_1_a_bit_is_worth_about_6_db():
    gained = grid(5, 128) - grid(4, 128)
    assert right("00.1") == "By about 6 dB"
    assert min((1, 6, 20), key=lambda db: abs(db - gained)) == 6


def test_00_2_one_scale_for_all_costs_more_than_10_db():
    assert right("00.2") == "More than 10 dB"
    assert grid(4, 128) - grid(4, 0) > 10
    saved = qviz.AffineGrid(bits=4, group_size=128).bpw(embedding().shape) - 4
    assert 1 / 7 < saved < 1 / 5, "a sixth of a bit, says the first option"


def test_00_3_every_block_darkens_by_the_same_step():
    errors = [np.abs(qviz.quantize(embedding(), name).dequantize() - embedding()) for name in ("Q4_0", "Q5_0")]
    halved = errors[1].mean() / errors[0].mean()
    assert right("00.3") == "All of it darkens by the same step"
    assert halved == pytest.approx(0.5, abs=0.05)  # stated: half, to a tenth of it
    parts = [error.reshape(48, -1).mean(axis=1) for error in errors]  # any part of the picture
    assert np.allclose(parts[1] / parts[0], 0.5, atol=0.1)  # stated: about half, wherever one looks
    tensor = TensorExplorer(MODEL, "token_embd.weight", format="Q8_0")
    assert tensor.figure.scene.summary.count("∞") or "exact" in tensor.figure.scene.summary, "the surprise in `look`"


def test_04_2_a_flipped_scale_spares_the_zeros():
    blocks = embedding().reshape(-1, 32)
    place = (np.abs(blocks).max(axis=1) / np.sqrt(np.mean(blocks**2, axis=1))).argmax()
    packed = qviz.quantize(blocks[place], "Q4_0")
    codes = packed.unpack().codes.ravel()
    lens = BlockExplorer(packed)
    for bit in range(16):
        lens.flip(bit // 8, bit % 8)
        view = lens.figure["lens"]
        if np.isfinite(view.weights).all() and not np.array_equal(view.weights, view.before):
            assert np.array_equal(view.broken.astype(bool), codes != 0)
        lens.reset()
    assert right("04.2") == "Every weight whose code is not 0"
    assert (codes == 0).sum() == 17, "half of this block survives"


@pytest.mark.parametrize(("id", "format"), [("04.bits", "Q4_1"), ("05.bits", "Q4_K")])
def test_bits_per_weight(id, format):
    assert lesson.question(id).answer == qviz.formats.get(format).bpw


def test_05_bits_the_wrong_ones_are_what_they_are_said_to_be():
    codes, sixes, halves = 4 * 256, 8 * 2 * 6, 2 * 16
    parts = {"codes": codes, "+ float16": codes + halves, "+ six bits": codes + sixes, "Q4_1": codes + 8 * 2 * 16}
    assert [wrong.value for wrong in lesson.question("05.bits").wrong] == [bits / 256 for bits in parts.values()]


def test_05_2_one_byte_of_scales_belongs_to_two_sub_blocks():
    down = MODEL["blk.0.ffn_down.weight"].dequantize()
    lens, reached = BlockExplorer(qviz.quantize(down, "Q4_K")), []
    for bit in (0, 7):
        lens.flip(4, bit)
        reached.append(set(np.flatnonzero(lens.figure["lens"].broken) // 32))
        lens.reset()
    assert right("05.2") == "At most 32 weights either way, but not the same 32"
    assert reached == [{0}, {4}]


def test_05_3_the_search_typically_wins_about_a_fifth():
    runs = MODEL["token_embd.weight"].dequantize().reshape(-1, 256)
    less = 1 - np.array([trace_search(part, "Q4_K").ratio for part in runs[:16].reshape(-1, 32)])
    assert right("05.3") == "About 20 % less"
    assert min((0.02, 0.2, 0.8), key=lambda share: abs(share - np.median(less))) == 0.2
    assert less.max() > 0.4, "the best case that one option takes for the typical one"


def test_05_4_which_matrices_get_6_bits():
    plan = qviz.recipes.model_plan("llama-7b", "Q4_K_M")
    six = [choice.name for choice in plan if choice.format == "Q6_K"]
    kinds = {name.split(".")[2] for name in six if name.startswith("blk.")}
    assert right("05.4") == "`attn_v` and `ffn_down` in half of the layers, and `output`"
    assert kinds == {"attn_v", "ffn_down"}
    assert [name for name in six if not name.startswith("blk.")] == ["output.weight"]
    assert {kind: sum(f".{kind}." in name for name in six) for kind in kinds} == {"attn_v": 16, "ffn_down": 16}


def test_05_1_and_05_5_bits_are_counted():
    assert right("05.1") == str(qviz.formats.get("Q4_K").bpw)
    bits = {}
    for name in ("llama-7b", "smollm2-135m"):
        plan = qviz.recipes.model_plan(name, "Q4_K_M")
        bits[name] = sum(c.nbytes for c in plan) / sum(c.n_weights for c in plan)
    assert right("05.5").startswith("More")
    assert bits["smollm2-135m"] > 1.2 * bits["llama-7b"]


def test_06_2_the_row_length_comes_first():
    info = qviz.gguf.read(MODEL.path).tensor_info["blk.0.ffn_down.weight"]
    assert info.dims == (0x600, 0x240)
    assert right("06.2") == f"{info.shape[0]} rows, each {info.shape[1]} long"


def test_06_5_the_file_is_nearer_to_6_bits():
    file = qviz.gguf.read(MODEL.path)
    layers, vocabulary = file.metadata["llama.block_count"], file.metadata["llama.vocab_size"]
    layer = [info for name, info in file.tensor_info.items() if name.startswith("blk.0.")]
    embedding = file.tensor_info["token_embd.weight"]
    weights = layers * sum(t.n_weights for t in layer) + vocabulary * embedding.shape[1]
    nbytes = layers * sum(t.nbytes for t in layer) + vocabulary * embedding.format.row_size(embedding.shape[1])
    assert right("06.5") == "Nearer to 6 than to 5"
    assert 5.5 < 8 * nbytes / weights < 6


def test_06_1_three_numbers():
    file = qviz.gguf.read(MODEL.path)
    assert right("06.1") == f"Version {file.version}, {len(file)} tensors, {len(file.metadata)} keys"


def test_06_3_opening_reads_the_header_alone(tmp_path):
    """A file of 4 GB that is mostly holes; its last row is there at once."""
    path = qviz.gguf.write(tmp_path / "hole.gguf", {}, {"w": qviz.quantize(np.zeros((1, 32)), "Q8_0")})
    with qviz.gguf.read(path) as small:
        end, data = next(r.stop for r in small.parts[0].regions if r.kind == "tensor info"), small.data_offset
    with path.open("r+b") as hole:
        hole.seek(end - 20)
        hole.write((2**27).to_bytes(8, "little"))
        hole.truncate(data + 2**27 * 34)
    assert right("06.3") == "Next to no time, and next to no memory"
    tensor = qviz.gguf.read(path)["w"]
    assert tensor.nbytes > 4e9
    assert not tensor.rows(2**27 - 1).dequantize().any()


def test_06_4_a_false_count_wraps_around():
    entry = 56  # bytes of a tensor info in memory, or any other even number
    assert right("06.4") == "It may reserve too little memory, and write beyond it"
    assert 10**18 * entry >= 2**64 > 10**18 * entry % 2**64


def test_09_5_more_bandwidth_moves_the_hollow_points_alone():
    machine = Machine(bandwidth=20e9, float_peak=50e9, integer_peak=100e9, threads=2, nbytes=1)
    explorer = SpeedExplorer([FormatSpeed("Q4_0", (1000, 1000), 1, 562_500, 1e-4, 1e-4, 1e-4, 3)], machine)
    before = explorer.figure["rates"]
    explorer.controls["bandwidth"].value = 1000
    after = explorer.figure["rates"]
    assert right("09.5") == "The hollow ones rise, until arithmetic is the limit; the filled ones stay"
    assert (after.roof > before.roof).all()
    assert (after.roof < after.bounds).all(), "arithmetic is the limit in the end"
    assert (after.reached == before.reached).all()


def test_10_3_the_last_step_costs_most(tmp_path):
    model, text = qviz.load("tiny"), qviz.models.heldout_text()
    plain = qviz.transformer.Transformer(model)
    names = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_S", "Q2_K")
    paths = {name: qviz.quantize_model(model.path, tmp_path / f"{name}.gguf", name).path for name in names}
    runs = {name: qviz.load(path) for name, path in paths.items()}
    # two windows settle it: the last step is ten times as large as the others, and 30 times its standard error
    kld = {name: found.kld for name, found in qviz.transformer.compare(runs, text, plain, max_tokens=254).items()}
    steps = {(a, b): kld[b] - kld[a] for a, b in zip(names[::2], names[1::2], strict=True)}
    assert right("10.3") == "From `Q3_K_S` to `Q2_K`"
    assert max(steps, key=steps.get) == ("Q3_K_S", "Q2_K")


# -- lesson 01


def test_01_1_pi_in_four_bits():
    assert right("01.1") == f"{np.rint(np.pi * 15 / 4):.0f}"
    wrong = [option.text for option in lesson.question("01.1").options if not option.right]
    assert wrong == [f"{np.floor(np.pi * 15 / 4):.0f}", f"{np.rint(np.pi * 16 / 4):.0f}"]
    assert NumberExplorer(bits=4).code == 12


def test_01_2_a_zero_point_is_for_gains():
    model, gained = qviz.load("tiny"), {}
    for name in ("blk.0.attn_q.weight", "blk.0.attn_norm.weight"):
        x = model[name].dequantize()
        affine, symmetric = (sqnr_db(x, qviz.AffineGrid(4, -1, sym).fake_quantize(x)) for sym in (False, True))
        gained[name.split(".")[2]] = affine - symmetric
    assert right("01.2") == "For the gains"
    assert gained["attn_norm"] > 4 > 2 > gained["attn_q"]


def test_01_4_gaps_of_floats_grow():
    assert right("01.4") == "Floating point: it grows with the number. Grid: the same everywhere"
    gaps = np.spacing(np.float16([0.001, 0.01, 0.1, 0.4]))
    assert (np.diff(gaps) > 0).all()
    assert len(np.unique(np.diff(np.arange(16) * 0.25))) == 1


def test_01_5_half_the_bytes_cost_nothing(tmp_path):
    model, text = qviz.load("tiny"), qviz.models.heldout_text()
    runs, share = {}, {}
    for name in ("Q8_0", "Q4_K_M", "Q3_K_M", "Q2_K"):
        path = qviz.quantize_model(model.path, tmp_path / f"{name}.gguf", name).path
        runs[name], share[name] = qviz.load(path), path.stat().st_size / model.path.stat().st_size
    found = qviz.transformer.compare(runs, text, qviz.Transformer(model), max_tokens=1500)
    left = {name: q.base_ppl / q.ppl for name, q in found.items()}
    assert right("01.5") == "100; and even a little over 25 % of the bytes leave more than 90"
    assert left["Q8_0"] > 0.99
    assert left["Q3_K_M"] > 0.9 > left["Q2_K"]
    assert 0.25 < share["Q3_K_M"] < 0.28 < 0.5 < share["Q8_0"] < 0.55
    assert found["Q4_K_M"].same_top > 0.88 > found["Q3_K_M"].same_top, "by first choices, 90 is at a third of the bytes"


def test_01_3_dithering_helps_only_the_eye():
    assert right("01.3") == "Pixels get worse, the photograph from afar much better, the weights' outputs worse"
    for bits in (1, 2, 3):
        plain, dithered = (PhotoExplorer(bits=bits, dither=dither).measured for dither in (False, True))
        assert dithered["photo, PSNR"] < plain["photo, PSNR"]
        assert dithered["photo, PSNR from afar"] > plain["photo, PSNR from afar"] + 5
        assert dithered["outputs, relative error"] > plain["outputs, relative error"]


# -- lesson 13

NAMES = ("blk.14.attn_q.weight", "blk.14.attn_output.weight", "blk.27.ffn_gate.weight")


@pytest.fixture(scope="module")
def captured():
    return qviz.models.captured_inputs()


@pytest.mark.parametrize("name", NAMES)
def test_13_1_the_last_four_bits_of_the_inputs_cost_most(captured, name):
    w, x = MODEL[name].dequantize(), captured[name][1]
    y = x @ w.T

    def lost(bits, input_bits):
        rounded = qviz.AffineGrid(bits, 128).fake_quantize(w)
        seen = x if input_bits == 16 else qviz.grids.round_inputs(x, qviz.AffineGrid(input_bits, -1))
        return np.square(seen @ rounded.T - y).sum() / np.square(y).sum()

    costs = [lost(*pair) for pair in ((8, 16), (4, 16), (4, 8), (4, 4))]
    assert right("13.1") == "Inputs from 8 bits to 4"
    assert np.diff(costs).argmax() == 2
    assert np.diff(costs)[2] > 3 * np.diff(costs)[:2].max()


def test_13_2_an_outlier_channel_is_there_in_nearly_every_token(captured):
    x = np.abs(captured[NAMES[0]][1])
    assert right("13.2") == "In more than nine of ten"
    assert np.mean(x.argmax(axis=1) == x.mean(axis=0).argmax()) > 0.9


def test_13_3_a_float_has_few_numbers_at_the_top():
    even = np.arange(-127, 128) * 448 / 127
    counts = [np.sum((levels >= 224) & (levels <= 448)) for levels in (qviz.grids.E4M3.levels, even)]
    assert right("13.3") == "E4M3 has {}, INT8 has {}".format(*counts)


def test_13_4_integers_for_weights_floats_for_outliers(captured):
    found = {}
    for what, a in (("weights", MODEL[NAMES[0]].dequantize()), ("inputs", captured[NAMES[0]][1])):
        for name, levels in (("INT8", np.arange(-127, 128)), ("E4M3", qviz.grids.E4M3.levels)):
            found[what, name] = sqnr_db(a, qviz.grids.Codebook(levels, -1).fake_quantize(a))
    assert right("13.4") == "INT8 the weights, E4M3 the inputs"
    assert found["weights", "INT8"] > found["weights", "E4M3"] + 5
    assert found["inputs", "E4M3"] > found["inputs", "INT8"] + 5


def test_13_5_all_of_the_ranges_are_too_much_for_the_weights():
    explorer = OutlierExplorer(layer="SmolLM2 blk.14.attn_output")
    errors = {}
    for strength in (0.5, 1.0):
        explorer.controls["strength"].value = strength
        errors[strength] = explorer.errors["SmoothQuant"]
    assert right("13.5") == "It rises: the weights have the outlier now"
    assert errors[0.5] < explorer.errors["as they are"] < errors[1.0], "even worse than without, says the feedback"


def test_13_6_keys_have_outlier_channels(captured):
    x, grid, gains = captured["blk.14.attn_k.weight"][1], qviz.AffineGrid(4, 32), {}
    for part in ("attn_k", "attn_v"):
        a = x @ MODEL[f"blk.14.{part}.weight"].dequantize().T
        along_tokens, along_channels = (sqnr_db(b, grid.fake_quantize(b)) for b in (a.T.copy(), a))
        gains[part] = along_tokens - along_channels
    assert right("13.6") == "Keys: several decibels. Values: about one"
    assert gains["attn_k"] > 5
    assert 0.5 < gains["attn_v"] < 2


def test_13_7_the_small_model_does_not_copy():
    run = qviz.Transformer(qviz.load("tiny"))
    ids = np.array(run.tokenizer.encode(qviz.models.heldout_text())[: 256 * 8]).reshape(8, 2, 128)
    first, second = ids[:, 0], ids[:, 1]
    repeated, unrelated = (
        qviz.perplexity(run, np.concatenate([before, second], axis=1).ravel()).ppl
        for before in (second, np.roll(first, 5, axis=0))
    )
    assert right("13.7") == "It hardly falls: the model does not look back that way"
    assert repeated > 0.8 * unrelated, "a half or a tenth, say the other options"


def test_13_bits_of_nvfp4():
    most = 32 / embedding().size  # the float32 of the tensor
    assert lesson.question("13.bits").answer == pytest.approx(qviz.grids.NVFP4.bpw(embedding().shape), abs=2 * most)
    assert qviz.formats.get("NVFP4").bpw == lesson.question("13.bits").answer
