"""A zero point of 0, stored less one in a packed word: it borrows from its neighbour."""

from __future__ import annotations

from typing import Any

import numpy as np

from qviz import models
from qviz.checkpoints.packed import pack_bits, unpack_bits, zeros_to_v1
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, weight_errors
from qviz.grids import AffineGrid


def _wrong_zeros(words, bits):
    fields = unpack_bits(words, bits).astype(int)
    return fields + 1


def _right_zeros(words, bits):
    ones = np.uint32(sum(1 << i for i in range(0, 32, bits)))
    words = (words.view(np.uint32) + ones).view(np.int32)
    return unpack_bits(words, bits).astype(int)


def _stored(zeros: Any, bits: int) -> Any:
    """Zero points (n, m) as a file labelled gptq holds them: packed along the first axis, whole words less one."""
    return np.ascontiguousarray(zeros_to_v1(np.ascontiguousarray(pack_bits(zeros, bits).T), bits).T)


def _blind_symmetric(zeros):
    written = np.full((8, 1), 8)
    return (zeros(_stored(written, 4), 4) == written).all()


def _sharp_with_a_zero(zeros):
    written = np.array([[8, 0, 7, 8, 9, 0, 15, 8]]).T
    return (zeros(_stored(written, 4), 4) == written).all()


def _examine() -> Trial:
    name, bits, size = "blk.0.attn_output.weight", 2, 32
    weight = models.load("smollm2-slices")[name].dequantize()
    tensor = AffineGrid(bits, size).quantize(weight)
    words = _stored(tensor.zero_point, bits)
    codes, scale = tensor.codes.reshape(-1, size).astype(int), tensor.scale.reshape(-1, 1)
    right, wrong = (
        ((codes - read(words, bits).reshape(-1, 1)) * scale).astype(np.float32).reshape(weight.shape)
        for read in (_right_zeros, _wrong_zeros)
    )
    zero = tensor.zero_point == 0
    off = _wrong_zeros(words, bits) != tensor.zero_point
    return Trial(
        f"{name.removesuffix('.weight')} of SmolLM2-135M, {weight.shape[0]} × {weight.shape[1]}, 2 bits, a scale for "
        f"each 32",
        right,
        wrong,
        (
            Number("Zero points that are 0", int(zero.sum()), int(zero.sum()), kind="count"),
            Number("Zero points read wrongly", 0, int(off.sum()), kind="count"),
            weight_errors(weight, right, wrong),
        ),
        size,
        "group",
    )


EXHIBIT = Exhibit(
    name="zero-point-borrow",
    symptom="A few dozen groups in ten thousand",
    story=(
        "The symmetric model is fine. The asymmetric one is worse than it should be, and in another project's "
        "kernel it ends in NaN. Nearly every weight is right; a few groups are far off, and they sit side by "
        "side."
    ),
    fault=(
        "Zero points were stored as whole words less 0x1111…; a 0 borrows from its neighbour, and the reader "
        "adds 1 to each field by itself."
    ),
    shipped_in="ModelCloud/GPTQModel's ExLlamaV2 kernel, where a zero point of 0 became 15; January 2026",
    threads=(
        Thread("ModelCloud/GPTQModel", 2350),
        Thread("ModelCloud/GPTQModel", 2351, "pull"),
        Thread("ModelCloud/GPTQModel", 2352, "pull"),
    ),
    wrong=_wrong_zeros,
    right=_right_zeros,
    blind=_blind_symmetric,
    sharp=_sharp_with_a_zero,
    why_green=(
        "Tests used symmetric weights, whose zero points are all 8. Subtracting one from 8 never borrows. Zero "
        "points of 0 need a group whose smallest weight is close to zero: rare, and rarest in random test data."
    ),
    remedy="Test the ends of a range: 0, the largest value, and one next to the other.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "Some scales are zero",
            "A scale of zero would make all weights of its group zero. Here whole groups are shifted, and shifted by "
            "whole steps.",
        ),
        Diagnosis(
            "Outliers are clipped",
            "Clipping moves single weights, the largest. Here all 32 weights of a group move together.",
        ),
        Diagnosis(
            "A zero point of 0 becomes −1 and borrows from its neighbour",
            "Yes. In a packed word 0 − 1 is the largest value, with one taken from the next field, and from the "
            "one after if that was too small to give. At least two zero points are wrong for each 0.",
            right=True,
        ),
        Diagnosis(
            "Every zero point is off by one",
            "Then every group would be wrong. Here all but a few dozen are right.",
        ),
    ),
    made_up=(
        "In GPTQModel the subtraction stood in the kernel's own repacking; here it stands in the file, as in "
        "every GPTQ v1 file of 2, 4 or 8 bits."
    ),
)
