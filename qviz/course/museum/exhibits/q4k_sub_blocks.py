"""Q4_K's 6-bit scales and minimums, right in sub-block 0 and wrong in the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, weight_errors
from qviz.formats import QTensor, quantize


def _wrong_sixes(raw):
    even = raw & 63
    odd = raw[:10] >> 6 | (raw[2:] & 15) << 2
    pairs = [(even[j], odd[j]) for j in range(8)]
    return np.ravel(pairs[:4]), np.ravel(pairs[4:])


def _right_sixes(raw):
    scales, mins, rest = raw[:4], raw[4:8], raw[8:]
    scales = np.append(scales & 63, rest & 15 | scales >> 6 << 4)
    mins = np.append(mins & 63, rest >> 4 | mins >> 6 << 4)
    return scales, mins


def _decode(tensor: QTensor, sixes: Any) -> Any:
    """Weights of Q4_K blocks, with 8 scales and 8 minimums a block as `sixes` reads them."""
    blocks = tensor.blocks.reshape(-1)
    read = np.array([sixes(block["scales"]) for block in blocks], np.float32)
    scale = blocks["d"].astype(np.float32)[:, None] * read[:, 0]
    low = blocks["dmin"].astype(np.float32)[:, None] * read[:, 1]
    codes = tensor.unpack().codes.reshape(len(blocks), 8, 32)
    return (scale[:, :, None] * codes - low[:, :, None]).astype(np.float32).reshape(tensor.shape)


def _blind_first_sub_block(sixes):
    raw = np.arange(1, 13, dtype=np.uint8)
    scales, mins = sixes(raw)
    return scales[0] == raw[0] and mins[0] == raw[4]


def _sharp_every_sub_block(sixes):
    weights = np.sin(np.arange(256)) * np.arange(256)
    blocks = quantize(weights, "Q4_K")
    reference = blocks.dequantize()  # by another decoder
    return np.allclose(_decode(blocks, sixes), reference)


def _examine() -> Trial:
    weight = _material.matrix()
    tensor = quantize(weight, "Q4_K")
    right, wrong = _decode(tensor, _right_sixes), _decode(tensor, _wrong_sixes)
    first = (right == wrong).reshape(-1, 8, 32)
    return Trial(
        f"{_material.MATRIX}, in Q4_K",
        right,
        wrong,
        (
            weight_errors(weight, right, wrong),
            Number("Sub-blocks 0 that are right", len(first), int(first[:, 0].all(axis=1).sum()), kind="count"),
        ),
        256,
        "super-block",
    )


EXHIBIT = Exhibit(
    name="q4k-sub-blocks",
    symptom="Right for 32 weights, wrong for the next 224",
    story=(
        "A faster matrix product for Q4_K is written, with a layout of its own. Its unit tests pass. One dot product "
        "comes out as −6061 where the plain code says 11848."
    ),
    fault="The twelve bytes of scales and minimums were taken apart by a rule that fits only sub-block 0.",
    shipped_in="paiml/aprender, an inference engine in Rust; repaired in June 2026",
    threads=(Thread("paiml/aprender", 2141, "pull"),),
    wrong=_wrong_sixes,
    right=_right_sixes,
    blind=_blind_first_sub_block,
    sharp=_sharp_every_sub_block,
    why_green=(
        "A test that looks at sub-block 0 sees nothing wrong. The repair deleted the function and, as obsolete, "
        "22 tests with it: they had passed on a rule that no file follows."
    ),
    remedy=(
        "Compare all eight sub-blocks with a decoder that somebody else wrote. The right one stood in the same file."
    ),
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "The product sums in another order",
            "Another order of additions changes the last digits. Here the sign is wrong, and the weights themselves "
            "differ.",
        ),
        Diagnosis(
            "Scales and minimums are looked for in the wrong bytes",
            "Yes. The curve falls to zero once in every 256 columns, for 32 of them: sub-block 0. Seven of eight "
            "are wrong.",
            right=True,
        ),
        Diagnosis(
            "The minimum is added, not subtracted",
            "Then sub-block 0 would be wrong as well, unless its minimum is 0. Look at the curve: sub-block 0 is "
            "right in every super-block.",
        ),
        Diagnosis(
            "float16 is too coarse for d and dmin",
            "Both builds read the same d and dmin. Rounding them costs a thousandth, and in every sub-block alike.",
        ),
    ),
)
