"""Dimensions of a GGUF tensor, used in the order in which the file lists them."""

from __future__ import annotations

import numpy as np

from qviz import models
from qviz.course.museum import _material
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial


def _wrong_matrix(data, dims):
    return data.reshape(dims)


def _right_matrix(data, dims):
    return data.reshape(dims[::-1])


def _blind_square(matrix):
    data = np.arange(4.0)
    return matrix(data, (2, 2)).tolist() == [[0, 1], [2, 3]]


def _sharp_oblong(matrix):
    data = np.arange(6.0)  # the file says: rows of 3, two of them
    return matrix(data, (3, 2)).tolist() == [[0, 1, 2], [3, 4, 5]]


def _examine() -> Trial:
    layer = _material.layer("blk.27.ffn_gate")
    info = models.load("smollm2-slices").tensor_info[f"{layer.name}.weight"]
    dims = tuple(reversed(info.shape))  # as the file lists them: row length first
    data = layer.weight.reshape(-1)
    right = _right_matrix(data, dims)
    # it has 576 rows then, and the caller wants 1536: so it is transposed
    wrong = np.ascontiguousarray(_wrong_matrix(data, dims).T)
    return Trial(
        layer.material,
        right,
        wrong,
        (
            *layer.output_errors(right, wrong),
            Number("Sum of all weights", float(right.sum(dtype=np.float64)), float(wrong.sum(dtype=np.float64))),
            Number("Largest weight", float(np.abs(right).max()), float(np.abs(wrong).max())),
        ),
        64,
        "64 columns",
    )


EXHIBIT = Exhibit(
    name="reversed-dims",
    symptom="All the right weights, in the wrong places",
    story=(
        "A matrix is read from a GGUF file. Its mean, its histogram, its largest weight are right to the last "
        "digit. Its square matrices work. What the oblong ones compute has nothing to do with what they should."
    ),
    fault="GGUF lists dimensions from the fastest to the slowest: the row length comes first. NumPy has it last.",
    shipped_in="readers of GGUF, gguf-py's own among them as reported in March 2024; asked about since 2023",
    threads=(
        Thread("ggml-org/llama.cpp", 6040),
        Thread("ggml-org/ggml", 500),
        Thread("chrishayuk/larql", 18, "pull"),
    ),
    wrong=_wrong_matrix,
    right=_right_matrix,
    blind=_blind_square,
    sharp=_sharp_oblong,
    why_green="The test matrix was square. And sums, means and histograms do not care about order.",
    remedy="Give every axis its own length in a test, and look at single elements.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "The bytes are read with the wrong endianness",
            "Then the values would be absurd. Here every value is right; sum and largest weight agree.",
        ),
        Diagnosis(
            "The matrix is transposed",
            "Nearly. A transposed matrix can be turned back, and was. The picture is still wrong: rows were cut "
            "at the wrong length first.",
        ),
        Diagnosis(
            "Rows are cut at the wrong length",
            "Yes. The file says 576, 1536 and means 1536 rows of 576. Cut into rows of 1536, each holds two real "
            "rows and most of a third.",
            right=True,
        ),
        Diagnosis(
            "The data section starts at the wrong byte",
            "A wrong start loses or shifts values. The sum is exact, so all of them are there.",
        ),
    ),
)
