"""Recipes: which tensor of a model gets which format, and why.

A *format* such as Q4_K says how 256 weights become bytes. A *recipe* such as Q4_K_M says which format each tensor of a
model gets: most of them Q4_K, the more sensitive ones Q6_K. ``_S``, ``_M`` and ``_L`` mean small, medium and large
files from the same base format; they are not sizes of models.

The rules are rows in `qviz.recipes.rules`, to be read; `plan` applies them to a model and gives a reason for every
tensor; `model_size` and `size_table` need only a model's shapes.

Examples
--------
>>> for choice in model_plan("smollm2-135m", "Q4_K_M")[:1]:
...     print(choice.name, choice.format, "-", choice.reason)
output_norm.weight F32 - a vector, not a matrix: few numbers, each used in every row
>>> round(model_size("llama-7b", "Q4_K_M") / 2**30, 2)
3.8
"""

from __future__ import annotations

from qviz.recipes.allocate import Allocation, Option, allocate
from qviz.recipes.changes import Change, plan_changes
from qviz.recipes.memory import MemoryNeed, memory_need, what_fits
from qviz.recipes.names import READINGS, Download, Reading, read_name
from qviz.recipes.plan import TensorChoice, file_order, get_recipe, plan, role_of
from qviz.recipes.rules import ALIASES, CONDITIONS, FALLBACK, KEPT, RECIPES, ROLES, RULES, Recipe, Rule
from qviz.recipes.sizes import (
    MODEL_SHAPES,
    PUBLISHED,
    ModelShapes,
    SizeRow,
    cache_size,
    get_shapes,
    model_plan,
    model_size,
    size_table,
)
from qviz.recipes.switches import NO_SWITCHES, Switches, TensorType, parse_override, read_tensor_types

__all__ = [
    "ALIASES",
    "CONDITIONS",
    "FALLBACK",
    "KEPT",
    "MODEL_SHAPES",
    "NO_SWITCHES",
    "PUBLISHED",
    "READINGS",
    "RECIPES",
    "ROLES",
    "RULES",
    "Allocation",
    "Change",
    "Download",
    "MemoryNeed",
    "ModelShapes",
    "Option",
    "Reading",
    "Recipe",
    "Rule",
    "SizeRow",
    "Switches",
    "TensorChoice",
    "TensorType",
    "allocate",
    "cache_size",
    "file_order",
    "get_recipe",
    "get_shapes",
    "memory_need",
    "model_plan",
    "model_size",
    "parse_override",
    "plan",
    "plan_changes",
    "read_name",
    "read_tensor_types",
    "role_of",
    "size_table",
    "what_fits",
]
