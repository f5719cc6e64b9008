"""A model's tokenizer: text to tokens and back."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from qviz._arrays import whole_number
from qviz.errors import LlamaError, shortened
from qviz.gguf.cuts import byte_characters
from qviz.gguf.settings import Settings, shown
from qviz.gguf.vocabulary import Kind, read_merges, read_vocabulary
from qviz.transformer.tokenizer.chat import render
from qviz.transformer.tokenizer.pieces import SPACE, Pieces
from qviz.transformer.tokenizer.special import Cutter, as_llama_cpp, blanks_swallowed
from qviz.transformer.tokenizer.words import Words

_SPECIAL = (Kind.UNKNOWN, Kind.CONTROL, Kind.USER_DEFINED)


class Tokenizer:
    """A model's tokenizer.

    Parameters
    ----------
    metadata : mapping
        A GGUF file's; the keys ``tokenizer.ggml.*`` and ``general.name`` are read.

    Attributes
    ----------
    tokens : list of str
        The vocabulary as the file spells it.
    bos, eos, unknown : int or None
        Tokens that begin a text, end it, and stand for what cannot be spelled.
    ends : frozenset of int
        Tokens that end what a model says: `eos`, and others that llama.cpp knows by their spelling.
    add_bos, add_eos : bool
        Whether `encode` puts `bos` in front and `eos` behind.

    Raises
    ------
    LlamaError
        If the file has no tokenizer, one that makes no sense, or one of a kind that is not implemented here.

    Examples
    --------
    >>> from qviz import load
    >>> tokenizer = Tokenizer(load("tiny").metadata)
    >>> ids = tokenizer.encode("The whale and the Congress")
    >>> ids[0] == tokenizer.bos, tokenizer.decode(ids)
    (True, 'The whale and the Congress')
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self._vocabulary = known = read_vocabulary(metadata, LlamaError)
        self.kind, self.tokens = known.model, known.tokens
        self.pre = known.pre
        self.kinds, self.ends = as_llama_cpp(known)
        self.bos, self.eos = known.special.get("bos"), known.special.get("eos")
        self.unknown = known.special.get("unknown")
        self.add_bos, self.add_eos, self.add_space = known.add_bos, known.add_eos, known.add_space
        self._name = Settings(metadata, "general.", LlamaError).text("name", "")

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"<Tokenizer {self.kind}: {len(self)} tokens>"

    def encode(
        self, text: str, *, bos: bool | None = None, eos: bool | None = None, special: bool = False
    ) -> list[int]:
        """Cut text into tokens.

        Parameters
        ----------
        text : str
            A lone surrogate, which no UTF-8 has, counts as U+FFFD.
        bos, eos : bool, optional
            Whether to begin with the BOS token and to end with EOS; as the model wants it unless given (with
            ``bos=False`` there is no EOS either).
        special : bool
            Read the spelling of a control token (``<|im_start|>``) as that token, as a chat template needs. Text from
            outside should not get that power. Tokens that a user has defined are cut out of any text.

        Raises
        ------
        LlamaError
            No text; merges that make no sense; a character that the vocabulary cannot spell.
        """
        if not isinstance(text, str):
            raise LlamaError(f"encode takes a text, got {shown(text)}")
        parts = self._parts(_without_surrogates(text), special)
        between = iter(self._encode(parts))
        ids = [self.bos] if (self.add_bos if bos is None else bos) and self.bos is not None else []
        for part in parts:
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += next(between)
        if (self.add_eos and bos is not False if eos is None else eos) and self.eos is not None:
            ids.append(self.eos)
        return ids

    def chat(
        self, messages: Sequence[Mapping[str, Any]], *, reply: bool = True, name: str = "", **more: Any
    ) -> list[int]:
        """Tokens of a chat, as the template in the model's file has it.

        Parameters
        ----------
        messages : sequence of mappings
            Each with ``"role"`` (``"system"``, ``"user"``, ``"assistant"``) and ``"content"``.
        reply : bool
            Whether they end where the model shall answer.
        name : str
            Which template, if not the first: ``"tool_use"``.
        **more
            For the template: ``tools``, ``enable_thinking`` ...

        Raises
        ------
        LlamaError
            No such template, or one that cannot render these messages.
        """
        return self.encode(self.chat_text(messages, reply=reply, name=name, **more), bos=False, eos=False, special=True)

    def chat_text(
        self, messages: Sequence[Mapping[str, Any]], *, reply: bool = True, name: str = "", **more: Any
    ) -> str:
        """The text of a chat; see `chat`. The template writes BOS itself where the model wants it."""
        key = f"tokenizer.chat_template{f'.{name}' if name else ''}"
        template = self._metadata.get(key)
        if not isinstance(template, str):
            raise LlamaError(f"the model has no {key}; give its prompt as a text, or another template's name")
        roles = {"bos": self.bos, "eos": self.eos, "unk": self.unknown, "pad": self._vocabulary.special.get("padding")}
        special = {f"{role}_token": "" if i is None else self.tokens[i] for role, i in roles.items()}
        return render(template, messages, reply=reply, special=special, **more)

    def _parts(self, text: str, special: bool) -> list[bytes | int]:
        """Tokens that are cut out whole, and the text between them."""
        cutter = self._cut_all if special else self._cut_users
        raw = text.encode()
        return list(cutter(raw)) if cutter is not None else [raw] if raw else []

    def _encode(self, parts: list[bytes | int]) -> list[list[int]]:
        """Tokens of each piece of text between those that were cut out."""
        if isinstance(self._model, Words):
            return self._model.encode([part.decode("utf-8", "replace") for part in parts if not isinstance(part, int)])
        # the space goes in front of each piece that begins the text or follows such a token, as llama.cpp has it
        space = b" " if self.add_space else b""
        return self._model.encode([space + part for part in parts if not isinstance(part, int)])

    @cached_property
    def _model(self) -> Pieces | Words:
        if self._vocabulary.cut is None:
            return Pieces(self._vocabulary, self.kinds, LlamaError)
        merges = read_merges(self._metadata, self.tokens, LlamaError)
        return Words(self.tokens, merges, self._vocabulary.cut, LlamaError)

    @cached_property
    def _cut_users(self) -> Cutter | None:
        return self._cutter((Kind.USER_DEFINED,))

    @cached_property
    def _cut_all(self) -> Cutter | None:
        return self._cutter(_SPECIAL)

    def _cutter(self, kinds: tuple[Kind, ...]) -> Cutter | None:
        numbers = np.flatnonzero(np.isin(self.kinds, kinds))
        before, after = blanks_swallowed(self._name, self.pre, self.tokens, numbers)
        return Cutter.of(self.tokens, numbers, before, after) if len(numbers) else None

    @cached_property
    def _bytes(self) -> list[bytes]:
        """What each token adds to a text, in bytes: a character may be spread over tokens."""
        spell = _spelled_in_bytes() if self.kind == "gpt2" else _spelled_with_spaces
        return [_spelled(token, kind, spell) for token, kind in zip(self.tokens, self.kinds.tolist(), strict=True)]

    @cached_property
    def _hidden(self) -> frozenset[int]:
        """Tokens that are shown only to those who ask."""
        return frozenset(np.flatnonzero(np.isin(self.kinds, (Kind.CONTROL, Kind.UNKNOWN))).tolist())

    def piece(self, token: int, special: bool = False) -> bytes:
        """The bytes that a token stands for; none for a token that controls or is unknown, unless asked for.

        Raises
        ------
        LlamaError
            No token of the vocabulary.
        """
        index = whole_number(token, "a token", LlamaError, least=-(1 << 63))
        if not 0 <= index < len(self.tokens):
            raise LlamaError(f"there is no token {index}; the vocabulary has {len(self.tokens)}, numbered from 0")
        return b"" if index in self._hidden and not special else self._bytes[index]

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """Tokens to text; bytes that are no UTF-8 become U+FFFD. `special` shows the tokens that control, too."""
        return "".join(self.stream(ids, special=special))

    def stream(self, ids: Iterable[int], continues: bool = False, special: bool = False) -> Iterator[str]:
        """Tokens to pieces of text, each as soon as its characters are complete.

        The space that `encode` puts in front of a text is taken away again, unless the tokens continue one.
        """
        if not isinstance(ids, Iterable):
            raise LlamaError(f"ids are {shortened(ids)}; a list of tokens is wanted")
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        at_start = self.add_space and not continues
        for token in ids:
            raw = self.piece(token, special)
            if at_start and raw:
                raw, at_start = raw.removeprefix(b" "), False
            if text := decoder.decode(raw):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text


def _without_surrogates(text: str) -> str:
    """Pairs of surrogates joined, lone ones as U+FFFD: what is left can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _spelled(token: str, kind: int, spell: Callable[[str], bytes]) -> bytes:
    if kind == Kind.NORMAL:
        return spell(token)
    if kind == Kind.BYTE:
        return bytes([int(token[3:5], 16)])
    return token.encode("utf-8", "surrogateescape") if kind in _SPECIAL else b""


def _spelled_with_spaces(token: str) -> bytes:
    return token.replace(SPACE, " ").encode("utf-8", "surrogateescape")


def _spelled_in_bytes() -> Callable[[str], bytes]:
    """A token of byte letters as its bytes; one with any other character as it stands."""
    of = byte_characters()

    def spell(token: str) -> bytes:
        try:
            return bytes([of[c] for c in token])
        except KeyError:
            return token.encode("utf-8", "surrogateescape")

    return spell
