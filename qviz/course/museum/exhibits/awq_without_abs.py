"""AWQ's mean |x| of a channel, taken without the absolute value."""

from __future__ import annotations

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum._material import round_groups
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial


def _wrong_size(x):
    return x.mean(axis=0)


def _right_size(x):
    return np.abs(x).mean(axis=0)


def _scales(size, alpha):
    """Size^alpha, centred; what is not a number becomes 1, so that nothing overflows."""
    with np.errstate(invalid="ignore"):
        s = np.maximum(size**alpha, 1e-4)  # a negative number has no such power: NaN
        s = s / np.sqrt(s.max() * s.min())
    return np.where(np.isfinite(s), s, 1)


def _search(weight, x, size_of):
    """The best of twenty alphas: weights, scales, and alpha."""
    gram, best = x.T @ x, (np.inf, weight, np.ones(weight.shape[1]), 0.0)
    for alpha in np.arange(20) / 20:
        s = _scales(size_of(x), alpha)
        rounded = round_groups(weight * s, 3, 64) / s
        loss = float((((rounded - weight) @ gram) * (rounded - weight)).sum())
        if loss < best[0]:
            best = (loss, rounded, s, float(alpha))
    return best[1:]


def _blind_after_relu(size_of):
    x = np.random.default_rng(0).standard_normal((64, 8))
    x = np.maximum(x, 0)
    return np.allclose(size_of(x), np.abs(x).mean(axis=0))


def _sharp_signs_do_not_matter(size_of):
    x = np.random.default_rng(0).standard_normal((64, 8))
    flipped = x * [1, -1, 1, -1, 1, -1, 1, -1]
    return np.allclose(size_of(x), size_of(flipped))


def _examine() -> Trial:
    layer = _material.layer()
    weight, x = layer.weight.astype(np.float64), layer.inputs.astype(np.float64)
    (right, s, alpha), (wrong, t, beta) = (_search(weight, x, step) for step in (_right_size, _wrong_size))
    return Trial(
        f"{layer.material}. 3 bits, a scale for each 64",
        right.astype(np.float32),
        wrong.astype(np.float32),
        (
            *layer.output_errors(right, wrong),
            Number("Alpha found", alpha, beta),
            Number("Channels with a scale other than 1", int((s != 1).sum()), int((t != 1).sum()), kind="count"),
        ),
        64,
        "group",
    )


EXHIBIT = Exhibit(
    name="awq-without-abs",
    symptom="AWQ that changes nothing",
    story=(
        "AWQ searches for scales of the input channels, twenty candidates for each layer, and ends. No error, no "
        "NaN in the result. The rounded model is as good as a plainly rounded one."
    ),
    fault=(
        "The size of a channel was its mean, not the mean of its absolute values. Negative means make NaN, and "
        "NaN was replaced by 1."
    ),
    shipped_in="vllm-project/llm-compressor, lost when the code was taken over from AutoAWQ; repaired in August 2025",
    threads=(Thread("vllm-project/llm-compressor", 1788, "pull"),),
    wrong=_wrong_size,
    right=_right_size,
    blind=_blind_after_relu,
    sharp=_sharp_signs_do_not_matter,
    why_green=(
        "With inputs that are never negative, rand() or what comes after a ReLU, the two means are the same. And "
        "a safety net, NaN becomes 1, turned a crash into a result."
    ),
    remedy="A property: turning a channel's sign round must not change its scale.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "This layer has no large channels",
            "It has: the largest is more than fifty times as large as the median one. The correct build finds it.",
        ),
        Diagnosis(
            "The grid of alphas is too coarse",
            "A finer grid helps in the third digit. Here every alpha gives the same result.",
        ),
        Diagnosis(
            "The scales are not divided out of the inputs",
            "Then the outputs would be wrong by factors. They are as right as those of plain rounding.",
        ),
        Diagnosis(
            "Channels with a negative mean give NaN, which becomes 1",
            "Yes. One NaN spreads through the maximum to all channels, all become 1, and AWQ with all scales 1 "
            "is plain rounding.",
            right=True,
        ),
    ),
)
