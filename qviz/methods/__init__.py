"""Rounding methods: a weight matrix and statistics of its inputs in, a `MethodResult` out."""

from qviz.methods.awq import awq, keep_salient
from qviz.methods.gptq import gptq
from qviz.methods.gptq_format import gptq_format
from qviz.methods.recommended import damping, recommended
from qviz.methods.result import MethodResult
from qviz.methods.rtn import rtn

__all__ = ["MethodResult", "awq", "damping", "gptq", "gptq_format", "keep_salient", "recommended", "rtn"]
