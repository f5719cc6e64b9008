"""SentencePiece's BPE: of all neighbours that make a token together, those with the best score are joined first.

A text has no words here; a space is a letter, ``▁``. It falls apart all the same wherever no token of the vocabulary
holds the two characters beside each other. Each part is merged alone, and once, however often it occurs: its pairs wait
in a heap, so that n characters take n log n steps.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from qviz._machine.kernels import kernel
from qviz.errors import QvizError
from qviz.gguf.vocabulary import Kind, Vocabulary
from qviz.transformer.tokenizer.strings import Strings, find, hash_text

SPACE = "\u2581"  # how SentencePiece writes a space
_SPACE = SPACE.encode()


class Pieces:
    """Cuts text by scores.

    Parameters
    ----------
    vocabulary : Vocabulary
        Its model is ``llama``.
    kinds : uint8 (n,)
        What each token is; one that controls, stands for a byte or for the unknown is made by no merge.
    error : callable ``(text) -> QvizError``
        What is raised for a character that the vocabulary cannot spell.
    """

    def __init__(self, vocabulary: Vocabulary, kinds: Any, error: Callable[[str], QvizError]) -> None:
        assert vocabulary.scores is not None
        tokens = [token.encode("utf-8", "surrogateescape") for token in vocabulary.tokens]
        usable = np.flatnonzero(~np.isin(kinds, (Kind.CONTROL, Kind.UNKNOWN, Kind.BYTE)))
        self._strings = Strings.of([tokens[i] for i in usable])
        self._numbers = usable.astype(np.int32)
        self._costs = -vocabulary.scores[usable]
        number = {token: i for i, token in enumerate(tokens)}
        spelled = (number.get(f"<0x{byte:02X}>".encode(), number.get(bytes([byte]), -1)) for byte in range(256))
        self._bytes = np.array(list(spelled), np.int32)
        self._unknown = vocabulary.special.get("unknown", -1)
        self._error = error
        # which two bytes stand beside each other in a token
        blob, inner = self._strings.blob, np.ones(len(self._strings.blob), np.bool_)
        inner[self._strings.starts[:-1]] = False
        self._joined = np.zeros((256, 256), np.bool_)
        right = np.flatnonzero(inner)
        self._joined[blob[right - 1], blob[right]] = True

    def encode(self, texts: list[bytes]) -> list[list[int]]:
        """Tokens of each text in UTF-8; bytes that are none are spelled as bytes.

        Raises
        ------
        QvizError
            A character for which there is neither a token, nor its bytes, nor the unknown token.
        """
        escaped = [text.replace(b" ", _SPACE) for text in texts]
        parts, last = self._parts(escaped)
        ids_of: dict[bytes, list[int]] = {part: [] for part in parts}
        data = np.frombuffer(b"".join(ids_of), np.uint8)
        edges = np.cumsum([0, *map(len, ids_of)])
        out, counts = np.empty(len(data), np.int32), np.zeros(len(edges), np.int64)
        strings = self._strings.blob, self._strings.slots, self._strings.powers
        bad = _merge(data, hash_text(data), edges, *strings, self._numbers, self._costs, self._bytes, out, counts)
        if bad >= 0 and self._unknown < 0:
            raise self._error(
                f"the vocabulary has no token for {bytes(data[bad : bad + 4])!r}, nor one for the unknown"
            )
        ids, ends = out[: counts[-1]].tolist(), counts.tolist()
        for part, (start, stop) in zip(ids_of, itertools.pairwise(ends), strict=True):
            ids_of[part] = ids[start:stop]
        joined = itertools.chain.from_iterable
        tokens = [list(joined(map(ids_of.__getitem__, parts[i:j]))) for i, j in itertools.pairwise([0, *last])]
        return [self._fused(ids) for ids in tokens] if bad >= 0 else tokens

    def _parts(self, texts: list[bytes]) -> tuple[list[bytes], list[int]]:
        """What texts fall into where no token joins two characters, and after how many such parts each text ends."""
        whole = b"".join(texts)
        data = np.frombuffer(whole, np.uint8)
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        apart = np.ones(len(data) + 1, np.bool_)
        apart[1:-1] = ~self._joined[data[:-1], data[1:]] & ((data[1:] & 0xC0) != 0x80)
        apart[ends] = True
        edges = np.flatnonzero(apart)
        parts = [whole[start:stop] for start, stop in itertools.pairwise(edges.tolist())]
        return parts, np.searchsorted(edges, ends).tolist()

    def _fused(self, tokens: list[int]) -> list[int]:
        """One unknown token for all unknown characters that follow each other."""
        ids = np.array(tokens)
        unknown = ids < 0
        again = unknown & np.concatenate([[False], unknown[:-1]])
        kept: list[int] = np.where(unknown, self._unknown, ids)[~again].tolist()
        return kept


@kernel
def _size(byte: Any) -> Any:
    """Bytes of the character that begins with this one; a byte that cannot begin one stands alone."""
    if byte < 0xC0:
        return 1
    if byte < 0xE0:
        return 2
    return 3 if byte < 0xF0 else 4


@kernel
def _merge(
    text: Any,
    hashes: Any,
    edges: Any,
    blob: Any,
    slots: Any,
    powers: Any,
    numbers: Any,
    costs: Any,
    spelled: Any,
    out: Any,
    counts: Any,
) -> Any:
    """Write the tokens of each part of a text, -1 for an unknown character; the place of one of those, else -1.

    `counts` becomes the number of tokens before each part, and in the end that of all.
    """
    stops = np.zeros(len(text), np.int64)  # by where a symbol begins: its end, 0 once it is part of another
    before = np.empty(len(text), np.int64)  # where the symbol to its left begins
    token = np.empty(len(text), np.int64)
    heap = [(np.float32(0), np.int64(0), np.int64(0), np.int64(0))]
    heap.clear()
    n, bad = np.int64(0), np.int64(-1)
    for part in range(len(edges) - 1):
        start, stop = edges[part], edges[part + 1]
        at, last = start, np.int64(-1)
        while at < stop:
            end = min(at + _size(text[at]), stop)
            stops[at], before[at] = end, last
            token[at] = find(text, hashes, at, end, blob, slots, powers)
            if last >= 0:
                _offer(heap, costs, last, end, find(text, hashes, last, end, blob, slots, powers))
            last, at = at, end
        while len(heap):
            _, left, end, index = heapq.heappop(heap)
            middle = stops[left]
            if middle == 0 or middle >= stop or stops[middle] != end:
                continue  # one of the two has been joined to another symbol since
            stops[left], stops[middle], token[left] = end, 0, index
            if end < stop:
                before[end] = left
                _offer(heap, costs, left, stops[end], find(text, hashes, left, stops[end], blob, slots, powers))
            if before[left] >= 0:
                _offer(heap, costs, before[left], end, find(text, hashes, before[left], end, blob, slots, powers))
        at = start
        while at < stop:
            n = _spell(text, at, stops[at], token[at], numbers, spelled, out, n)
            if out[n - 1] < 0:
                bad = at
            at = stops[at]
        counts[part + 1] = n
    return bad


@kernel
def _offer(heap: Any, costs: Any, left: Any, end: Any, index: Any) -> None:
    """Put two neighbours on the heap if they make a token."""
    if index >= 0:
        heapq.heappush(heap, (costs[index], np.int64(left), np.int64(end), np.int64(index)))


@kernel
def _spell(text: Any, start: Any, stop: Any, index: Any, numbers: Any, spelled: Any, out: Any, n: Any) -> Any:
    """Write a symbol as its token, as its bytes, or as unknown; give the number of tokens written so far."""
    if index >= 0:
        out[n] = numbers[index]
        return n + 1
    for k in range(start, stop):
        if spelled[text[k]] < 0:
            out[n] = -1
            return n + 1
    for k in range(start, stop):
        out[n] = spelled[text[k]]
        n += 1
    return n
