"""Every error that qviz raises on purpose.

::

    QvizError
    ├── FormatError             about a block format or the array given to it
    │   ├── UnknownFormatError  no format of that name or type id
    │   ├── ShapeError          a row is not a whole number of blocks, a buffer has the wrong size
    │   ├── NonFiniteError      NaN or infinity where a block format needs numbers
    │   └── NotEncodableError   the format can be read, or only copied, here
    ├── GridError               an integer grid that cannot exist (bits, group_size, ...)
    ├── GGUFError               a malformed container: file, offset, what was read, what was expected
    │   └── MissingKeyError     no tensor or metadata of that name (lives in qviz.gguf; a KeyError too)
    │   ├── ImatrixError        a malformed importance matrix
    │   └── CheckpointError     a Hugging Face folder that is damaged, or holds what cannot be converted
    ├── CalibrationError        inputs or statistics that cannot calibrate anything
    ├── MethodError             a rounding method cannot do what was asked
    ├── RecipeError             a recipe that does not exist, or does not fit a model
    ├── PipelineError           a model that cannot be quantized as asked
    ├── ModelError              a model cannot be found, fetched or opened
    │   ├── ModelNotFoundError  not there; says what to run
    │   └── FetchError          the download failed or its checksum is wrong
    ├── LlamaError              a model that cannot be run, or was asked for what it cannot do
    ├── LessonError             a question that does not exist, an answer that cannot be read
    │   ├── WrongAnswerError    a checked answer is wrong (an AssertionError too, as graders expect)
    │   └── ProgressError       a student's progress cannot be read or kept
    ├── MuseumError             an exhibit of the bug museum that does not exist, or is incomplete
    └── WidgetError             a figure or widget was given something it cannot show

An error names what was wrong, the value, what was expected, and the next step.
"""

from __future__ import annotations

import math
import reprlib
from os import PathLike, fspath


def printable(text: str, keep: str = "") -> str:
    r"""`text` with everything that is not a visible character or a space escaped.

    Names and texts come from files: a file must not move the cursor, ring the bell, colour the screen or turn the
    direction of writing round for the person who looks into it.

    Parameters
    ----------
    text : str
    keep : str
        Characters that stay all the same, such as the end of a line.

    Returns
    -------
    str

    Examples
    --------
    >>> print(printable("blk.0\x1b[31m\n"))
    blk.0\x1b[31m\n
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class QvizError(Exception):
    """Root of the tree: ``except QvizError`` catches whatever qviz refuses."""

    def __str__(self) -> str:
        # Exception's: a KeyError among the parents would print the repr of the text
        return printable(Exception.__str__(self), keep="\n")


class FormatError(QvizError, ValueError):
    """A block format cannot do what was asked."""


class UnknownFormatError(FormatError):
    """No format of that name or ggml type id."""


class ShapeError(FormatError):
    """An array or buffer whose shape does not fit the format."""


class NonFiniteError(FormatError):
    """NaN or infinity in the input of a block format."""


class NotEncodableError(FormatError):
    """The format is known, but not in the direction that was asked for."""


class GridError(QvizError, ValueError):
    """Parameters of an integer grid that do not make sense."""


class GGUFError(QvizError):
    """A container that breaks its own rules.

    Parameters
    ----------
    problem : str
        What is wrong, in words.
    path : path-like, optional
        The file.
    offset : int, optional
        Byte position in the file where the offending value starts.
    found, expected : object, optional
        The value that was read, and what should have been there.

    Examples
    --------
    >>> print(GGUFError("bad magic", path="x.gguf", offset=0, found=b"PK", expected=b"GGUF"))
    x.gguf: bad magic at byte 0: found b'PK', expected b'GGUF'
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | PathLike[str] | None = None,
        offset: int | None = None,
        found: object = None,
        expected: object = None,
    ) -> None:
        self.problem, self.offset, self.found, self.expected = problem, offset, found, expected
        self.path = None if path is None else fspath(path)
        text = problem if self.path is None else f"{self.path}: {problem}"
        if offset is not None:
            text += f" at byte {offset}"
        details = []
        if found is not None:
            details.append(f"found {shortened(found)}")
        if expected is not None:
            details.append(f"expected {expected if isinstance(expected, str) else shortened(expected)}")
        super().__init__(text + (": " + ", ".join(details) if details else ""))


class ImatrixError(GGUFError):
    """A file of importance matrices that breaks its own rules, or does not fit a model."""


class CheckpointError(GGUFError):
    """A safetensors file or model folder that breaks its rules, or that GGUF has no place for."""


class CalibrationError(QvizError, ValueError):
    """Inputs, statistics or a range choice that calibration cannot use."""


class MethodError(QvizError, ValueError):
    """A rounding method was given weights, statistics or options that do not go together."""


class RecipeError(QvizError, ValueError):
    """A recipe, rule set or architecture that does not exist, or does not fit a model."""


class PipelineError(QvizError):
    """A model that cannot be quantized as asked."""


class ModelError(QvizError):
    """A model cannot be had."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No model of that name or path; the text says what to run."""


class FetchError(ModelError):
    """A download failed, was interrupted for good, or has the wrong checksum."""


class LlamaError(QvizError, ValueError):
    """A model that cannot be run here, or was asked for what it cannot do."""


class LessonError(QvizError, ValueError):
    """A question that does not exist, or an answer in a form that cannot be compared."""


class WrongAnswerError(LessonError, AssertionError):
    """A checked answer is wrong; the text names the mistake.

    A notebook shows the text alone: the lines of a traceback are the grader's, and say nothing about the answer.
    """

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"✗ {self}"]


class ProgressError(LessonError):
    """A student's progress cannot be read or kept; the text says where the file is now."""


class MuseumError(QvizError, ValueError):
    """An exhibit of the bug museum that does not exist, or is incomplete."""


class WidgetError(QvizError, ValueError):
    """A figure or widget was given something that it cannot show."""


def shortened(value: object, limit: int = 80) -> str:
    """`repr`, cut to what fits a line: a hostile file must not write the error's length, nor cost its memory.

    Examples
    --------
    >>> shortened("a" * 200, 10), shortened(10**5000), shortened(True)
    ("'aaaaaaaaaa'...", 'a whole number of 16610 bits', 'True')
    >>> shortened([10**5000, [[[[[[[[]]]]]]]]])
    '[a whole number of 16610 bits, [[[[[[[...]]]]]]]]'
    """
    if isinstance(value, str | bytes) and len(value) > limit:
        return f"{value[:limit]!r}..."
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python refuses to print very long ones
        return f"a whole number of {value.bit_length()} bits"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and math.prod(shape) > 4:
        return f"an array of shape {shape}"
    text = _SHORT.repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


class _Short(reprlib.Repr):
    """`repr` that reads no more of a list than a line shows, goes seven lists deep, and never fails."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 7
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxdict = 80
        self.maxstring = self.maxarray = 80
        self.maxother = 1 << 20  # of what has a `repr` of its own, the beginning is shown

    def repr_int(self, x: int, _level: int) -> str:
        return shortened(x) if x.bit_length() > 10_000 else repr(x)


_SHORT = _Short()
