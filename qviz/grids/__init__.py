"""Grids that weights are rounded onto."""

from qviz.grids.affine import AffineGrid, AffineTensor

__all__ = ["AffineGrid", "AffineTensor"]
