"""Explorers for JupyterLab: controls, state and one update each, drivable without a browser.

Displaying one as the last expression of a cell shows it. Nothing here prints.
"""

from typing import Any

from qviz.widgets.awq import AWQExplorer
from qviz.widgets.balance import BalanceExplorer
from qviz.widgets.bits import BitsExplorer
from qviz.widgets.block import BlockExplorer
from qviz.widgets.codebook import CodebookExplorer
from qviz.widgets.conversion import ConversionExplorer
from qviz.widgets.curvature import CurvatureExplorer
from qviz.widgets.duel import DuelExplorer
from qviz.widgets.file import FileExplorer
from qviz.widgets.floats import FloatExplorer
from qviz.widgets.gptq import GPTQExplorer
from qviz.widgets.input_ranges import InputRangeExplorer
from qviz.widgets.model import ModelExplorer
from qviz.widgets.number import NumberExplorer
from qviz.widgets.outliers import OutlierExplorer
from qviz.widgets.pairs import PairExplorer
from qviz.widgets.photo import PhotoExplorer
from qviz.widgets.progress import ProgressBar
from qviz.widgets.ranges import RangeExplorer
from qviz.widgets.recipes import RecipeExplorer
from qviz.widgets.scale_search import ScaleSearchExplorer, trace_search
from qviz.widgets.speed import SpeedExplorer
from qviz.widgets.staircase import StaircaseExplorer
from qviz.widgets.tensor import TensorExplorer
from qviz.widgets.view import View

__all__ = [
    "AWQExplorer",
    "BalanceExplorer",
    "BitsExplorer",
    "BlockExplorer",
    "BugMuseum",
    "CapstoneExplorer",
    "CodebookExplorer",
    "ConversionExplorer",
    "CurvatureExplorer",
    "DuelExplorer",
    "FileExplorer",
    "FloatExplorer",
    "GPTQExplorer",
    "InputRangeExplorer",
    "ModelExplorer",
    "NumberExplorer",
    "OutlierExplorer",
    "PairExplorer",
    "PhotoExplorer",
    "ProgressBar",
    "RangeExplorer",
    "RecipeExplorer",
    "ScaleSearchExplorer",
    "SpeedExplorer",
    "StaircaseExplorer",
    "TensorExplorer",
    "View",
    "trace_search",
]


def __getattr__(name: str) -> Any:
    """Find the two explorers that live with what they show, in the room of the course."""
    import importlib

    homes = {"BugMuseum": "qviz.course.museum.explorer", "CapstoneExplorer": "qviz.course.missions.explorer"}
    if name in homes:
        return getattr(importlib.import_module(homes[name]), name)
    raise AttributeError(f"module 'qviz.widgets' has no attribute {name!r}; it has {', '.join(__all__)}")
