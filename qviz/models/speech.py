"""How many words Whisper hears wrong in whisper.cpp's formats: measured once, in ``data/``.

`benchmarks/whisper.py` measured it and wrote the file: speech that a synthesiser made of known sentences, what
whisper.cpp heard, and how many words had to be put in, taken out or changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from qviz.models.known import stored_json


@dataclass(frozen=True)
class Heard:
    """What one format of a model heard.

    Attributes
    ----------
    format : str
    nbytes : int
        Size of the whole file.
    errors : tuple of int
        Wrong words in each recording.
    words : tuple of int
        Words that were spoken in each.
    other : int
        Words that it heard otherwise than F16 did, right or wrong.
    """

    format: str
    nbytes: int
    errors: tuple[int, ...]
    words: tuple[int, ...]
    other: int

    @property
    def share(self) -> float:
        """Wrong words over spoken words, of all recordings together."""
        return sum(self.errors) / sum(self.words)


@dataclass(frozen=True)
class SpeechTable:
    """Word errors of one model in several formats.

    Attributes
    ----------
    model, speech, heard_by, measured : str
        What was measured, on what, with what, and on which day.
    formats : dict of str to Heard
        Largest file first.
    """

    model: str
    speech: str
    heard_by: str
    measured: str
    formats: dict[str, Heard]


def word_errors() -> SpeechTable:
    """Word errors of Whisper tiny.en on synthesised speech, as they were measured once.

    Returns
    -------
    SpeechTable

    Raises
    ------
    ModelNotFoundError
        The file is missing.

    Examples
    --------
    >>> table = word_errors()
    >>> table.model, list(table.formats)
    ('Whisper tiny.en', ['F16', 'Q8_0', 'Q5_1', 'Q5_0', 'Q4_1', 'Q4_0'])
    """
    stored = stored_json("whisper-word-errors.json")
    formats = {
        name: Heard(name, row["bytes"], tuple(row["errors"]), tuple(stored["words"]), row["other than F16"])
        for name, row in stored["formats"].items()
    }
    return SpeechTable(stored["model"], stored["speech"], stored["heard by"], stored["measured"], formats)
