"""Zero points that a file stores as they are, read as if each were stored less one."""

from __future__ import annotations

from typing import Any

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, weight_errors
from qviz.grids import AffineGrid


def _wrong_zero_point(stored, label, bits):
    return stored + 1 if label == "gptq" else stored


def _right_zero_point(stored, label, bits):
    middle = 2 ** (bits - 1)  # a symmetric grid has no other
    return stored + 1 if (stored == middle - 1).all() else stored


def _read(codes: Any, scale: Any, stored: Any, label: str, bits: int, zero_point: Any) -> Any:
    zero = np.repeat(zero_point(stored, label, bits), codes.shape[1] // stored.shape[1], axis=1)
    return ((codes - zero) * np.repeat(scale, codes.shape[1] // scale.shape[1], axis=1)).astype(np.float32)


def _blind_own_files(zero_point):
    stored = np.full((1, 4), 7)  # as our own writer stores 8
    return (zero_point(stored, "gptq", 4) == 8).all()


def _sharp_files_of_others(zero_point):
    ours, theirs = np.full((1, 4), 7), np.full((1, 4), 8)
    read = [zero_point(stored, "gptq", 4) for stored in (ours, theirs)]
    return (read[0] == 8).all() and (read[1] == 8).all()


def _examine() -> Trial:
    layer = _material.layer()
    tensor = AffineGrid(4, 64, sym=True).quantize(layer.weight)
    codes, stored = tensor.codes.astype(int) + 8, np.full(tensor.scale.shape, 8)
    right, wrong = (
        _read(codes, tensor.scale, stored, "gptq", 4, read) for read in (_right_zero_point, _wrong_zero_point)
    )
    return Trial(
        f"{layer.material}, 4 bits, a scale for each 64, symmetric",
        right,
        wrong,
        (
            *layer.output_errors(right, wrong),
            weight_errors(layer.weight, right, wrong),
            Number("Mean weight", float(right.mean()), float(wrong.mean())),
        ),
        64,
        "group",
    )


EXHIBIT = Exhibit(
    name="zero-point-label",
    symptom="!!!!!!!!!!!!!!!!",
    story=(
        "A 27-billion-parameter model in 4 bits answers every prompt with exclamation marks, token 0 over and "
        "over. The program that made the file runs it well. The config says checkpoint_format = gptq."
    ),
    fault=(
        "The reader added 1 to every zero point, as files labelled gptq ask for. This file stored them as they are."
    ),
    shipped_in="vllm-project/vllm, reading files by GPTQModel 5; reported in April 2026, not the first time",
    threads=(
        Thread("vllm-project/vllm", 38966, "pull"),
        Thread("vllm-project/vllm", 26092, "pull"),
        Thread("qwopqwop200/GPTQ-for-LLaMa", 230),
        Thread("AutoGPTQ/AutoGPTQ", 477),
    ),
    wrong=_wrong_zero_point,
    right=_right_zero_point,
    blind=_blind_own_files,
    sharp=_sharp_files_of_others,
    why_green=(
        "Reader and writer of one project agree with each other, right or wrong. A round trip through your own code "
        "tests that the two mistakes are the same."
    ),
    remedy="Golden files that somebody else's software made, one for each convention.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "Four bits are too few for so large a model",
            "Large models take rounding better than small ones. And the difference is the same everywhere: look at "
            "the mean weight.",
        ),
        Diagnosis(
            "Every zero point is off by one",
            "Yes. Each weight is one whole step too low. One step is not much, but all have the same sign, so "
            "they add up in every output.",
            right=True,
        ),
        Diagnosis(
            "The codes are packed along the wrong axis",
            "Then the picture would be noise. It is the same picture with a tint: every weight is shifted the "
            "same way.",
        ),
        Diagnosis(
            "The scales overflow in float16",
            "That gives infinity or NaN, and both would be seen at once. These weights are finite and nearly right.",
        ),
    ),
)
