"""A student's progress: one small JSON file, written whole or not at all, and never thrown away.

The file is ``progress.json`` in the user's data folder, or where the environment variable ``QVIZ_PROGRESS`` says. Only
answers given by hand are kept: running a notebook writes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qviz.errors import ProgressError

VERSION = 1
MOST_BYTES = 2**20  # a course has a hundred questions; more than this is another file


@dataclass(frozen=True)
class Answer:
    """One prediction.

    Attributes
    ----------
    option : str
        Key of the option that was chosen.
    right : bool
    confidence : float
        Probability of being right, as the student put it, 0 … 1.
    options : int
        How many there were to choose from.
    at : str
        When, in UTC, as ISO 8601 has it.
    """

    option: str
    right: bool
    confidence: float
    options: int
    at: str


@dataclass
class Progress:
    """What a student has answered.

    Attributes
    ----------
    answers : dict of str to Answer
        By question; the first answer counts, and later ones change nothing.

    Examples
    --------
    >>> progress = Progress()
    >>> progress.add("05.1", Answer("b", True, 0.8, 3, "2026-01-31T12:00:00Z"))
    >>> Progress.from_text(progress.text()) == progress
    True
    """

    answers: dict[str, Answer] = field(default_factory=dict)

    def add(self, id: str, answer: Answer) -> None:
        """Keep an answer, unless there is an earlier one."""
        before = self.answers.get(id)
        if before is None or answer.at < before.at:
            self.answers[id] = answer

    def merge(self, other: Progress) -> None:
        """Take over another file's answers; where both have one, the earlier counts."""
        for id, answer in other.answers.items():
            self.add(id, answer)

    def text(self) -> str:
        """The file's content."""
        content = {
            "qviz_progress": VERSION,
            "answers": {id: asdict(answer) for id, answer in sorted(self.answers.items())},
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Progress:
        """Read `text` back.

        Parameters
        ----------
        text : str

        Returns
        -------
        Progress

        Raises
        ------
        ProgressError
            Not a progress file, or one of a later version.
        """
        if len(text) > MOST_BYTES:
            raise ProgressError(f"this is no progress file: it has {len(text):,} characters, expected a few thousand")
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProgressError(f"this is no progress file, or it is damaged: {error}") from None
        version = content.get("qviz_progress") if isinstance(content, Mapping) else None
        if type(version) is not int or version < 1:
            raise ProgressError(
                "this is no progress file: it does not begin with “qviz_progress”. Choose the file that the link "
                "“Download” saved"
            )
        if version > VERSION:
            raise _LaterVersionError(
                f"this progress file has version {version}, and this qviz reads up to {VERSION}; update qviz"
            )
        answers = content.get("answers", {})
        if not isinstance(answers, Mapping):
            raise ProgressError("this progress file is damaged: its “answers” are no list of questions")
        return cls({str(id): _answer(str(id), answer) for id, answer in answers.items()})


class _LaterVersionError(ProgressError):
    """Written by a later qviz; such a file is left as it is."""


def _answer(id: str, entry: Any) -> Answer:
    kinds: dict[str, type | tuple[type, ...]] = {
        "option": str,
        "right": bool,
        "confidence": (int, float),
        "options": int,
        "at": str,
    }
    if not isinstance(entry, Mapping) or not all(isinstance(entry.get(name), kind) for name, kind in kinds.items()):
        raise ProgressError(
            f"this progress file is damaged: answer {id!r} needs {', '.join(kinds)}, got {entry!r:.120}"
        )
    if not 0 <= entry["confidence"] <= 1 or entry["options"] < 1:
        raise ProgressError(
            f"this progress file is damaged: answer {id!r} has confidence {entry['confidence']!r:.20} (expected "
            f"0 … 1) among {entry['options']!r:.20} options"
        )
    return Answer(**{name: entry[name] for name in kinds})


def now() -> str:
    """The time, in UTC to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Keeps a `Progress` in a file.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    path : Path
    problem : str
        Why answers cannot be kept; empty if all is well. They still count until the kernel ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._progress = Progress()
        self._listeners: list[Callable[[], None]] = []

    def load(self) -> Progress:
        """What is in the file, and what could not be written to it.

        Returns
        -------
        Progress

        Raises
        ------
        ProgressError
            The file is damaged: it has been moved aside, and the text says where to. The next call starts anew. Or it
            cannot be read, or was written by a later version: then it stays as it is.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return self._progress
        except UnicodeDecodeError as error:
            raise self._aside(f"not a text: {error}") from None
        except OSError as error:
            raise ProgressError(f"the progress in {self.path} cannot be read: {error.strerror}") from None
        try:
            self._progress.merge(Progress.from_text(text))
        except _LaterVersionError as error:
            raise _LaterVersionError(f"{self.path}: {error}") from None
        except ProgressError as error:
            raise self._aside(str(error)) from None
        return self._progress

    def _aside(self, why: str) -> ProgressError:
        kept = _free(self.path, "damaged")
        try:
            self.path.replace(kept)
        except OSError as error:
            return ProgressError(
                f"the progress in {self.path} is damaged ({why}), and cannot be moved: {error.strerror}"
            )
        return ProgressError(
            f"the progress in {self.path} was damaged ({why}). It is kept as {kept.name} beside it, and progress "
            f"starts anew; if you have downloaded your progress before, bring it back with qviz.lesson.progress()"
        )

    def record(self, id: str, answer: Answer) -> None:
        """Keep one answer; a file that cannot be written is told in `problem`."""
        self._progress.add(id, answer)
        self._save()

    def bring_back(self, text: str) -> int:
        """Take over a downloaded file.

        Parameters
        ----------
        text : str
            Content of the file.

        Returns
        -------
        int
            How many answers are there now.

        Raises
        ------
        ProgressError
            It is no progress file; nothing was changed.
        """
        self._progress.merge(Progress.from_text(text))
        self._save()
        return len(self._progress.answers)

    def start_over(self) -> Path | None:
        """Forget all answers; the file is kept under another name.

        Returns
        -------
        Path or None
            Where it is now; None if there was none.
        """
        kept = None
        if self.path.exists():
            kept = _free(self.path, "before")
            self.path.replace(kept)
        self._progress = Progress()
        self._tell()
        return kept

    def _save(self) -> None:
        self.problem = ""
        try:
            self.load()  # another notebook may have written meanwhile
        except ProgressError as error:
            self.problem = str(error)
        if not self.problem or not self.path.exists():  # what could be neither read nor moved stays as it is
            try:
                _write(self.path, self._progress.text())
            except OSError as error:
                self.problem = (
                    f"your answers cannot be kept in {self.path}: {error.strerror or error}. They count until the "
                    f"kernel ends; download them, or set QVIZ_PROGRESS to a file that can be written"
                )
        self._tell()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()


def _free(path: Path, word: str) -> Path:
    """A name beside `path` that is not taken: a file that was kept once is never written over."""
    n = 1
    while (found := path.with_name(f"{path.stem}.{word}-{n}{path.suffix}")).exists():
        n += 1
    return found


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(scratch).unlink()
        raise


_stores: dict[Path, Store] = {}


def store() -> Store:
    """Where progress is kept: ``QVIZ_PROGRESS``, or the user's data folder."""
    said = os.environ.get("QVIZ_PROGRESS")
    if said:
        path = Path(said).expanduser()
        if path.is_dir():
            path /= "progress.json"
    else:
        import platformdirs

        path = Path(platformdirs.user_data_dir("qviz", appauthor=False)) / "progress.json"
    return _stores.setdefault(path, Store(path))
