"""A zero point that is subtracted when decoding but was never added when encoding."""

from __future__ import annotations

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum._material import row_grid
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, weight_errors


def _wrong_round(weight, scale, zero, top):
    code = np.round(weight / scale)
    code = np.clip(code, 0, top)
    return (code - zero) * scale


def _right_round(weight, scale, zero, top):
    code = np.round(weight / scale) + zero
    code = np.clip(code, 0, top)
    return (code - zero) * scale


def _close(round_weights, weight):
    scale, zero, top = row_grid(weight, 4)
    off = np.abs(round_weights(weight, scale, zero, top) - weight)
    return bool((off <= 0.501 * scale).all())  # no weight moves by more than half a step


def _blind_rand(round_weights):
    weight = np.random.default_rng(0).random((16, 64))
    return _close(round_weights, weight)


def _sharp_normal(round_weights):
    weight = np.random.default_rng(0).standard_normal((16, 64))
    return _close(round_weights, weight)


def _examine() -> Trial:
    layer = _material.layer()
    grouped = layer.weight.reshape(-1, 64)
    grid = row_grid(grouped, 4)
    right, wrong = (
        step(grouped, *grid).astype(np.float32).reshape(layer.weight.shape) for step in (_right_round, _wrong_round)
    )
    return Trial(
        f"{layer.material}, 4 bits, a scale and a zero point for each 64",
        right,
        wrong,
        (
            *layer.output_errors(right, wrong),
            weight_errors(layer.weight, right, wrong),
            Number("Largest weight", float(right.max()), float(wrong.max())),
        ),
        64,
        "group",
    )


EXHIBIT = Exhibit(
    name="zero-point-missing",
    symptom="Symmetric works, asymmetric does not",
    story=(
        "Rounding with a zero point should lose less than without. Here it loses almost everything: half of the "
        "weights of a group end on the same lowest level."
    ),
    fault="The zero point was not added before the code was clamped to 0 … 15, but it was subtracted afterwards.",
    shipped_in="intel/neural-compressor; repaired in February 2024",
    threads=(Thread("intel/neural-compressor", 1611, "pull"),),
    wrong=_wrong_round,
    right=_right_round,
    blind=_blind_rand,
    sharp=_sharp_normal,
    why_green=(
        "rand() gives numbers from 0 to 1. Their smallest is so close to 0 that the zero point is 0, and adding "
        "it makes no difference."
    ),
    remedy="Test data of both signs, and a bound on every weight: none may move by more than half a step.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "The zero point is missing before the clamp",
            "Yes. Every negative weight is clamped to code 0, and then all weights are shifted down by the zero point.",
            right=True,
        ),
        Diagnosis(
            "The scale is twice too large",
            "A scale twice as large doubles the error and leaves the weights around where they were. Here half "
            "of them end on one level.",
        ),
        Diagnosis(
            "Asymmetric grids are worse by nature",
            "They are better or as good: a grid that starts at the smallest weight wastes no level. The correct "
            "build shows it.",
        ),
        Diagnosis(
            "Rounding goes down instead of to the nearest",
            "Then every weight would sink by half a step on average. Here they sink by many steps.",
        ),
    ),
    made_up="The repair names the fault, not how it was noticed. The story is ours, the numbers are measured.",
)
