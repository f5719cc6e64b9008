"""A student's progress: one small JSON file, written whole or not at all, and never thrown away.

The file is ``progress.json`` in the user's data folder, or where the environment variable ``QVIZ_PROGRESS`` says. Only
answers given by hand are kept: running a notebook writes nothing. Several notebooks may save at once: each waits for
the other, reads what it wrote, and adds its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qviz._arguments import check_methods
from qviz._files import as_path, read_bytes, write_bytes
from qviz.course.lesson import bank
from qviz.errors import ModelNotFoundError, ProgressError, QvizError, shortened

VERSION = 1
MOST_BYTES = 2**20  # a course has a hundred questions; more than this is another file
_PATIENCE = 10.0  # seconds to wait for another notebook that is saving; then save all the same


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
class StudentProgress:
    """What a student has answered.

    Attributes
    ----------
    answers : dict of str to Answer
        By question; the first answer counts, and later ones change nothing.

    Examples
    --------
    >>> progress = StudentProgress()
    >>> progress.add("05.1", Answer("b", True, 0.8, 3, "2026-01-31T12:00:00Z"))
    >>> StudentProgress.from_text(progress.text()) == progress
    True
    """

    answers: dict[str, Answer] = field(default_factory=dict)

    def add(self, id: str, answer: Answer) -> None:
        """Keep an answer, unless there is an earlier one."""
        before = self.answers.get(id)
        if before is None or answer.at < before.at:
            self.answers[id] = answer

    def merge(self, other: StudentProgress) -> None:
        """Take over another file's answers; where both have one, the earlier counts."""
        for id, answer in other.answers.items():
            self.add(id, answer)

    def text(self) -> str:
        """The file's content, in ASCII: any text can be written so, half a character too."""
        content = {
            "qviz_progress": VERSION,
            "answers": {id: asdict(answer) for id, answer in sorted(self.answers.items())},
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str) -> StudentProgress:
        """Read `text` back; an answer to a question that has moved since counts under its id of today.

        Parameters
        ----------
        text : str

        Returns
        -------
        StudentProgress

        Raises
        ------
        ProgressError
            Not a progress file, or one of a later version.
        """
        if len(text) > MOST_BYTES:
            raise ProgressError(f"this is no progress file: it has {len(text):,} characters, expected a few thousand")
        try:
            content = json.loads(text.removeprefix("\ufeff"))
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
        read = cls()
        for id, answer in answers.items():
            read.add(bank.moved().get(id, _whole(id)), _answer(id, answer))
        return read


check_methods(StudentProgress, ProgressError)


class _LaterVersionError(ProgressError):
    """Written by a later qviz; such a file is left as it is."""


def decode(raw: bytes) -> str:
    r"""The text of a file that an editor may have saved: UTF-8 with or without a mark at its head, or UTF-16 with one.

    Parameters
    ----------
    raw : bytes

    Returns
    -------
    str

    Raises
    ------
    ProgressError
        It is no text.

    Examples
    --------
    >>> decode("{}".encode("utf-16")), decode(b"\xef\xbb\xbf{}")
    ('{}', '{}')
    """
    if not isinstance(raw, bytes | bytearray):
        raise ProgressError(f"raw is {shortened(raw)}; bytes are wanted")
    code = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(code)
    except UnicodeDecodeError as error:
        raise ProgressError(f"not a text: {error}") from None


def _answer(id: str, entry: Any) -> Answer:
    kinds: dict[str, tuple[type, ...]] = {
        "option": (str,),
        "right": (bool,),
        "confidence": (int, float),
        "options": (int,),
        "at": (str,),
    }
    if not isinstance(entry, Mapping):
        raise ProgressError(f"this progress file is damaged: answer {id!r:.80} is {entry!r:.80}, expected an object")
    for name, kind in kinds.items():
        if type(entry.get(name)) not in kind:  # not isinstance: true is no number
            wanted = " or ".join(part.__name__ for part in kind)
            raise ProgressError(
                f"this progress file is damaged: answer {id!r:.80} has {name} = {entry.get(name)!r:.80}, "
                f"expected {wanted}"
            )
    if not 0 <= entry["confidence"] <= 1 or not 1 <= entry["options"] <= 1000:
        raise ProgressError(
            f"this progress file is damaged: answer {id!r:.80} has confidence {entry['confidence']!r:.20} (expected "
            f"0 … 1) among {entry['options']!r:.20} options"
        )
    option, right, confidence, options, at = (entry[name] for name in kinds)
    return Answer(_whole(option), right, confidence, options, _whole(at))


def _whole(text: str) -> str:
    """`text` with a question mark for each half of a character (a lone surrogate), which no screen can show."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def now() -> str:
    """The time, in UTC to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Keeps a `StudentProgress` in a file.

    Parameters
    ----------
    path : Path
        A link is followed: what it points to is written.

    Attributes
    ----------
    path : Path
    problem : str
        Why answers cannot be kept; empty if all is well. They still count until the kernel ends, and are written as
        soon as the file can be written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._told = ""
        self._progress = StudentProgress()
        self._unsaved = False
        self._listeners: list[Callable[[], None]] = []

    def load(self) -> StudentProgress:
        """What is in the file, and what could not be written to it.

        Returns
        -------
        StudentProgress

        Raises
        ------
        ProgressError
            The file is damaged: it has been moved aside, and the text says where to. The next call starts anew. Or it
            cannot be read, is no progress file by far, or was written by a later version: then it stays as it is.
        """
        if self._unsaved:
            self._save()
        else:
            self._read()
        return self._progress

    def record(self, id: str, answer: Answer) -> str:
        """Keep one answer; a question that has been answered already keeps the answer that it has.

        Parameters
        ----------
        id : str
        answer : Answer

        Returns
        -------
        str
            What the student has to be told now: what went wrong, the first time that it does, or that all is well
            again. Empty otherwise.
        """
        with self._locked():
            problem = self._problem_of(self._read)
            self._progress.answers.setdefault(id, answer)  # whatever their clocks say: the other one was there before
            self._put(problem)
        self._tell()
        return self._news()

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
        self._progress.merge(StudentProgress.from_text(text))
        self._save()
        self._tell()
        return len(self._progress.answers)

    def start_over(self) -> Path | None:
        """Forget all answers; the file is kept under another name.

        Returns
        -------
        Path or None
            Where it is now; None if there was none.

        Raises
        ------
        OSError
            The file cannot be moved; nothing was forgotten.
        """
        kept = None
        with self._locked():
            if self._target.exists():
                kept = _free(self._target, "before")
                self._target.replace(kept)
            self._progress, self._unsaved, self.problem = StudentProgress(), False, ""
        self._tell()
        return kept

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change."""
        self._listeners.append(listener)

    @property
    def _target(self) -> Path:
        return Path(os.path.realpath(self.path))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """While no other notebook reads or writes the file; where no lock can be had, all the same."""
        import filelock

        target = self._target
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, NotImplementedError):  # Timeout, too, is an OSError
                target.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(filelock.FileLock(target.with_name(f".{target.name}.lock"), timeout=_PATIENCE))
            yield

    def _read(self) -> None:
        """Take over what is in the file."""
        try:
            raw = read_bytes(self._target, limit=MOST_BYTES, error=ProgressError)
        except ModelNotFoundError:
            return
        except ProgressError as error:
            raise ProgressError(f"the progress in {self.path} cannot be read: {error}") from None
        try:
            self._progress.merge(StudentProgress.from_text(decode(raw)))
        except _LaterVersionError as error:
            raise _LaterVersionError(f"{self.path}: {error}") from None
        except ProgressError as error:
            raise self._aside(str(error)) from None

    def _aside(self, why: str) -> ProgressError:
        kept = _free(self._target, "damaged")
        try:
            self._target.replace(kept)
        except OSError as error:
            return ProgressError(
                f"the progress in {self.path} is damaged ({why}), and cannot be moved: {error.strerror}"
            )
        return ProgressError(
            f"the progress in {self.path} was damaged ({why}). It is kept as {kept.name} beside it, and progress "
            f"starts anew; if you have downloaded your progress before, bring it back with qviz.lesson.progress()"
        )

    def _save(self) -> None:
        with self._locked():
            self._put(self._problem_of(self._read))

    @staticmethod
    def _problem_of(work: Callable[[], None]) -> str:
        try:
            work()
        except ProgressError as error:
            return str(error)
        return ""

    def _put(self, problem: str) -> None:
        """Write what there is, unless a file stands there that could be neither read nor moved."""
        self._unsaved = True
        if not problem or not self._target.exists():
            try:
                self._target.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(self._target, self._progress.text().encode(), ProgressError)
                self._unsaved = False
            except (OSError, ProgressError) as error:
                why = (error.strerror if isinstance(error, OSError) else "") or str(error)
                problem = (
                    f"your answers cannot be kept in {self.path}: {why}. They count until the kernel ends, and are "
                    f"written as soon as that works again; or download them, or set QVIZ_PROGRESS to a file that can "
                    f"be written"
                )
        self.problem = problem

    def _news(self) -> str:
        """What has changed since the student was told: told once, not with every answer."""
        before, self._told = self._told, self.problem
        if self.problem == before:
            return ""
        return self.problem or "Your answers are being kept again, the earlier ones too."

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()

    def _last_try(self) -> None:
        if self._unsaved:
            with contextlib.suppress(Exception):  # nobody is left to be told
                self._save()


def _free(path: Path, word: str) -> Path:
    """A name beside `path` that is not taken: a file that was kept once is never written over."""
    n = 1
    while (free := path.with_name(f"{path.stem}.{word}-{n}{path.suffix}")).exists():
        n += 1
    return free


_stores: dict[Path, Store] = {}


def store() -> Store:
    """Where progress is kept: ``QVIZ_PROGRESS``, or the user's data folder."""
    said = os.environ.get("QVIZ_PROGRESS")
    if said:
        try:
            path = as_path(said)
        except QvizError as error:
            raise ProgressError(f"QVIZ_PROGRESS does not name a file: {error}") from None
        if path.is_dir():
            path /= "progress.json"
    else:
        import platformdirs

        path = Path(platformdirs.user_data_dir("qviz", appauthor=False)) / "progress.json"
    if path not in _stores:
        _stores[path] = Store(path)
        atexit.register(_stores[path]._last_try)
    return _stores[path]
