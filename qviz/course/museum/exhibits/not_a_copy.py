"""Weights that were put aside before a search, in the very memory that the search changes."""

from __future__ import annotations

import numpy as np

from qviz.course.museum import _material
from qviz.course.museum._material import round_groups
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, output_error, weight_error


def _wrong_search(weight, candidates, loss):
    original = np.asarray(weight)  # tensor.cpu() on a CPU
    losses = []
    for s in candidates:
        weight *= s
        weight = round_groups(weight, 3, 64) / s
        losses.append(loss(weight))
        weight[:] = original
    return weight, candidates[int(np.argmin(losses))]


def _right_search(weight, candidates, loss):
    original = np.array(weight)  # tensor.cpu().clone()
    losses = []
    for s in candidates:
        weight *= s
        weight = round_groups(weight, 3, 64) / s
        losses.append(loss(weight))
        weight[:] = original
    return weight, candidates[int(np.argmin(losses))]


def _candidates(weight, x, both):
    """Twenty scales, from the inputs alone or, as AutoAWQ does by default, from the weights as well."""
    size, mean = np.abs(x).mean(axis=0), np.abs(weight).mean(axis=0)
    for alpha in np.arange(20) / 20:
        s = size**alpha / (mean ** (1 - alpha) if both else 1)
        yield s / np.sqrt(s.max() * s.min())


def _unchanged(search, both):
    rng = np.random.default_rng(0)
    before, x = rng.standard_normal((4, 64)), rng.standard_normal((32, 64)) * np.arange(1, 65)
    after, _ = search(before.copy(), [*_candidates(before, x, both)], np.var)
    return np.array_equal(before, after)


def _blind_first_scale_is_one(search):
    return _unchanged(search, both=False)


def _sharp_weights_are_as_before(search):
    return _unchanged(search, both=True)


def _examine() -> Trial:
    layer = _material.layer()
    before, x = layer.weight.astype(np.float64), layer.inputs.astype(np.float64)
    gram, candidates = x.T @ x, [*_candidates(before, x, both=True)]

    def loss(rounded):
        return float((((rounded - before) @ gram) * (rounded - before)).sum())

    after, errors = [], []
    for search in (_right_search, _wrong_search):
        weight, s = search(before.copy(), candidates, loss)
        rounded = round_groups(weight * s, 3, 64) / s
        after.append(weight.astype(np.float32))
        errors.append(output_error(layer.heldout, layer.weight, rounded.astype(np.float32)))
    return Trial(
        f"{layer.material}. Weights after a search that was to leave them alone",
        after[0],
        after[1],
        (
            Number("Change of the weights", *(weight_error(layer.weight, w) for w in after), kind="share"),
            Number("Output error, rounded to 3 bits", *errors, kind="share"),
        ),
        64,
        "64 columns",
    )


EXHIBIT = Exhibit(
    name="not-a-copy",
    symptom="Fine on a GPU, broken on a CPU",
    story=(
        "The same script, the same model, the same seed. On a GPU the search for AWQ scales works. On a CPU the "
        "model is spoiled, and it is spoiled before anything has been rounded for good."
    ),
    fault=(
        "The weights put aside for later shared their memory with the weights being changed: on a CPU .cpu() is "
        "no copy."
    ),
    shipped_in="casper-hansen/AutoAWQ, from mit-han-lab/llm-awq; asked about in March and May 2024",
    threads=(
        Thread("mit-han-lab/llm-awq", 163),
        Thread("casper-hansen/AutoAWQ", 484),
        Thread("mit-han-lab/llm-awq", 327, "pull"),
    ),
    wrong=_wrong_search,
    right=_right_search,
    blind=_blind_first_scale_is_one,
    sharp=_sharp_weights_are_as_before,
    why_green=(
        "On a GPU .cpu() copies. And in llm-awq the first candidate scales everything by 1, after which the weights "
        "live in new memory: the same line is harmless there. AutoAWQ's first candidate is not 1."
    ),
    remedy="Ask for the weights before and after, bit by bit, on every kind of device that is supported.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "The first candidate's scales are still in the weights",
            "Yes. Each column is too large or too small by one factor: the scales of the first try. What was put "
            "back was the same memory, already scaled.",
            right=True,
        ),
        Diagnosis(
            "A CPU computes less exactly than a GPU",
            "It computes at least as exactly, and the difference would be in the last digits, not in whole columns.",
        ),
        Diagnosis(
            "The rounded weights were not put back",
            "Then the weights would lie on the few levels of 3 bits. They do not: each column is the original "
            "one times a number.",
        ),
        Diagnosis(
            "The random numbers of the two devices differ",
            "Nothing here is random: there is one set of candidates, and each is tried once.",
        ),
    ),
)
