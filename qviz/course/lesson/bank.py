"""The questions, read from ``questions/NN.toml``: one file a lesson."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qviz._files import read_text
from qviz.errors import LessonError, ModelNotFoundError, shortened

_MOST_BYTES = 1 << 20

FOLDER = Path(__file__).parent / "questions"


@dataclass(frozen=True)
class QuestionOption:
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
        As in `QuestionOption`.
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
    options : tuple of QuestionOption
        Empty where the answer is a number or an array.
    look : str
        What to look at in the explorer once it is unlocked.
    controls : tuple of str
        The controls that the prediction holds; all if empty.
    veils : tuple of str
        What of the explorer would give the answer away, and is not shown before: panels and readouts.
    source : str
        Address of the thread in which people asked it.
    answer : float or None
        The right number, where it is always the same.
    tolerance : float
        How far off a number may be, absolutely.
    wrong : tuple of Wrong
        Numbers that give a misconception away.
    was : tuple of str
        Ids that it had before it moved to another lesson; answers that were given then still count.
    """

    id: str
    text: str
    options: tuple[QuestionOption, ...] = ()
    look: str = ""
    controls: tuple[str, ...] = ()
    veils: tuple[str, ...] = ()
    source: str = ""
    answer: float | None = None
    tolerance: float = 0.0
    wrong: tuple[Wrong, ...] = ()
    was: tuple[str, ...] = ()

    @property
    def right(self) -> QuestionOption:
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

    def option(self, key: str) -> QuestionOption:
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
        raise LessonError(f"question {self.id} has no option {shortened(key)}; answer with {choices}")


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
    known = questions()
    if id in known:
        return known[id]
    lesson = str(id).partition(".")[0]
    same = [name for name in known if name.startswith(f"{lesson}.")]
    raise LessonError(
        f"no question {shortened(id)}; "
        + (f"lesson {lesson} has {', '.join(same)}" if same else f"there are lessons {', '.join(lessons())}")
    )


@cache
def questions() -> dict[str, Question]:
    """All questions of the course by id, in the order of the lessons."""
    by_id: dict[str, Question] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for part in read(path):
            if part.id in by_id:
                raise LessonError(f"{path.name}: question {part.id} is there twice")
            by_id[part.id] = part
    return by_id


@cache
def moved() -> dict[str, str]:
    """Ids that questions had before they moved, each with its id of today.

    Examples
    --------
    >>> set(moved().values()) <= set(questions())
    True
    """
    return {before: asked.id for asked in questions().values() for before in asked.was}


def lessons() -> tuple[str, ...]:
    """Numbers of the lessons that have questions."""
    return tuple(dict.fromkeys(id.partition(".")[0] for id in questions()))


def read(path: Path) -> list[Question]:
    """The questions of one file.

    Raises
    ------
    LessonError
        The file is not TOML, or a question lacks something; the text names file, question and key, what was wanted and
        what was found.
    """
    try:
        content = tomllib.loads(read_text(path, limit=_MOST_BYTES, error=LessonError))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LessonError(f"{path.name} is not TOML: {error}") from None
    except ModelNotFoundError:
        raise LessonError(f"{path.name} cannot be read: there is no such file") from None
    entries = _Table(path.name, content).tables("question", required=True)
    return [_question(entry, path.stem) for entry in entries]


class _Table:
    """A TOML table whose entries are asked for by key and type; says where it stands when one is wrong."""

    def __init__(self, where: str, content: dict[str, Any]) -> None:
        self.where, self._content, self._asked = where, content, set[str]()

    def _get(self, key: str, wanted: str, kinds: tuple[type, ...], required: bool) -> Any:
        self._asked.add(key)
        value = self._content.get(key)
        if value is None and not required:
            return None
        if type(value) not in kinds:  # not isinstance: true is no number
            what = "nothing" if value is None else f"{type(value).__name__} {value!r:.80}"
            raise LessonError(f"{self.where}: {key} must be {wanted}, found {what}")
        return value

    def text(self, key: str, required: bool = False) -> str:
        return self._get(key, "a text", (str,), required) or ""

    def number(self, key: str, required: bool = False) -> float | None:
        number = self._get(key, "a number", (int, float), required)
        if number is not None and not math.isfinite(number):
            raise LessonError(f"{self.where}: {key} must be a finite number, found {number}")
        return None if number is None else float(number)

    def texts(self, key: str) -> tuple[str, ...]:
        texts = self._get(key, "a list of texts", (list,), required=False) or []
        for item in texts:
            if type(item) is not str:
                raise LessonError(f"{self.where}: {key} must be a list of texts, found {item!r:.80} in it")
        return tuple(texts)

    def tables(self, key: str, required: bool = False) -> list[_Table]:
        tables = self._get(key, "a list of tables, [[...]]", (list,), required) or []
        for item in tables:
            if type(item) is not dict:
                raise LessonError(f"{self.where}: {key} must be a list of tables, found {item!r:.80} in it")
        names = [
            f"question {item.get('id') or n}" if key == "question" else f"{key} {n}" for n, item in enumerate(tables, 1)
        ]
        return [_Table(f"{self.where}, {name}", item) for name, item in zip(names, tables, strict=True)]

    def end(self) -> None:
        """Refuse what nobody asked for: usually a key that is misspelled."""
        unknown = sorted(set(self._content) - self._asked)
        if unknown:
            raise LessonError(
                f"{self.where}: no key {unknown[0]!r} is known here; known are {', '.join(sorted(self._asked))}"
            )


def _question(entry: _Table, lesson: str) -> Question:
    options: list[QuestionOption] = []
    wrong: list[Wrong] = []
    for part in entry.tables("option"):
        key = "abcdefgh"[len(options) : len(options) + 1]
        if not key:
            raise LessonError(f"{entry.where}: at most 8 options, found more")
        texts = part.text("text", True), part.text("mistake"), part.text("feedback", True)
        options.append(QuestionOption(key, _words(texts[0]), texts[1], _words(texts[2])))
        part.end()
    for part in entry.tables("wrong"):
        value = part.number("value", True)
        assert value is not None
        wrong.append(Wrong(value, part.text("mistake", True), _words(part.text("feedback", True))))
        part.end()
    made = Question(
        id=entry.text("id", True),
        text=_words(entry.text("text", True)),
        options=tuple(options),
        look=_words(entry.text("look")),
        controls=entry.texts("controls"),
        veils=entry.texts("veils"),
        source=entry.text("source"),
        answer=entry.number("answer"),
        tolerance=entry.number("tolerance") or 0.0,
        wrong=tuple(wrong),
        was=entry.texts("was"),
    )
    entry.end()
    if not made.id.startswith(f"{lesson}."):
        raise LessonError(f"question {made.id!r} belongs into another file: this one is lesson {lesson}'s")
    if options and sum(option.right for option in options) != 1:
        raise LessonError(f"question {made.id}: exactly one option has no `mistake`, the right one")
    return made


def _words(text: str) -> str:
    return " ".join(str(text).split())
