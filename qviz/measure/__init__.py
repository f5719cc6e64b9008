"""Whole models measured, in the tables of this field; and what this machine can do."""

from qviz.measure.best import BestRow, about_best_files, best_files, best_steps, tensor_bytes
from qviz.measure.cloze import ClozeAnswers, ClozeItem, answer_cloze, cloze_items
from qviz.measure.machine import (
    ENERGY_45NM,
    EnergyModel,
    FormatSpeed,
    Machine,
    Traffic,
    intensity,
    measure_formats,
    measure_machine,
    surprises,
    token_traffic,
)
from qviz.measure.paired import PairedAccuracy, items_needed, paired_accuracy
from qviz.measure.rounding import RoundingCost, measure_rounding
from qviz.measure.tables import (
    GROUPS,
    METHODS,
    PUBLISHED_PPL,
    TABLE_RECIPES,
    Agreement,
    MethodRow,
    RecipeRow,
    agreement,
    generation_speed,
    groups_in_order,
    method_table,
    recipe_table,
)
from qviz.measure.training import TrainingRow, about_training, training_rows
from qviz.metrics import pareto

__all__ = [
    "ENERGY_45NM",
    "GROUPS",
    "METHODS",
    "PUBLISHED_PPL",
    "TABLE_RECIPES",
    "Agreement",
    "BestRow",
    "ClozeAnswers",
    "ClozeItem",
    "EnergyModel",
    "FormatSpeed",
    "Machine",
    "MethodRow",
    "PairedAccuracy",
    "RecipeRow",
    "RoundingCost",
    "Traffic",
    "TrainingRow",
    "about_best_files",
    "about_training",
    "agreement",
    "answer_cloze",
    "best_files",
    "best_steps",
    "cloze_items",
    "generation_speed",
    "groups_in_order",
    "intensity",
    "items_needed",
    "measure_formats",
    "measure_machine",
    "measure_rounding",
    "method_table",
    "paired_accuracy",
    "pareto",
    "recipe_table",
    "surprises",
    "tensor_bytes",
    "token_traffic",
    "training_rows",
]
