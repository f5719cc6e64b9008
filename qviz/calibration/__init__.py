"""What the inputs of weight matrices look like: statistics for GPTQ and AWQ, importance matrices."""

from qviz.calibration import imatrix
from qviz.calibration.stats import ActivationStats, Collector

__all__ = ["ActivationStats", "Collector", "imatrix"]
