"""The file of least damage at a size: what the answers depend on, what formats cost, which to choose, how to round."""

from qviz.whole.best.job import BestFile, best_file
from qviz.whole.best.rounding import Method

__all__ = ["BestFile", "Method", "best_file"]
