"""What a class believes: the progress files that students hand in, read together.

A progress file has no name in it, and nothing here sends anything anywhere. Each file counts as one student. The file's
own name is shown only where it says who has not begun a lesson, so that a teacher can ask.

Examples
--------
>>> from qviz.course.lesson import Answer, StudentProgress
>>> sure = StudentProgress({"05.2": Answer("b", False, 0.9, 4, "2026-01-31T12:00:00Z")})
>>> unsure = StudentProgress({"05.2": Answer("c", True, 0.5, 4, "2026-01-31T12:00:00Z")})
>>> together = Class({"ada": sure, "grace": unsure})
>>> [(belief.mistake, belief.count) for belief in together.beliefs()]
[('one byte, one scale', 1)]
>>> together.opened("05"), together.opened("06")
(('ada', 'grace'), ())
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from qviz._arguments import check_calls, check_methods
from qviz._arrays import whole_number
from qviz._files import as_path, explained, read_bytes, write_bytes
from qviz.course.lesson import bank
from qviz.course.lesson.progress_file import MOST_BYTES, Answer, StudentProgress, decode
from qviz.errors import LessonError, ProgressError, QvizError
from qviz.figures.calibration import Calibration, calibration

MOST_FILES = 5000
"""Files that are read at most: a folder with more is another folder."""

SURE = 0.75
"""From this confidence on, somebody counts as sure."""


@dataclass(frozen=True)
class Row:
    """How a class answered one question.

    Attributes
    ----------
    question : Question
    answers : int
        Students who answered it.
    right : float
        Share of right answers, 0 … 1.
    low, high : float
        Where the share of all such students probably lies: Wilson's interval at 68 %.
    sure : float
        Mean confidence, 0 … 1.
    sure_and_wrong : int
        Students who were sure and wrong.
    chosen : dict of str to int
        Key of each option -> how often it was chosen.
    """

    question: bank.Question
    answers: int
    right: float
    low: float
    high: float
    sure: float
    sure_and_wrong: int
    chosen: Mapping[str, int]


@dataclass(frozen=True)
class Belief:
    """A misconception, and how many students showed it.

    Attributes
    ----------
    mistake : str
        In the words of the question bank.
    count : int
        Students who showed it at least once.
    sure : float
        Their mean confidence when they did.
    questions : tuple of str
        Where it came up.
    """

    mistake: str
    count: int
    sure: float
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Gain:
    """What a class learned between two tests.

    Attributes
    ----------
    students : int
        Who took both.
    before, after : float
        Mean shares of right answers.
    gain : float
        Hake's normalised gain: the part of what was missing before that is there after.
    low, high : float
        Its interval at 95 %, from resampling the students.
    """

    students: int
    before: float
    after: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Class:
    """The progress of a class.

    Parameters
    ----------
    students : mapping of str to StudentProgress
        Name of a file -> what it holds.
    refused : mapping of str to str, optional
        Files that could not be read, and why.
    """

    students: Mapping[str, StudentProgress]
    refused: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every question that somebody answered, in the order of the course."""
        rows = []
        for question in bank.questions().values():
            given = [answer for _, answer in self._answers(question)]
            if given:
                rows.append(_row(question, given))
        return tuple(rows)

    def beliefs(self) -> tuple[Belief, ...]:
        """Misconceptions, those of most students first."""
        seen: dict[str, list[tuple[str, str, float]]] = {}
        for question in bank.questions().values():
            mistakes = {option.key: option.mistake for option in question.options}
            for student, answer in self._answers(question):
                if mistake := mistakes.get(answer.option):
                    seen.setdefault(mistake, []).append((student, question.id, answer.confidence))
        beliefs = [
            Belief(
                mistake,
                len({student for student, _, _ in shown}),
                float(np.mean([sure for _, _, sure in shown])),
                tuple(dict.fromkeys(id for _, id, _ in shown)),
            )
            for mistake, shown in seen.items()
        ]
        return tuple(sorted(beliefs, key=lambda belief: (-belief.count, -belief.sure, belief.mistake)))

    def calibration(self) -> Calibration:
        """How sure and how right all answers are together."""
        given = [answer for question in bank.questions().values() for _, answer in self._answers(question)]
        return calibration([answer.confidence for answer in given], [answer.right for answer in given])

    def opened(self, lesson: str) -> tuple[str, ...]:
        """Names of the files with an answer to a question of a lesson, such as ``"05"``."""
        return tuple(
            sorted(
                name
                for name, progress in self.students.items()
                if any(id.startswith(f"{lesson}.") for id in progress.answers)
            )
        )

    def not_opened(self, lesson: str) -> tuple[str, ...]:
        """Names of the other files."""
        return tuple(sorted(set(self.students) - set(self.opened(lesson))))

    def to_discuss(self, n: int = 5) -> tuple[Row, ...]:
        """Questions that are worth the class's time: many sure and wrong, or opinions split.

        A question that nearly all answer right, or nearly all wrong, is settled by a sentence; where between a third
        and two thirds are right, students convince each other (E. Mazur, *Peer Instruction*, 1997).

        Parameters
        ----------
        n : int
            How many, at most.
        """

        def worth(row: Row) -> float:
            split = 1 - abs(row.right - 0.5) * 2
            return split + 2 * row.sure_and_wrong / row.answers

        rows = [row for row in self.rows if row.right < 1]
        return tuple(sorted(rows, key=lambda row: (-worth(row), row.question.id))[:n])

    def _answers(self, question: bank.Question) -> list[tuple[str, Answer]]:
        """Answers to a question by one of today's options, each with its student."""
        keys = {option.key for option in question.options}
        given = ((name, progress.answers.get(question.id)) for name, progress in self.students.items())
        return [(name, answer) for name, answer in given if answer is not None and answer.option in keys]


def read(folder: str | os.PathLike[str]) -> Class:
    """Read the progress files of a class.

    Parameters
    ----------
    folder : path-like
        Every ``.json`` file in it, and in the folders under it, is one student's.

    Returns
    -------
    Class
        Files that are no progress files are in `Class.refused`.

    Raises
    ------
    LessonError
        No such folder, no ``.json`` file in it, or more than `MOST_FILES`.
    """
    root = as_path(folder)
    if not root.is_dir():
        raise LessonError(f"{root} is no folder; give the folder that holds the students' progress files")
    paths = sorted(
        path for path in root.rglob("*.json") if not any(p.startswith(".") for p in path.relative_to(root).parts)
    )
    if not paths:
        raise LessonError(f"{root} holds no .json file; put the progress files in it that students downloaded")
    if len(paths) > MOST_FILES:
        raise LessonError(
            f"{root} holds {len(paths)} .json files, expected at most {MOST_FILES}; is it the right folder?"
        )
    students: dict[str, StudentProgress] = {}
    refused: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(root).with_suffix("").as_posix()
        try:
            students[name] = StudentProgress.from_text(decode(read_bytes(path, limit=MOST_BYTES, error=ProgressError)))
        except QvizError as error:
            refused[name] = str(error)
    return Class(students, refused)


def gain(before: Class, after: Class, *, resamples: int = 2000, seed: int = 0) -> Gain:
    """Normalised gain between a test before the course and one after it.

    Students are matched by the names of their files, and questions count for those who answered them.

    Parameters
    ----------
    before, after : Class
    resamples : int
        Draws of as many students, for the interval.
    seed : int
        Decides the draws.

    Returns
    -------
    Gain

    Raises
    ------
    LessonError
        Nobody took both tests, or all were right before.

    Notes
    -----
    R. R. Hake, *Interactive-engagement versus traditional methods*, American Journal of Physics 66, 1998.

    Examples
    --------
    >>> from qviz.course.lesson import Answer, StudentProgress
    >>> answer = lambda right: Answer("c" if right else "a", right, 0.5, 4, "2026-01-31T12:00:00Z")
    >>> one = lambda right: StudentProgress({"05.2": answer(right)})
    >>> learned = gain(Class({"a": one(False), "b": one(True)}), Class({"a": one(True), "b": one(True)}))
    >>> learned.before, learned.after, learned.gain
    (0.5, 1.0, 1.0)
    """
    both = sorted(set(_shares(before)) & set(_shares(after)))
    if not both:
        raise LessonError("nobody has a file in both folders; give matching files the same name in each")
    first = np.array([_shares(before)[name] for name in both])
    second = np.array([_shares(after)[name] for name in both])
    if first.mean() == 1:
        raise LessonError("every answer before the course was right: nothing was left to gain")
    resamples = whole_number(resamples, "resamples", LessonError, least=1, most=1_000_000)
    seed = whole_number(seed, "seed", LessonError, least=0)
    draws = np.random.default_rng(seed).integers(0, len(both), (resamples, len(both)))
    left = 1 - first[draws].mean(axis=1)
    gains = (second[draws].mean(axis=1) - first[draws].mean(axis=1))[left > 0] / left[left > 0]
    low, high = np.percentile(gains, [2.5, 97.5]) if gains.size else (math.nan, math.nan)
    whole = (second.mean() - first.mean()) / (1 - first.mean())
    return Gain(len(both), float(first.mean()), float(second.mean()), float(whole), float(low), float(high))


def write_kit(folder: str | os.PathLike[str], questions: int | None = None) -> tuple[Path, Path]:
    """Write a test in two forms, A and B, as notebooks: for a test before the course and one after it.

    The forms share no question, and each takes the same number from every lesson as far as that goes. Give half of the
    class A before and B after, the other half B before and A after: then it does not matter which one is harder.

    Parameters
    ----------
    folder : path-like
        Where the notebooks go; it is made.
    questions : int, optional
        In each form; a dozen unless given, or as many as the bank has.

    Returns
    -------
    a, b : pathlib.Path

    Raises
    ------
    LessonError
        More questions than the bank has for two forms, or a file that is there already.
    """
    import nbformat

    forms = _forms(questions)
    target = as_path(folder)
    paths = target / "test_A.ipynb", target / "test_B.ipynb"
    for path in paths:
        if path.exists():
            raise LessonError(f"{path} exists already; choose another folder, so that no answers are lost")
    with explained(target, error=LessonError):
        target.mkdir(parents=True, exist_ok=True)
    for name, path, form in zip("AB", paths, forms, strict=True):
        cells = [nbformat.v4.new_markdown_cell(_INTRODUCTION.format(name=name, count=len(form)))]
        cells.append(nbformat.v4.new_code_cell(_SETTING.format(name=name)))
        cells += [nbformat.v4.new_code_cell(f'qviz.lesson.predict("{question.id}")') for question in form]
        book = nbformat.v4.new_notebook(cells=cells)
        for n, cell in enumerate(book.cells):
            cell["id"] = f"{name.lower()}-{n}"
        write_bytes(path, nbformat.writes(book).encode())
    return paths


check_methods(Class, LessonError)
check_calls(globals(), ("read", "gain", "write_kit"), LessonError)

_INTRODUCTION = """# Test {name}

{count} questions. Run the notebook from top to bottom, choose an answer to each question, and say how sure you are. Do
not look anything up, and guess where you do not know. Then hand in the file `test_{name}.json`, which lies beside this
notebook."""

_SETTING = """import os

os.environ["QVIZ_PROGRESS"] = "test_{name}.json"

import qviz"""


def _forms(questions: int | None) -> tuple[list[bank.Question], list[bank.Question]]:
    """Two forms without a common question, lesson by lesson in turn."""
    by_lesson = {
        lesson: [q for q in bank.questions().values() if q.options and q.id.startswith(f"{lesson}.")]
        for lesson in bank.lessons()
    }
    pairs = [
        (first, second)
        for turn in range(max(map(len, by_lesson.values())) // 2)
        for asked in by_lesson.values()
        if len(asked) >= 2 * turn + 2
        for first, second in [asked[2 * turn : 2 * turn + 2]]
    ]
    questions = min(12, len(pairs)) if questions is None else questions
    if not 1 <= questions <= len(pairs):
        raise LessonError(f"a form can have 1 to {len(pairs)} questions, asked for {questions}")
    order = list(bank.questions())
    forms = tuple(
        sorted((pair[side] for pair in pairs[:questions]), key=lambda q: order.index(q.id)) for side in (0, 1)
    )
    return forms[0], forms[1]


def _shares(group: Class) -> dict[str, float]:
    """Student -> share of right answers, for those who answered anything."""
    known = bank.questions()
    shares = {}
    for name, progress in group.students.items():
        right = [answer.right for id, answer in progress.answers.items() if id in known]
        if right:
            shares[name] = float(np.mean(right))
    return shares


def _row(question: bank.Question, given: Sequence[Answer]) -> Row:
    together = calibration([1.0] * len(given), [answer.right for answer in given])  # all in one group
    chosen = {option.key: sum(answer.option == option.key for answer in given) for option in question.options}
    return Row(
        question,
        len(given),
        float(together.share[0]),
        float(together.low[0]),
        float(together.high[0]),
        float(np.mean([answer.confidence for answer in given])),
        sum(answer.confidence >= SURE and not answer.right for answer in given),
        chosen,
    )
