"""The lessons' questions: predictions that unlock an explorer, checked answers, and a student's progress.

`check` and everything under it need no widgets, so graded cells can use them; `predict`, `lock`, `score` and `progress`
are for JupyterLab and load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qviz._arguments import check_calls
from qviz.course.lesson.bank import Question, QuestionOption, question, questions
from qviz.course.lesson.checks import Check, check
from qviz.course.lesson.fold import Folded, fold
from qviz.course.lesson.graded import graded
from qviz.course.lesson.progress_file import Answer, StudentProgress, store
from qviz.errors import LessonError

if TYPE_CHECKING:
    from qviz.course.lesson.panels import ProgressPanel, Score, progress, score
    from qviz.course.lesson.prediction import Prediction, lock, predict

_HOME = {
    "Prediction": "prediction",
    "lock": "prediction",
    "predict": "prediction",
    "ProgressPanel": "panels",
    "Score": "panels",
    "progress": "panels",
    "score": "panels",
}

__all__ = [
    "Answer",
    "Check",
    "Folded",
    "Prediction",
    "ProgressPanel",
    "Question",
    "QuestionOption",
    "Score",
    "StudentProgress",
    "check",
    "fold",
    "graded",
    "lock",
    "predict",
    "progress",
    "question",
    "questions",
    "score",
    "store",
]

check_calls(globals(), __all__, LessonError)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"qviz.course.lesson.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qviz.course.lesson' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
