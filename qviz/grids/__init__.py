"""Grids that weights are rounded onto: evenly spaced ones (`AffineGrid`), and codebooks.

A `Codebook` is a table of levels shared by blocks of weights, each with a scale of its own: `NF4`, `FP4`, `MXFP4`,
`MXFP8`, `NVFP4`.
`SmallFloat` is a float of four to eight bits: `E4M3`, `E5M2` (FP8), `E2M1` (FP4).
`kmeans` fits one table to all weights, `kmeans_groups` a table to each group (`GroupCodebooks`), `kmeans_vectors`
points for several weights at once (`VectorCodebook`).
"""

from qviz.grids.affine import AffineGrid, AffineTensor
from qviz.grids.codebook import (
    FP4,
    MXFP4,
    MXFP8,
    NF4,
    NVFP4,
    Codebook,
    GroupCodebooks,
    KMeansStep,
    kmeans,
    kmeans_groups,
)
from qviz.grids.floats import E2M1, E2M3, E3M2, E4M3, E5M2, SmallFloat, two_level_scales
from qviz.grids.ranges import RangeErrors, choose_range, range_errors, round_inputs
from qviz.grids.vectors import VectorCodebook, kmeans_vectors

__all__ = [
    "E2M1",
    "E2M3",
    "E3M2",
    "E4M3",
    "E5M2",
    "FP4",
    "MXFP4",
    "MXFP8",
    "NF4",
    "NVFP4",
    "AffineGrid",
    "AffineTensor",
    "Codebook",
    "GroupCodebooks",
    "KMeansStep",
    "RangeErrors",
    "SmallFloat",
    "VectorCodebook",
    "choose_range",
    "kmeans",
    "kmeans_groups",
    "kmeans_vectors",
    "range_errors",
    "round_inputs",
    "two_level_scales",
]
