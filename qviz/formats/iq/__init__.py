"""What the IQ1, IQ2 and IQ3 formats share: their codebooks, and the search through them."""

from qviz.formats.iq.record import LatticeTrace, lattice_trace

__all__ = ["LatticeTrace", "lattice_trace"]
