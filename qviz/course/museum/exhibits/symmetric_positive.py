"""A symmetric grid whose range starts at 0 where no weight is negative."""

from __future__ import annotations

import numpy as np

from qviz import models
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, weight_errors


def _wrong_range(group):
    low, high = min(group.min(), 0), max(group.max(), 0)
    high = max(abs(low), high)
    if low < 0:
        low = -high
    return low, high


def _right_range(group):
    low, high = min(group.min(), 0), max(group.max(), 0)
    high = max(abs(low), high)
    return -high, high


def _round(group, find_range):
    """Four bits, symmetric: the zero point is the middle code, whatever the range."""
    low, high = find_range(group)
    scale = (high - low) / 15
    return (np.clip(np.round(group / scale) + 8, 0, 15) - 8) * scale


def _blind_normal(find_range):
    group = np.random.default_rng(0).standard_normal(128)
    off = np.abs(_round(group, find_range) - group)
    return off.max() < 0.08 * np.abs(group).max()


def _sharp_rand(find_range):
    group = np.random.default_rng(0).random(128)
    off = np.abs(_round(group, find_range) - group)
    return off.max() < 0.08 * np.abs(group).max()


def _examine() -> Trial:
    model = models.load("tiny")
    names = [name for name in model if name.endswith("norm.weight")]
    gains = np.stack([model[name].dequantize().reshape(-1) for name in names])
    groups = gains.reshape(-1, 32)
    right, wrong = (
        np.stack([_round(group, step) for group in groups]).astype(np.float32).reshape(gains.shape)
        for step in (_right_range, _wrong_range)
    )
    gate = models.load("smollm2-slices")["blk.0.ffn_gate.weight"].dequantize().reshape(-1, 16)
    hit = int((gate.min(axis=1) >= 0).sum())
    return Trial(
        f"norm gains of the small model, all {len(gains)} vectors of 256; 4 bits, a scale for each 32, symmetric",
        right,
        wrong,
        (
            weight_errors(gains, right, wrong),
            Number("Largest weight", float(right.max()), float(wrong.max())),
            Number(
                "Real groups hit",
                0,
                hit,
                kind="count",
                note=f"in SmolLM2's blk.0.ffn_gate, of {len(gate)} groups of 16",
            ),
        ),
        32,
        "group",
    )


EXHIBIT = Exhibit(
    name="symmetric-positive",
    symptom="0.83 and 0.46 become the same number",
    story=(
        "A 2 × 2 matrix of random numbers is rounded to 4 bits. The largest, 0.83, comes back as 0.39, and so "
        "does the next. With a real matrix nothing can be seen: the error is what it should be."
    ),
    fault=(
        "For a group without negative weights the range starts at 0, but the zero point stays in the middle: the "
        "upper half of the group is clipped."
    ),
    shipped_in="AutoGPTQ, from IST-DASLab/gptq's quant.py; reported in August 2023",
    threads=(Thread("AutoGPTQ/AutoGPTQ", 293), Thread("apple/coremltools", 2242, "pull")),
    wrong=_wrong_range,
    right=_right_range,
    blind=_blind_normal,
    sharp=_sharp_rand,
    why_green=(
        "Among 128 weights one is negative, practically always. Only rand(), small groups and odd tensors have "
        "groups without one."
    ),
    remedy="Groups that are all positive, all negative, all equal, all zero: the corners of a range.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "Four bits have too few levels for 0.83 and 0.46",
            "Sixteen levels from −0.83 to 0.83 are 0.11 apart. The two numbers are three levels apart.",
        ),
        Diagnosis(
            "The range is one-sided, the zero point is not",
            "Yes. Codes 8 to 15 are all that positive weights have, and the step was chosen as if there were "
            "sixteen. Everything above half of the largest weight is clipped.",
            right=True,
        ),
        Diagnosis(
            "The largest weight is treated as an outlier",
            "No outlier is looked for here. And the clipping starts at half of the largest weight in every group.",
        ),
        Diagnosis(
            "Symmetric grids cannot hold positive groups",
            "They can: half of the codes are idle, so the step is twice as large as it could be. That doubles the "
            "error. It does not clip.",
        ),
    ),
    made_up="Nobody rounds norm gains to 4 bits. They are the smallest real weights that are all positive; in real "
    "matrices the fault hits single groups, as the last number shows.",
)
