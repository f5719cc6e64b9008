"""A Hessian that cannot be factorized, replaced by the identity without a word."""

from __future__ import annotations

from functools import partial

import numpy as np

from qviz.calibration import ActivationStats
from qviz.course.museum import _material
from qviz.course.museum._material import round_to, row_grid
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial

_TOKENS = 384


def _wrong_factor(H):
    try:
        np.linalg.cholesky(H)
    except np.linalg.LinAlgError:
        H = np.eye(len(H))  # go on without
    return np.linalg.cholesky(np.linalg.inv(H)).T


def _right_factor(H):
    mean, damp = np.diagonal(H).mean(), 0.0
    while np.linalg.eigvalsh(H).min() <= 1e-6 * mean:
        damp = max(10 * damp, 0.001)  # and tell how much it took
        H = H + damp * mean * np.eye(len(H))
    return np.linalg.cholesky(np.linalg.inv(H)).T


def _blind_random_inputs(factor):
    x = np.random.default_rng(0).standard_normal((512, 32))
    H = x.T @ x
    U = factor(H)
    return np.allclose(U.T @ U @ H, np.eye(32))


def _sharp_fewer_tokens_than_columns(factor):
    x = np.random.default_rng(0).standard_normal((16, 32))
    U = factor(x.T @ x)
    return np.triu(U, 1).any()  # errors still flow between columns


def _gptq(weight, U, to_grid):
    w = weight.copy()
    for k in range(w.shape[1]):
        e = (w[:, k : k + 1] - to_grid(w[:, k : k + 1])) / U[k, k]
        w[:, k:] -= e @ U[k : k + 1, k:]
    return w


def _examine() -> Trial:
    layer = _material.layer()
    weight = layer.weight.astype(np.float64)
    to_grid = partial(round_to, grid=row_grid(weight, 3))
    H = ActivationStats.from_inputs(layer.inputs[:: len(layer.inputs) // _TOKENS][:_TOKENS]).hessian.astype(np.float64)
    right, wrong = (_gptq(weight, step(H), to_grid).astype(np.float32) for step in (_right_factor, _wrong_factor))
    rtn = to_grid(weight).astype(np.float32)
    unlike = [int((np.abs(w - rtn) > 1e-4).sum()) for w in (right, wrong)]
    return Trial(
        f"{layer.material}. 3 bits, a scale for each row; {_TOKENS} of the tokens, fewer than there are columns",
        right,
        wrong,
        (
            *layer.output_errors(right, wrong),
            Number("Weights unlike plain rounding's", *unlike, kind="count"),
        ),
        len(H),
        "row",
    )


EXHIBIT = Exhibit(
    name="identity-fallback",
    symptom="GPTQ ran for hours, and its result is that of plain rounding",
    story=(
        "154 modules are calibrated and rounded. The log has warnings, as always; the run ends with success. The "
        "result is worth exactly as much as plain rounding, which takes seconds."
    ),
    fault=(
        "The factorization of the Hessian failed in every module, and each time the identity was taken in its place."
    ),
    shipped_in=(
        "vllm-project/llm-compressor; the fallback came in March 2025, the report in July 2026, a summary at the "
        "end of a run in August 2026"
    ),
    threads=(
        Thread("vllm-project/llm-compressor", 2952),
        Thread("vllm-project/llm-compressor", 1283, "pull"),
        Thread("vllm-project/llm-compressor", 3098, "pull"),
    ),
    wrong=_wrong_factor,
    right=_right_factor,
    blind=_blind_random_inputs,
    sharp=_sharp_fewer_tokens_than_columns,
    why_green=(
        "Random inputs, more of them than columns, always give a Hessian that can be factorized. The fallback "
        "never ran in a test; and where it ran, the result was valid, only not what was asked for."
    ),
    remedy="Make the failure happen in a test: fewer tokens than columns. A fallback must say so in the result.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "The calibration text does not suit the model",
            "An unsuitable text gives a different result from plain rounding, perhaps a worse one. This result "
            "is the same, weight for weight.",
        ),
        Diagnosis(
            "GPTQ gains nothing with 3 bits",
            "It gains a lot there. The correct build, with the same few tokens, shows how much.",
        ),
        Diagnosis(
            "The Hessian was replaced by the identity",
            "Yes. With the identity no column can make up for another, and what is left is plain rounding. Not "
            "one weight differs from it.",
            right=True,
        ),
        Diagnosis(
            "The codes were written before they were updated",
            "That would be a fault of order, and some columns would still be moved. Here none is.",
        ),
    ),
    made_up=(
        "In the report the model ran its layers several times over; here there are too few tokens. Both make a "
        "Hessian that cannot be factorized."
    ),
)
