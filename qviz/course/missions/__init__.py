"""The capstone: choose formats under a budget, be measured, and see what was left on the table.

Sizes are arithmetic and known beforehand. Damage is not: on the small model of the course it is measured, for a model
of 7 billion weights it is looked up in the published table (`qviz.measure.PUBLISHED_PPL`), and the outcome says which.
"""

from qviz._arguments import check_calls, check_records
from qviz.course.missions.choices import (
    CACHES,
    CALIBRATION,
    FIELD,
    MAX_TOKENS,
    MEASURED_METHODS,
    MIB,
    MISSIONS,
    RECIPES,
    Choice,
    Mission,
    Outcome,
    sizes,
)
from qviz.course.missions.trial import build, field, importance, play
from qviz.course.missions.verdict import REASONS, Limits, Reason, Verdict, judge, limits
from qviz.errors import RecipeError

__all__ = [
    "CACHES",
    "CALIBRATION",
    "FIELD",
    "MAX_TOKENS",
    "MEASURED_METHODS",
    "MIB",
    "MISSIONS",
    "REASONS",
    "RECIPES",
    "Choice",
    "Limits",
    "Mission",
    "Outcome",
    "Reason",
    "Verdict",
    "build",
    "field",
    "importance",
    "judge",
    "limits",
    "play",
    "sizes",
]

check_calls(globals(), __all__, RecipeError)
check_records(globals(), __all__, RecipeError)
