"""Tokens that are cut out of a text whole, before anything is merged, and what llama.cpp knows by a token's spelling.

Files do not always say which tokens control a chat or end a text, so llama.cpp has a list of spellings, and overrules
the file where one occurs. What it does then is visible: ``</s>`` of Qwen 2, an ordinary token, is cut out like one that
controls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine.kernels import kernel
from qviz.gguf.vocabulary import Kind, Vocabulary
from qviz.transformer.tokenizer.strings import Strings, find, hash_text

# Each of these ends generation.
_ENDS = (
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>"),
    *("<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>"),
    *("<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["),
)
# Roles for which the file may name a token; else the first of these that occurs has it.
_BY_SPELLING = {
    "fim_pre": (
        *("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>"),
        "<|prefix|>",
    ),
    "fim_suf": (
        *("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>"),
        "<|suffix|>",
    ),
    "fim_mid": (
        *("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>"),
        "<|middle|>",
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
_SHOWN = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")  # gpt-oss: part of what it says


def as_llama_cpp(vocabulary: Vocabulary) -> tuple[npt.NDArray[np.uint8], frozenset[int]]:
    """Kinds of tokens after llama.cpp's list of spellings, and the tokens that end generation.

    Parameters
    ----------
    vocabulary : Vocabulary

    Returns
    -------
    kinds : uint8 (n,)
    ends : frozenset of int
    """
    number = {token: i for i, token in enumerate(vocabulary.tokens)}
    kinds, special = vocabulary.kinds.copy(), dict(vocabulary.special)
    for role, spellings in _BY_SPELLING.items():
        numbers = [number[spelling] for spelling in spellings if spelling in number]
        if role not in special and numbers:
            special[role] = numbers[0]
            kinds[numbers[0]] = Kind.CONTROL
    ends = {number[spelling] for spelling in _ENDS if spelling in number}
    kinds[list(ends)] = Kind.CONTROL
    kinds[[number[spelling] for spelling in _SHOWN if spelling in number]] = Kind.USER_DEFINED
    ends |= {special[role] for role in ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep") if role in special}
    texts = {vocabulary.tokens[i] for i in ends}
    harmony, solar = {"<|return|>", "<|end|>"}, {"<|flush|>", "<|end|>"}
    if texts & {"<|call|>", "<|calls|>"} and (harmony <= texts or solar <= texts):
        ends.discard(number["<|end|>"])
        kinds[number["<|end|>"]] = Kind.USER_DEFINED
    if "</s>" in texts and texts & {"<|tool_response>", "<|plamo:eos|>"}:
        ends.discard(number["</s>"])
        kinds[number["</s>"]] = Kind.NORMAL
    return kinds, frozenset(ends)


# Files do not say which tokens swallow the blanks beside them; llama.cpp knows it by the model's name.
def blanks_swallowed(
    name: str, pre: str, tokens: list[str], special: npt.NDArray[np.int64]
) -> tuple[frozenset[int], frozenset[int]]:
    """Special tokens that take the blanks before them, and those that take the blanks after them.

    Parameters
    ----------
    name, pre : str
        ``general.name`` and ``tokenizer.ggml.pre``.
    tokens : list of str
    special : int64
        Numbers of the tokens that may be cut out.
    """
    if pre.startswith(("jina-v2-de", "jina-v2-es")):
        return frozenset(i for i in special.tolist() if tokens[i] == "<mask>"), frozenset()
    if "phi-3" in name.lower() or "phi3" in name.lower():
        kept = ("<unk>", "<s>", "<|endoftext|>")
        return frozenset(), frozenset(i for i in special.tolist() if tokens[i] not in kept)
    return frozenset(), frozenset()


@dataclass(frozen=True)
class Cutter:
    """Cuts tokens out of a text, the longest first, each from left to right.

    Attributes
    ----------
    numbers : int64 (n,)
        Numbers of the tokens in the vocabulary.
    strings : Strings
        How they are spelled.
    lengths : int64
        Lengths of the spellings in bytes, each once, the longest first.
    begins, stops : bool (256, 256)
        Which two bytes a spelling may begin and stop with; one of a single byte goes with any other.
    before, after : bool (n,)
        Which of them take the blanks before and after them.
    """

    numbers: npt.NDArray[np.int64]
    strings: Strings
    lengths: npt.NDArray[np.int64]
    begins: npt.NDArray[np.bool_]
    stops: npt.NDArray[np.bool_]
    before: npt.NDArray[np.bool_]
    after: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls, tokens: list[str], numbers: npt.NDArray[np.int64], before: frozenset[int], after: frozenset[int]
    ) -> Cutter:
        """Choose the tokens of a vocabulary to cut out of a text, and those of them that swallow blanks."""
        spelled = [tokens[i].encode("utf-8", "surrogateescape") for i in numbers]
        begins, stops = np.zeros((2, 256, 256), np.bool_)
        for text in spelled:
            begins[text[0], text[1] if len(text) > 1 else slice(None)] = True
            stops[text[-2] if len(text) > 1 else slice(None), text[-1]] = True
        lengths = np.array(sorted({len(text) for text in spelled}, reverse=True), np.int64)
        sides = [np.array([int(i) in chosen for i in numbers], np.bool_) for chosen in (before, after)]
        return cls(numbers, Strings.of(spelled), lengths, begins, stops, sides[0], sides[1])

    def __call__(self, text: bytes) -> Iterator[bytes | int]:
        """The pieces of a text in order: a token's number, or the bytes between tokens, never empty."""
        data = np.frombuffer(text, np.uint8)
        places = _candidates(data, self.begins)
        if not len(places):
            if text:
                yield text
            return
        taken = np.zeros(len(data), np.bool_)
        owner = _take(
            data,
            hash_text(data),
            places,
            self.lengths,
            self.stops,
            self.strings.blob,
            self.strings.slots,
            self.strings.powers,
            self.before,
            self.after,
            taken,
        )
        at = 0
        edges = np.flatnonzero(np.diff(np.concatenate([[False], taken, [False]]))).tolist()
        owned = iter(np.flatnonzero(owner >= 0).tolist())
        place = next(owned, None)
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if start > at:
                yield text[at:start]
            while place is not None and place < stop:
                yield int(self.numbers[owner[place]])
                place = next(owned, None)
            at = stop
        if at < len(text):
            yield text[at:]


@kernel
def _candidates(text: Any, begins: Any) -> Any:
    """Where a token may begin."""
    n = 0
    places = np.empty(len(text), np.int64)
    for i in range(len(text)):
        if begins[text[i], text[i + 1] if i + 1 < len(text) else 0] or begins[text[i], 0]:
            places[n] = i
            n += 1
    return places[:n]


@kernel
def _is_blank(byte: Any) -> Any:
    """C's isspace."""
    return byte == 32 or 9 <= byte <= 13


@kernel
def _take(
    text: Any,
    hashes: Any,
    places: Any,
    lengths: Any,
    stops: Any,
    blob: Any,
    slots: Any,
    powers: Any,
    before: Any,
    after: Any,
    taken: Any,
) -> Any:
    """Mark what is taken out, and give the token that begins at each byte, -1 where none does."""
    owner = np.full(len(text), -1, np.int32)
    for length in lengths:
        for at in places:
            stop = at + length
            # what was taken is longer, so it reaches over an end of what it overlaps
            if stop > len(text) or taken[at] or taken[stop - 1]:
                continue
            if not stops[text[stop - 2] if length > 1 else 0, text[stop - 1]]:
                continue
            index = find(text, hashes, at, stop, blob, slots, powers)
            if index < 0:
                continue
            owner[at] = index
            taken[at:stop] = True
            if before[index]:
                while at > 0 and not taken[at - 1] and _is_blank(text[at - 1]):
                    at -= 1
                    taken[at] = True
            if after[index]:
                while stop < len(text) and not taken[stop] and _is_blank(text[stop]):
                    taken[stop] = True
                    stop += 1
    return owner
