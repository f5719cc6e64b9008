"""What the questions of lessons 04 and 11 call right is right: computed here with qviz."""

from __future__ import annotations

import numpy as np

import qviz
from qviz.course import lesson, missions
from qviz.metrics import sqnr_db

EMBEDDING = qviz.load("smollm2-slices")["token_embd.weight"].dequantize()


def right(id: str) -> str:
    return lesson.question(id).right.text


def test_04_1_a_large_weight_leaves_zeros():
    blocks = EMBEDDING.reshape(-1, 32)
    place = (np.abs(blocks).max(axis=1) / np.sqrt(np.mean(blocks**2, axis=1))).argmax()
    zeros = [(qviz.quantize(blocks[k], "Q4_0").unpack().codes == 0).sum() for k in (place, place + 1)]
    assert right("04.1") == "More than half here, far fewer in the next block"
    assert zeros[0] > 16
    assert zeros[1] < zeros[0] / 2


def test_04_3_bits_of_a_block():
    assert right("04.3") == f"{qviz.formats.get('Q4_1').bpw:g}"


def test_04_4_blocks_down_the_columns_have_less_error():
    down = np.ascontiguousarray(EMBEDDING.T)
    along, across = (sqnr_db(x, qviz.quantize(x, "Q4_0").dequantize()) for x in (EMBEDDING, down))
    assert right("04.4") == "Shrink"
    assert across > along + 1


def test_11_1_no_name_says_the_bits():
    files = [qviz.recipes.read_name(name).bpw for name in ("IQ4_XS", "Q4_0", "Q4_K_M")]
    layers = qviz.recipes.read_name("AWQ-4bit-g128").bpw
    weights, outside = qviz.recipes.size_table()[0].weights, 2 * 32000 * 4096  # embedding and output in 16 bits
    awq = layers + (16 - layers) * outside / weights
    assert right("11.1") == "None of them"
    assert 4.1 < layers < files[0] < files[1] < awq < files[2], "the order that the feedback states"


def test_11_2_and_11_3_what_a_cache_takes():
    laptop = missions.MISSIONS["7B on a laptop"]
    sizes = {cache: missions.sizes(laptop, missions.Choice("Q4_K_M", cache=cache)) for cache in ("F16", "Q8_0")}
    share = (sizes["F16"].memory - sizes["F16"].disk) / sizes["F16"].memory
    assert right("11.2") == "About a third"
    assert min((1 / 20, 1 / 10, 1 / 3), key=lambda part: abs(part - share)) == 1 / 3
    assert right("11.3") == "Yes: it frees nearly one GiB"
    assert 0.9 < (sizes["F16"].memory - sizes["Q8_0"].memory) / 2**30 < 1
    larger = missions.sizes(laptop, missions.Choice("Q5_K_M", cache="Q8_0")).memory
    assert larger <= laptop.memory * 2**20 < missions.sizes(laptop, missions.Choice("Q5_K_M")).memory


def test_11_4_four_bits_in_the_cache_do_damage():
    mission = missions.MISSIONS["a watch"]
    choices = [missions.Choice("Q4_K_M", cache=cache) for cache in ("F16", "Q8_0", "Q4_0")]
    plain, eight, four = (missions.play(mission, choice).damage for choice in choices)
    assert right("11.4") == "`Q8_0` does not, `Q4_0` does"
    assert abs(eight / plain - 1) < 0.2
    assert four > 4 / 3 * plain
