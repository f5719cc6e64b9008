"""Grids that weights are rounded onto: evenly spaced ones, and codebooks."""

from qviz.grids.affine import AffineGrid, AffineTensor
from qviz.grids.codebook import FP4, MXFP4, NF4, Codebook, kmeans

__all__ = ["FP4", "MXFP4", "NF4", "AffineGrid", "AffineTensor", "Codebook", "kmeans"]
