"""The questions, read from ``questions/NN.toml``: one file a lesson."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qviz.errors import LessonError

FOLDER = Path(__file__).parent / "questions"


@dataclass(frozen=True)
class Option:
    """One answer to choose.

    Attributes
    ----------
    key : str
        ``"a"``, ``"b"`` …, by its place.
    text : str
    mistake : str
        The misconception behind it, in a few words; empty for the right one.
    feedback : str
        Why it is right, or what the mistake overlooks.
    """

    key: str
    text: str
    mistake: str
    feedback: str

    @property
    def right(self) -> bool:
        """Whether this is the right answer."""
        return not self.mistake


@dataclass(frozen=True)
class Wrong:
    """A number that people often give instead of the right one, and why.

    Attributes
    ----------
    value : float
    mistake, feedback : str
        As in `Option`.
    """

    value: float
    mistake: str
    feedback: str


@dataclass(frozen=True)
class Question:
    """A question of a lesson.

    Attributes
    ----------
    id : str
        Lesson and name, such as ``"05.3"``; predictions have their number in the lesson for a name.
    text : str
    options : tuple of Option
        Empty where the answer is a number or an array.
    look : str
        What to look at in the explorer once it is unlocked.
    controls : tuple of str
        The controls that the prediction holds; all if empty.
    source : str
        Address of the thread in which people asked it.
    answer : float or None
        The right number, where it is always the same.
    tolerance : float
        How far off a number may be, absolutely.
    wrong : tuple of Wrong
        Numbers that give a misconception away.
    """

    id: str
    text: str
    options: tuple[Option, ...] = ()
    look: str = ""
    controls: tuple[str, ...] = ()
    source: str = ""
    answer: float | None = None
    tolerance: float = 0.0
    wrong: tuple[Wrong, ...] = ()

    @property
    def right(self) -> Option:
        """The right option.

        Raises
        ------
        LessonError
            The question has no options.
        """
        for option in self.options:
            if option.right:
                return option
        raise LessonError(f"question {self.id} has no options to choose from; its answer is a number or an array")

    def option(self, key: str) -> Option:
        """The option of a key (``"b"``), or of a text that equals it.

        Raises
        ------
        LessonError
            There is no such option.
        """
        wanted = str(key).strip().lower()
        for option in self.options:
            if wanted in (option.key, option.text.lower()):
                return option
        choices = "; ".join(f"{option.key!r} for “{option.text}”" for option in self.options)
        raise LessonError(f"question {self.id} has no option {key!r}; answer with {choices}")


def question(id: str) -> Question:
    """One question.

    Parameters
    ----------
    id : str
        Such as ``"05.3"``.

    Returns
    -------
    Question

    Raises
    ------
    LessonError
        There is none of that name; the text lists those of the lesson.

    Examples
    --------
    >>> question("05.3").right.text
    'About 20 % less'
    """
    found = questions()
    if id in found:
        return found[id]
    lesson = str(id).partition(".")[0]
    same = [name for name in found if name.startswith(f"{lesson}.")]
    raise LessonError(
        f"no question {id!r}; "
        + (f"lesson {lesson} has {', '.join(same)}" if same else f"there are lessons {', '.join(lessons())}")
    )


@cache
def questions() -> dict[str, Question]:
    """All questions of the course by id, in the order of the lessons."""
    found: dict[str, Question] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for part in read(path):
            if part.id in found:
                raise LessonError(f"{path.name}: question {part.id} is there twice")
            found[part.id] = part
    return found


def lessons() -> tuple[str, ...]:
    """Numbers of the lessons that have questions."""
    return tuple(dict.fromkeys(id.partition(".")[0] for id in questions()))


def read(path: Path) -> list[Question]:
    """The questions of one file.

    Raises
    ------
    LessonError
        The file is not TOML, or a question lacks something; the text names it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return [_question(entry, path.stem) for entry in content["question"]]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise LessonError(f"{path.name}: {type(error).__name__}: {error}") from None


def _question(entry: dict[str, Any], lesson: str) -> Question:
    options = tuple(
        Option("abcdefgh"[i], _words(part["text"]), part.get("mistake", ""), _words(part["feedback"]))
        for i, part in enumerate(entry.pop("option", ()))
    )
    wrong = tuple(
        Wrong(float(part["value"]), part["mistake"], _words(part["feedback"])) for part in entry.pop("wrong", ())
    )
    controls = tuple(entry.pop("controls", ()))
    text, look = _words(entry.pop("text")), _words(entry.pop("look", ""))
    found = Question(text=text, look=look, options=options, wrong=wrong, controls=controls, **entry)
    if not found.id.startswith(f"{lesson}."):
        raise LessonError(f"question {found.id!r} belongs into another file: this one is lesson {lesson}'s")
    if options and sum(option.right for option in options) != 1:
        raise LessonError(f"question {found.id}: exactly one option has no `mistake`, the right one")
    return found


def _words(text: str) -> str:
    return " ".join(str(text).split())
