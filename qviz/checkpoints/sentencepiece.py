"""SentencePiece's tokenizer.model, a protocol buffer, read without its library.

Of the message ``ModelProto`` three fields matter: 1, a piece (text 1, score 2, kind 3), repeated; 2, how it was trained
(3: 1 for unigram, 2 for BPE); 3, how a text is changed before it is cut (2: a table of characters, 3: whether a space
goes in front, 4: whether runs of spaces become one).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qviz._files import read_bytes
from qviz.errors import CheckpointError
from qviz.gguf.vocabulary import Kind

SPACE = "\u2581"
_UNIGRAM = 1
_KINDS = set(Kind) - {Kind.UNDEFINED}


class Token(NamedTuple):
    """One row of a vocabulary."""

    text: str
    kind: Kind
    score: float = 0.0


@dataclass(frozen=True)
class SentencePieceModel:
    """What a tokenizer.model says.

    Attributes
    ----------
    tokens : list of Token
    unigram : bool
        Whether it is cut by the probability of whole texts, not by merges.
    add_space : bool
        Whether a space goes in front of a text.
    changes : tuple of str
        What is done to a text before it is cut, beyond spaces in front and ``▁``.
    """

    tokens: list[Token]
    unigram: bool
    add_space: bool
    changes: tuple[str, ...]


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Read a tokenizer.model.

    Raises
    ------
    CheckpointError
        A file that cannot be read, or is none.
    """
    try:
        content = read_bytes(path, error=CheckpointError)
        parts = [(number, value) for number, value in _fields(content) if isinstance(value, bytes)]
        pieces = [dict(_fields(value)) for number, value in parts if number == 1]
        trained, changed = (_fields_of(parts, number) for number in (2, 3))
    except (ValueError, TypeError, struct.error) as error:
        raise CheckpointError(f"is not a SentencePiece model: {error}", path=path) from None
    if not pieces:
        raise CheckpointError("is not a SentencePiece model: it has no pieces", path=path)
    tokens = [_token(path, index, fields) for index, fields in enumerate(pieces)]
    changes = ["a table of characters"] if changed.get(2) else []
    if changed and changed.get(4, 1):
        changes.append("runs of spaces that become one")
    unigram = bool(trained) and trained.get(3, _UNIGRAM) == _UNIGRAM
    return SentencePieceModel(tokens, unigram, bool(changed.get(3, 1)), tuple(changes))


def _fields_of(parts: list[tuple[int, bytes]], number: int) -> dict[int, Any]:
    return next((dict(_fields(value)) for n, value in parts if n == number), {})


def _token(path: Path, index: int, fields: dict[int, Any]) -> Token:
    text, score, kind = fields.get(1, b""), fields.get(2, bytes(4)), fields.get(3, Kind.NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or len(score) != 4 or kind not in _KINDS:
        raise CheckpointError(f"is not a SentencePiece model: piece {index} makes no sense", path=path)
    value = struct.unpack("<f", score)[0]
    if not math.isfinite(value):
        raise CheckpointError(f"the score of piece {index} is not a number", path=path, found=value)
    spelled = text.decode("utf-8", "replace")
    if kind == Kind.USER_DEFINED:  # llama.cpp looks for it in the text as it is
        spelled = spelled.replace(SPACE, " ")
    return Token(spelled, Kind(kind), value)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a protocol buffer: numbers as int, everything else as bytes."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = 0
        for shift in range(0, 70, 7):
            if position >= len(message):
                break
            byte = message[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("it ends inside a number")

    while position < len(message):
        tag = varint()
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            yield number, varint()
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"field {number} has wire type {wire}")
        length = varint() if wire == 2 else {1: 8, 5: 4}[wire]
        if length > len(message) - position:
            raise ValueError(f"it ends inside field {number}")
        yield number, message[position : position + length]
        position += length
