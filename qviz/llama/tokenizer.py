"""Text to tokens and back, from what a GGUF file says of its tokenizer.

The merging itself is the `tokenizers` library's; this module tells it what llama.cpp does with the same metadata
(``src/llama-vocab.cpp``: ``llm_tokenizer_spm`` for model ``llama``, ``llm_tokenizer_bpe`` for ``gpt2``).
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from qviz.errors import LlamaError

_UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 2, 3, 4, 5, 6
_SPACE = "\u2581"  # how SentencePiece writes a space

_DIGITS_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# tokenizer.ggml.pre -> the regular expression that cuts text into words; None: GPT-2's, which the library has built in
_WORDS = {
    "default": None,
    "gpt-2": None,
    "smollm": None,
    "llama-bpe": _DIGITS_3,
    "llama3": _DIGITS_3,
    "qwen2": _DIGITS_3.replace(r"\p{N}{1,3}", r"\p{N}"),
}
_SINGLE_DIGITS = {"smollm"}


def _byte_characters() -> dict[str, int]:
    """GPT-2's printable character of each byte, the other way round."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + k): b for k, b in enumerate(others)}


class Tokenizer:
    """A model's tokenizer.

    Parameters
    ----------
    metadata : mapping
        A GGUF file's; the keys ``tokenizer.ggml.*`` are read.

    Attributes
    ----------
    tokens : list of str
        The vocabulary as the file spells it.
    bos, eos : int or None
        Tokens that begin and end a text.
    add_bos : bool
        Whether `encode` puts `bos` in front.

    Raises
    ------
    LlamaError
        If the file has no tokenizer, or one of a kind that is not implemented here.

    Examples
    --------
    >>> from qviz import load
    >>> tokenizer = Tokenizer(load("tiny").metadata)
    >>> ids = tokenizer.encode("The whale and the Congress")
    >>> ids[0] == tokenizer.bos, tokenizer.decode(ids)
    (True, 'The whale and the Congress')
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        get = metadata.get
        self.kind = get("tokenizer.ggml.model")
        if self.kind not in ("llama", "gpt2"):
            raise LlamaError(f"tokenizer.ggml.model is {self.kind!r}; 'llama' and 'gpt2' are implemented here")
        if get("tokenizer.ggml.tokens") is None:
            raise LlamaError("the file has no tokenizer.ggml.tokens; a vocabulary is needed to read text")
        self.tokens = [str(token) for token in metadata["tokenizer.ggml.tokens"]]
        self.types = [int(kind) for kind in get("tokenizer.ggml.token_type", [1] * len(self.tokens))]
        if len(self.types) != len(self.tokens):
            raise LlamaError(f"{len(self.types)} token types for {len(self.tokens)} tokens; one each is needed")
        self.bos = self._special("bos", get)
        self.eos = self._special("eos", get)
        self.unknown = self._special("unknown", get)
        is_llama = self.kind == "llama"
        self.add_bos = bool(get("tokenizer.ggml.add_bos_token", is_llama)) and self.bos is not None
        self.add_space = bool(get("tokenizer.ggml.add_space_prefix", is_llama)) and is_llama
        self.pre = str(get("tokenizer.ggml.pre", "default"))
        self._metadata = metadata
        self._control = {t: i for i, t in enumerate(self.tokens) if self.types[i] in (_CONTROL, _USER)}

    def _special(self, name: str, get: Any) -> int | None:
        value = get(f"tokenizer.ggml.{name}_token_id")
        if value is not None and not 0 <= int(value) < len(self.tokens):
            raise LlamaError(f"tokenizer.ggml.{name}_token_id is {value}; there are {len(self.tokens)} tokens")
        return None if value is None else int(value)

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"<Tokenizer {self.kind}: {len(self)} tokens>"

    @cached_property
    def _library(self) -> Any:
        from tokenizers import Regex as Pattern
        from tokenizers import Tokenizer as Library
        from tokenizers import models, normalizers, pre_tokenizers

        vocab = {token: i for i, token in enumerate(self.tokens)}
        if self.kind == "llama":
            unknown = None if self.unknown is None else self.tokens[self.unknown]
            library = Library(
                models.BPE(vocab, self._score_merges(), unk_token=unknown, fuse_unk=True, byte_fallback=True)
            )
            library.normalizer = normalizers.Replace(" ", _SPACE)
            return library
        if self.pre not in _WORDS:
            raise LlamaError(f"tokenizer.ggml.pre is {self.pre!r}; implemented here are: {', '.join(_WORDS)}")
        if self._metadata.get("tokenizer.ggml.merges") is None:
            raise LlamaError("the file has no tokenizer.ggml.merges; byte-pair encoding needs them")
        cuts = (str(pair).partition(" ") for pair in self._metadata["tokenizer.ggml.merges"])
        merges = [(left, right) for left, _, right in cuts]
        library = Library(models.BPE(vocab, merges, ignore_merges=self.pre in ("llama-bpe", "llama3")))
        words = _WORDS[self.pre]
        steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if self.pre in _SINGLE_DIGITS else []
        if words is not None:
            steps.append(pre_tokenizers.Split(Pattern(words), "isolated"))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words is None))
        library.pre_tokenizer = pre_tokenizers.Sequence(steps)
        return library

    def _score_merges(self) -> list[tuple[str, str]]:
        """SentencePiece merges whatever makes the best-scored piece: every way to make each piece, best first."""
        scores = self._metadata.get("tokenizer.ggml.scores")
        if scores is None or len(scores) != len(self.tokens):
            raise LlamaError("the file has no tokenizer.ggml.scores for its tokens; SentencePiece needs them")
        usable = {t: i for i, t in enumerate(self.tokens) if self.types[i] not in (_UNKNOWN, _CONTROL, _UNUSED, _BYTE)}
        ranked = sorted(usable, key=lambda token: (-float(scores[usable[token]]), usable[token]))
        merges = []
        for piece in ranked:
            cuts = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
            merges += [(left, right) for left, right in cuts if left in usable and right in usable]
        return merges

    def encode(self, text: str, *, bos: bool | None = None, special: bool = False) -> list[int]:
        """Cut text into tokens.

        Parameters
        ----------
        text : str
        bos : bool, optional
            Whether to begin with the BOS token; as the model wants it unless given.
        special : bool
            Read the spelling of a control token (``<|im_start|>``) as that token, as a chat template needs. Text from
            outside should not get that power.
        """
        ids = [self.bos] if (self.add_bos if bos is None else bos) and self.bos is not None else []
        after_special = True
        for part in self._parts(text) if special else [text]:
            if special and part in self._control:
                ids.append(self._control[part])
                after_special = True
            elif part:
                # llama.cpp puts the space in front of each piece of text that begins or follows a control token
                head = " " if self.add_space and after_special else ""
                ids += self._encode(head + part)
                after_special = False
        return ids

    def _encode(self, text: str) -> list[int]:
        """Line by line, on all cores, where no token reaches over the end of a line."""
        if self._newline is None:
            ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
            return ids
        lines = self._library.encode_batch(text.split("\n"), add_special_tokens=False)
        return list(itertools.chain(lines[0].ids, *([self._newline, *line.ids] for line in lines[1:])))

    @cached_property
    def _newline(self) -> int | None:
        """The token of a line's end where it is a byte that stands alone, else None."""
        alone = self.kind == "llama" and "<0x0A>" in self.tokens and not any("\n" in token for token in self.tokens)
        return self.tokens.index("<0x0A>") if alone else None

    def _parts(self, text: str) -> list[str]:
        names = sorted(self._control, key=len, reverse=True)
        return re.split(f"({'|'.join(map(re.escape, names))})", text) if names else [text]

    @cached_property
    def _bytes(self) -> list[bytes]:
        """What each token adds to a text, in bytes: a character may be spread over tokens."""
        if self.kind == "gpt2":
            of = _byte_characters()
            plain = [kind in (_CONTROL, _USER) for kind in self.types]
            return [
                token.encode() if raw else b"".join(bytes([of[c]]) if c in of else c.encode() for c in token)
                for token, raw in zip(self.tokens, plain, strict=True)
            ]
        return [
            bytes([int(token[3:5], 16)]) if kind == _BYTE else token.replace(_SPACE, " ").encode()
            for token, kind in zip(self.tokens, self.types, strict=True)
        ]

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a control token."""
        return b"" if self.types[token] in (_CONTROL, _UNKNOWN) else self._bytes[token]

    def decode(self, ids: Iterable[int]) -> str:
        """Tokens to text; bytes that are no UTF-8 become U+FFFD."""
        return "".join(self.stream(ids))

    def stream(self, ids: Iterable[int], continues: bool = False) -> Iterator[str]:
        """Tokens to pieces of text, each as soon as its characters are complete.

        The space that `encode` puts in front of a text is taken away again, unless the tokens continue one.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        at_start = self.add_space and not continues
        for token in ids:
            raw = self.piece(int(token))
            if at_start and raw:
                raw, at_start = raw.removeprefix(b" "), False
            if text := decoder.decode(raw):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text
