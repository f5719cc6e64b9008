"""Q3_K's 6-bit scales, read as 4-bit numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, weight_errors
from qviz.formats import QTensor, quantize


def _wrong_scales(raw):
    low = np.concatenate([raw[:8] & 15, raw[:8] >> 4])
    return low.astype(int) - 8


def _right_scales(raw):
    low = np.concatenate([raw[:8] & 15, raw[:8] >> 4])
    high = np.concatenate([raw[8:] >> i & 3 for i in (0, 2, 4, 6)])
    return (low | high << 4).astype(int) - 32


def _decode(tensor: QTensor, scales: Any) -> Any:
    """Weights of Q3_K blocks, with 16 scales a block as `scales` reads them."""
    blocks = tensor.blocks.reshape(-1)
    read = np.array([scales(block["scales"]) for block in blocks], np.float32)
    step = blocks["d"].astype(np.float32)[:, None] * read
    codes = tensor.unpack().codes.reshape(len(blocks), 16, 16)
    return (step[:, :, None] * codes).astype(np.float32).reshape(tensor.shape)


def _blind_zero_block(scales):
    blocks = quantize(np.zeros(256, np.float32), "Q3_K")
    return not _decode(blocks, scales).any()


def _sharp_value_block(scales):
    weights = np.sin(np.arange(256)) * np.arange(256)
    blocks = quantize(weights, "Q3_K")
    reference = blocks.dequantize()  # by another decoder
    return np.allclose(_decode(blocks, scales), reference)


def _examine() -> Trial:
    weight = _material.matrix()
    tensor = quantize(weight, "Q3_K")
    right, wrong = _decode(tensor, _right_scales), _decode(tensor, _wrong_scales)
    return Trial(
        f"{_material.MATRIX}, in Q3_K",
        right,
        wrong,
        (
            weight_errors(weight, right, wrong),
            Number("Largest weight", float(np.abs(right).max()), float(np.abs(wrong).max())),
        ),
        256,
        "super-block",
    )


EXHIBIT = Exhibit(
    name="q3k-scales",
    symptom="It loads, it runs, it babbles",
    story=(
        "A Q3_K_M file is imported. No error, no NaN, every weight is finite, all tests are green. The model writes "
        "word salad. Another program runs the same file well."
    ),
    fault="The 6-bit scales of the super-block were read as 4-bit numbers: their upper two bits were ignored.",
    shipped_in="paiml/aprender, an inference engine in Rust; repaired in June 2026",
    threads=(Thread("paiml/aprender", 2115, "pull"),),
    wrong=_wrong_scales,
    right=_right_scales,
    blind=_blind_zero_block,
    sharp=_sharp_value_block,
    why_green=(
        "Both tests of this format fed a block of zeros. Its factor d is 0, and 0 times any scale is 0: every "
        "decoder passes, even one that reads noise."
    ),
    remedy="One block of real weights with known values. A block of zeros tests that the program does not crash.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "The upper bits of the scales are lost",
            "Yes. Scales from −32 to 31 became −8 to 7. Whole runs of 16 weights are too small or have the wrong sign.",
            right=True,
        ),
        Diagnosis(
            "The file is damaged",
            "Then the other program would fail on it, too. A file that one reader understands is rarely the culprit.",
        ),
        Diagnosis(
            "Three bits are too few for this model",
            "Too few bits make noise, not stripes: the pictures differ in whole runs of 16 weights. And the correct "
            "build shows what 3 bits cost.",
        ),
        Diagnosis(
            "The codes are unpacked in the wrong order",
            "Shuffled codes would leave the size of the weights alone. Here whole runs have the wrong size, and "
            "codes within a run are in order. (The real reader had that fault as well; here only the scales are "
            "wrong.)",
        ),
    ),
    made_up="The real reader also took the codes in the wrong order; here only the scales are read wrongly.",
)
