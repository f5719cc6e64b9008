"""Whole models measured, in the tables of this field; and what this machine can do."""

from qviz._arguments import check_calls, check_records
from qviz.errors import QvizError
from qviz.measure.best import (
    BestRatio,
    BestRow,
    about_best_files,
    best_files,
    best_ratios,
    best_steps,
    paired_ratio,
    tensor_bytes,
)
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
from qviz.measure.side_by_side import (
    ModelRow,
    Tails,
    about_models_table,
    models_table,
    rank_correlations,
    tails,
)
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
    "BestRatio",
    "BestRow",
    "ClozeAnswers",
    "ClozeItem",
    "EnergyModel",
    "FormatSpeed",
    "Machine",
    "MethodRow",
    "ModelRow",
    "PairedAccuracy",
    "RecipeRow",
    "RoundingCost",
    "Tails",
    "Traffic",
    "TrainingRow",
    "about_best_files",
    "about_models_table",
    "about_training",
    "agreement",
    "answer_cloze",
    "best_files",
    "best_ratios",
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
    "models_table",
    "paired_accuracy",
    "paired_ratio",
    "pareto",
    "rank_correlations",
    "recipe_table",
    "surprises",
    "tails",
    "tensor_bytes",
    "token_traffic",
    "training_rows",
]

check_calls(globals(), __all__, QvizError)
check_records(globals(), __all__, QvizError)
