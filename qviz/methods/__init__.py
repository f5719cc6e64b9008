"""Rounding methods: a weight matrix and statistics of its inputs in, a `MethodResult` out."""

from qviz.methods.awq import awq, channel_scale, keep_salient
from qviz.methods.gptq import gptq
from qviz.methods.gptq_format import gptq_format
from qviz.methods.hqq import hqq
from qviz.methods.learned import adaround, autoround
from qviz.methods.obs import ObsRow, obs_factor, obs_row
from qviz.methods.recommended import damping, recommended
from qviz.methods.result import MethodResult
from qviz.methods.rotation import hadamard, random_hadamard, rotation
from qviz.methods.rtn import rtn
from qviz.methods.smoothquant import smooth_scale, smoothquant
from qviz.methods.straight_through import straight_through

__all__ = [
    "MethodResult",
    "ObsRow",
    "adaround",
    "autoround",
    "awq",
    "channel_scale",
    "damping",
    "gptq",
    "gptq_format",
    "hadamard",
    "hqq",
    "keep_salient",
    "obs_factor",
    "obs_row",
    "random_hadamard",
    "recommended",
    "rotation",
    "rtn",
    "smooth_scale",
    "smoothquant",
    "straight_through",
]
