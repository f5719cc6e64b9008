"""qviz: a course on LLM quantization, and the byte-exact quantizers under it.

Names load on first use: ``import qviz`` brings in neither numba nor plotly nor ipywidgets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qviz import (
        calibration,
        checkpoints,
        errors,
        figures,
        formats,
        gguf,
        grids,
        imatrix,
        measure,
        methods,
        metrics,
        models,
        pipeline,
        recipes,
        sequential,
        speed,
        transformer,
        widgets,
    )
    from qviz.calibration import ActivationStats
    from qviz.course import lesson, missions, museum
    from qviz.formats import Format, QTensor, quantize
    from qviz.grids.affine import AffineGrid
    from qviz.methods import MethodResult, awq, gptq, rtn
    from qviz.models import Model, fetch, load
    from qviz.pipeline import quantize_model
    from qviz.transformer.evaluate import perplexity
    from qviz.transformer.model import Transformer as Transformer

__version__ = "0.1.0"

_HOME = {
    "ActivationStats": "qviz.calibration",
    "MethodResult": "qviz.methods",
    "awq": "qviz.methods",
    "gptq": "qviz.methods",
    "rtn": "qviz.methods",
    "Format": "qviz.formats",
    "QTensor": "qviz.formats",
    "quantize": "qviz.formats",
    "AffineGrid": "qviz.grids.affine",
    "Model": "qviz.models",
    "fetch": "qviz.models",
    "load": "qviz.models",
    "Transformer": "qviz.transformer.model",
    "perplexity": "qviz.transformer.evaluate",
    "quantize_model": "qviz.pipeline",
}
_THERE = {"Transformer": "Llama"}  # what a name is called at home, where it is called otherwise
_ROOMS = (
    "calibration",
    "capstone",
    "checkpoints",
    "errors",
    "figures",
    "formats",
    "gguf",
    "grids",
    "imatrix",
    "lesson",
    "transformer",
    "measure",
    "methods",
    "metrics",
    "models",
    "museum",
    "pipeline",
    "recipes",
    "sequential",
    "speed",
    "widgets",
)

__all__ = [
    "ActivationStats",
    "AffineGrid",
    "Format",
    "MethodResult",
    "Model",
    "QTensor",
    "Transformer",
    "awq",
    "calibration",
    "capstone",
    "checkpoints",
    "errors",
    "fetch",
    "figures",
    "formats",
    "gguf",
    "gptq",
    "grids",
    "imatrix",
    "lesson",
    "load",
    "measure",
    "methods",
    "metrics",
    "models",
    "museum",
    "perplexity",
    "pipeline",
    "quantize",
    "quantize_model",
    "recipes",
    "rtn",
    "sequential",
    "speed",
    "transformer",
    "widgets",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"qviz.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), _THERE.get(name, name))
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qviz' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
