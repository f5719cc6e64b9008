"""Packed checkpoints that are not read: by what they are known, and what to do with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Foreign(NamedTuple):
    """A format that is refused.

    Attributes
    ----------
    name : str
    methods : tuple of str
        What ``quant_method`` says.
    marks : tuple of str
        Last parts of tensor names that only this format has.
    advice : str
    """

    name: str
    methods: tuple[str, ...]
    marks: tuple[str, ...]
    advice: str


_FLOATS = "convert the model that it was made of"
_LOAD = "load it with transformers, call dequantize(), save that, and convert it"
FOREIGN = (
    Foreign("bitsandbytes", ("bitsandbytes",), ("absmax", "quant_map", "SCB"), _LOAD),
    Foreign("ExLlamaV2 (exl2)", ("exl2",), ("q_weight", "q_scale_max", "q_invperm"), _FLOATS),
    Foreign("ExLlamaV3 (exl3)", ("exl3",), ("trellis", "suh", "svh"), _FLOATS),
    Foreign("Marlin", ("marlin", "gptq_marlin", "gptq_marlin_24"), ("B", "B_24", "B_meta"), "export it as gptq"),
    Foreign("HQQ", ("hqq",), ("W_q",), _LOAD),
    Foreign("AQLM", ("aqlm",), ("codebooks",), _FLOATS),
    Foreign("QuIP#", ("quip", "quip#", "quipsharp"), ("Qidxs", "SU", "SV"), _FLOATS),
    Foreign("VPTQ", ("vptq",), ("centroids", "indices"), _FLOATS),
    Foreign("SpQR", ("spqr",), ("dense_weights",), _FLOATS),
    Foreign("HIGGS", ("higgs",), ("tables2",), _FLOATS),
    Foreign("EETQ", ("eetq",), ("weight_scales",), _FLOATS),
    Foreign("fp8", ("fp8", "fbgemm_fp8", "finegrained_fp8", "fp8_e4m3"), ("weight_scale_inv",), _LOAD),
    Foreign("MXFP4", ("mxfp4",), ("_blocks",), _LOAD),
    Foreign("ModelOpt", ("modelopt", "modelopt_fp4"), ("weight_scale_2",), _FLOATS),
    Foreign("torchao", ("torchao",), (), _LOAD),
    Foreign("optimum-quanto", ("quanto",), ("_data",), _LOAD),
    Foreign("BitNet", ("bitnet",), (), "use the GGUF file of its makers"),
    Foreign("BitBLAS", ("bitblas",), (), "export it as gptq"),
    Foreign("QQQ", ("qqq",), ("s_group", "s_channel"), _FLOATS),
    Foreign("ParoQuant", ("paroquant",), (), _FLOATS),
    Foreign("AMD Quark", ("quark",), (), "export it as gptq or awq"),
    Foreign("MLX", ("mlx",), ("biases",), "use mlx_lm.convert --dequantize first"),
    Foreign("DFloat11", ("dfloat11",), (), _FLOATS),
    Foreign("GGUF in safetensors", ("gguf",), (), "use the GGUF file itself"),
)


def by_method(method: str) -> Foreign | None:
    """The format that ``quant_method`` names."""
    return next((foreign for foreign in FOREIGN if method in foreign.methods), None)


def by_tensors(names: Iterable[str]) -> Foreign | None:
    """The format whose tensors these are."""
    last = {name.rpartition(".")[2] for name in names}
    return next((foreign for foreign in FOREIGN if any(mark in last for mark in foreign.marks)), None)
