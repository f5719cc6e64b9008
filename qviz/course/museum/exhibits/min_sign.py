"""Q4_K's minimum, added as a description says instead of subtracted as the code does."""

from __future__ import annotations

from typing import Any

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, weight_errors
from qviz.formats import QTensor, quantize


def _wrong_decode(code, scale, low):
    return scale * code + low


def _right_decode(code, scale, low):
    return scale * code - low


def _weights(tensor: QTensor, decode: Any) -> Any:
    parts = tensor.unpack()
    width = tensor.format.sub_block_size
    codes = parts.codes.reshape(-1, width).astype(np.float32)
    weights = decode(codes, parts.scales.reshape(-1, 1), parts.mins.reshape(-1, 1))
    return weights.astype(np.float32).reshape(tensor.shape)


def _blind_ramp(decode):
    ramp = np.arange(256, dtype=np.float32) % 16
    blocks = quantize(ramp, "Q4_K")
    return np.allclose(_weights(blocks, decode), ramp, atol=0.1)


def _sharp_ramp_around_zero(decode):
    ramp = np.arange(256, dtype=np.float32) % 16 - 8
    blocks = quantize(ramp, "Q4_K")
    return np.allclose(_weights(blocks, decode), ramp, atol=0.1)


def _examine() -> Trial:
    weight = _material.matrix()
    tensor = quantize(weight, "Q4_K")
    right, wrong = _weights(tensor, _right_decode), _weights(tensor, _wrong_decode)
    return Trial(
        f"{_material.MATRIX}, in Q4_K",
        right,
        wrong,
        (
            weight_errors(weight, right, wrong),
            Number("Mean weight", float(right.mean()), float(wrong.mean())),
            Number("Negative weights", float((right < 0).mean()), float((wrong < 0).mean()), kind="share"),
        ),
        32,
        "sub-block",
    )


EXHIBIT = Exhibit(
    name="min-sign",
    symptom="A matrix without a negative weight",
    story=(
        "A reader of Q4_K is written from the format's one-line description. A ramp from 0 to 15 comes back as "
        "it went in. A real matrix comes back with nearly all of its weights above zero."
    ),
    fault="The minimum of each sub-block was added. The file stores it with its sign turned round: it is subtracted.",
    shipped_in="the description of the format: it reads w = q · block_scale + block_min; the code subtracts",
    threads=(Thread("ggml-org/llama.cpp", 13377),),
    wrong=_wrong_decode,
    right=_right_decode,
    blind=_blind_ramp,
    sharp=_sharp_ramp_around_zero,
    why_green=(
        "The test data starts at 0. Then every minimum is 0, and plus or minus makes no difference. Small counting "
        "numbers are handy test data, and blind to signs."
    ),
    remedy="Test data on both sides of zero, as weights are.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "Codes are read as unsigned numbers",
            "They are unsigned: 0 to 15. In Q4_K the negative weights come from the minimum, not from the code.",
        ),
        Diagnosis(
            "The minimum is added instead of subtracted",
            "Yes. Every sub-block is shifted up by twice its minimum, and almost nothing is left below zero.",
            right=True,
        ),
        Diagnosis(
            "The scales have the wrong sign",
            "That would turn each weight's place within its sub-block round: large ones small, small ones large. "
            "Here they keep their order and are all shifted.",
        ),
        Diagnosis(
            "The model was trained with positive weights",
            "The correct build says that about half of them are negative. Symmetric around zero is what to expect.",
        ),
    ),
    made_up="The thread is a question about the description, not a report of a broken reader. We wrote that reader.",
)
