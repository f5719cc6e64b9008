"""AWQ's scales, centred in half precision by the root of a product that is too small for it."""

from __future__ import annotations

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum._material import round_groups
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial

_ALPHA, _SMALL = 0.75, 2.0**-16


def _wrong_scales(size, alpha):
    s = size.astype(np.float16) ** np.float16(alpha)
    s = np.maximum(s, np.float16(1e-4))
    return s / np.sqrt(s.max() * s.min())


def _right_scales(size, alpha):
    s = size.astype(np.float32) ** np.float32(alpha)
    s = np.maximum(s, 1e-4 * s.max())
    return s / (np.sqrt(s.max()) * np.sqrt(s.min()))


def _quietly(scales, size, alpha):
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        return scales(size, alpha).astype(np.float32)


def _blind_inputs_around_one(scales):
    size = np.linspace(0.5, 2, 16)
    s = _quietly(scales, size, 0.5)
    return abs(s.max() * s.min() - 1) < 0.01


def _sharp_unit_of_the_inputs(scales):
    size = np.linspace(0.5, 2, 16)
    large = _quietly(scales, size, 0.5)
    small = _quietly(scales, size / 2**24, 0.5)
    return np.allclose(large, small, rtol=0.01)


def _examine() -> Trial:
    layer = _material.layer("blk.14.attn_output")
    size = np.abs(layer.inputs).mean(axis=0) * _SMALL
    rounded, finite = [], []
    for step in (_right_scales, _wrong_scales):
        s = _quietly(step, size, _ALPHA)
        with np.errstate(invalid="ignore"):
            rounded.append((round_groups(layer.weight * s, 3, 64) / s).astype(np.float32))
        finite.append(int(np.isfinite(s).sum()))
    return Trial(
        f"{layer.material}; the inputs were divided by {round(1 / _SMALL)}. 3 bits, a scale for each 64, alpha"
        f" {_ALPHA}",
        rounded[0],
        rounded[1],
        (
            *layer.output_errors(*rounded),
            Number("Channels with a finite scale", *finite, kind="count"),
        ),
        64,
        "group",
    )


EXHIBIT = Exhibit(
    name="awq-half-precision",
    symptom="scales = inf",
    story=(
        "AWQ has worked for a dozen models. For one more, a scale in one of its layers becomes infinite, and "
        "then every weight of that layer."
    ),
    fault=(
        "The largest scale times the smallest is below what float16 can hold. It becomes 0, its root 0, and s / "
        "0 is infinite."
    ),
    shipped_in="mit-han-lab/llm-awq; reported in October 2023. The same NaN was met in AutoAWQ",
    threads=(
        Thread("mit-han-lab/llm-awq", 96),
        Thread("mit-han-lab/llm-awq", 58),
        Thread("casper-hansen/AutoAWQ", 239),
    ),
    wrong=_wrong_scales,
    right=_right_scales,
    blind=_blind_inputs_around_one,
    sharp=_sharp_unit_of_the_inputs,
    why_green=(
        "Test inputs were around 1. Then the product is around 1, too. A floor of 0.0001 under each scale looks like "
        "protection against zero, but its square is below float16's smallest number: 0.0001 · 0.0001 is 0."
    ),
    remedy=(
        "A property: the scales are ratios, so the unit of the inputs must not matter. And take roots before products."
    ),
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "A channel of the weights is all zero",
            "Then its own weights would be in trouble. Here every channel is infinite at once: what they share "
            "is the divisor.",
        ),
        Diagnosis(
            "The product max · min underflows to 0",
            "Yes. A channel that is hardly ever active, or a layer with small inputs, makes it so small that float16 "
            "has no number for it.",
            right=True,
        ),
        Diagnosis(
            "Alpha is too large",
            "A larger alpha stretches the scales. It makes the product smaller, but dividing by it should undo "
            "exactly that, at any alpha.",
        ),
        Diagnosis(
            "The weights overflow float16",
            "They overflow because they are multiplied by an infinite scale. Cause and effect the other way round.",
        ),
    ),
    made_up=(
        "The inputs of this layer are not so small. We divided them by 65536, which must not change the scales "
        "at all. The report quotes the line, but no cause. This is the one we find: the floor of 0.0001 stands "
        "in llm-awq's code, and models are loaded in float16."
    ),
)
