"""A Hugging Face tokenizer -> the tokenizer keys of a GGUF file.

llama.cpp has no tokenizer of its own design: it imitates others, and has to be told which. ``gpt2`` is byte-level BPE:
text is cut into words by a rule (``tokenizer.ggml.pre`` names it), each byte becomes a printable character, then merges
run in the order of their list. ``llama`` is SentencePiece's BPE: no words, spaces become ▁, and the merge whose result
has the highest score goes first; what no token covers is spelled in bytes, ``<0xE2>``.
"""

from __future__ import annotations

import math
import re
import string
import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from qviz.checkpoints.safetensors import read_json
from qviz.errors import CheckpointError
from qviz.gguf.values import U32, Array, ValueType


class Kind(IntEnum):
    """What a token is, with the numbers that GGUF stores."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Token(NamedTuple):
    """One row of a vocabulary."""

    text: str
    kind: Kind
    score: float = 0.0


# -- rules that cut text into words: how tokenizer.json writes them, what llama.cpp calls them

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|"
    rf"\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|"
    rf"\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_DEEPSEEK_CODER = ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")

Steps = tuple[tuple[str, ...], ...]


def _split(*patterns: str) -> Steps:
    return tuple(("split", pattern) for pattern in patterns)


# Steps, and whether a word that is a token is taken whole whatever the merges say -> llama.cpp's name. The second is
# part of what llama.cpp means by a name.
RULES: Mapping[tuple[Steps, bool], str] = {
    ((("bytes", "words"),), False): "gpt-2",
    ((("digits",), ("bytes", "words")), False): "smollm",
    ((*_split(_LLAMA3), ("bytes",)), True): "llama-bpe",
    ((*_split(_LLAMA3), ("bytes",)), False): "smaug-bpe",
    ((*_split(_QWEN2), ("bytes",)), False): "qwen2",
    ((*_split(_TEKKEN), ("bytes",)), True): "tekken",
    ((*_split(_GPT4O), ("bytes",)), False): "gpt-4o",
    ((*_split(*_DEEPSEEK_CODER), ("digits",), ("bytes",)), False): "deepseek-coder",
}

_SPECIAL = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # ggml's spelling
    "pad": "padding_token_id",
    "mask": "mask_token_id",
}
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_LOOKS_SPECIAL = re.compile(r"<\|.*\|>|<｜.*｜>|<unused.*>|<pad>|<mask>", re.DOTALL)
_ADDED_SCORE, _PADDING_SCORE = -1000.0, -10000.0
_SPACE = "\u2581"


def tokenizer_metadata(folder: Path, n_vocab: int, pre: str | None = None) -> dict[str, Any]:
    """The ``tokenizer.`` keys of a GGUF file.

    Parameters
    ----------
    folder : pathlib.Path
        With tokenizer.json or SentencePiece's tokenizer.model, and the other JSON files of a tokenizer.
    n_vocab : int
        Rows of the embedding; the vocabulary is filled up to so many.
    pre : str, optional
        llama.cpp's name for the rule that cuts text into words, if it is to be taken on trust.

    Returns
    -------
    dict of str to object

    Raises
    ------
    CheckpointError
        A tokenizer that is missing, damaged, or unlike any that llama.cpp imitates.
    """
    files = _Files(folder, pre)
    values = _byte_level(files, n_vocab) if files.is_byte_level else _sentencepiece(files, n_vocab)
    if isinstance(stated := files.config.get("add_prefix_space"), bool):
        values["ggml.add_space_prefix"] = stated
    values |= _special_tokens(files, n_vocab) | _chat_templates(files)
    return {f"tokenizer.{key}": value for key, value in values.items()}


class _Files:
    """What a folder says about its tokenizer."""

    def __init__(self, folder: Path, pre: str | None) -> None:
        self.folder, self.pre = folder, pre
        self.path = folder / "tokenizer.json"
        self.pieces_path = folder / "tokenizer.model"
        self.json = read_json(self.path, required=not self.pieces_path.is_file())
        self.config = read_json(folder / "tokenizer_config.json", required=False)
        self.model_config = read_json(folder / "config.json", required=False)
        self.generation = read_json(folder / "generation_config.json", required=False)
        self.model: Mapping[str, Any] = {}
        if self.json:
            self.model = self._model()

    def _model(self) -> Mapping[str, Any]:
        model = self.json.get("model")
        kind = model.get("type", "BPE" if "merges" in model else None) if isinstance(model, dict) else None
        if not isinstance(model, dict) or kind != "BPE":
            raise self.error("this kind of tokenizer cannot be converted here", kind, "BPE")
        vocab = model.get("vocab")
        if not isinstance(vocab, dict) or not all(type(index) is int and index >= 0 for index in vocab.values()):
            raise self.error("model.vocab must give each token its number", type(vocab).__name__, "an object")
        if len(set(vocab.values())) < len(vocab):
            raise self.error("two tokens of model.vocab have the same number")
        return model

    def error(self, problem: str, found: object = None, expected: object = None) -> CheckpointError:
        return CheckpointError(problem, path=self.path, found=found, expected=expected)

    @property
    def is_byte_level(self) -> bool:
        if not self.json or self.model.get("byte_fallback"):
            return False
        steps = list(_flat(self.json.get("pre_tokenizer"), "pretokenizers"))
        if any(step.get("type") == "ByteLevel" for step in steps) or self.pre is not None:
            return True
        types = [step.get("type") for step in steps]
        raise self.error("neither byte-level BPE nor SentencePiece's", types or "no pre-tokenizer", "ByteLevel")

    def added(self) -> Iterator[tuple[int, str, bool]]:
        """Number, text, and whether special, of each token that stands outside the model."""
        entries = list(_list(self.json.get("added_tokens")))
        decoder = self.config.get("added_tokens_decoder")
        known = [entry.get("id") for entry in entries if isinstance(entry, dict)]
        for key, entry in (decoder if isinstance(decoder, dict) else {}).items():
            if isinstance(entry, dict) and re.fullmatch(r"[0-9]{1,9}", key) and int(key) not in known:
                entries.append({"id": int(key), **entry})
        for entry in entries:
            index, text = (entry.get("id"), entry.get("content")) if isinstance(entry, dict) else (None, None)
            if type(index) is not int or index < 0 or not isinstance(text, str):
                raise self.error("an entry of added_tokens has no id or no content", entry)
            yield index, text, bool(entry.get("special"))

    def template(self) -> list[str | None]:
        """How a text is framed: the special tokens that the post-processor puts in a row, the text itself as None."""
        for step in _flat(self.json.get("post_processor"), "processors"):
            if step.get("type") == "TemplateProcessing":
                tokens = [piece.get("SpecialToken") for piece in _list(step.get("single")) if isinstance(piece, dict)]
                return [str(token.get("id")) if isinstance(token, dict) else None for token in tokens] or [None]
        return [None]


def _flat(step: Any, children: str) -> Iterator[dict[str, Any]]:
    """A step of tokenizer.json, or the steps of a sequence."""
    if not isinstance(step, dict):
        return
    if step.get("type") != "Sequence":
        yield step
        return
    yield from (child for child in _list(step.get(children)) if isinstance(child, dict))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# -- byte-level BPE


def _byte_level(files: _Files, n_vocab: int) -> dict[str, Any]:
    tokens = [Token(f"[PAD{index}]", Kind.UNUSED) for index in range(n_vocab)]
    for text, index in files.model["vocab"].items():
        _place(files, tokens, index, Token(text, Kind.NORMAL))
    for index, text, special in files.added():
        _place(files, tokens, index, _added(text, special))
    return {
        "ggml.model": "gpt2",
        "ggml.pre": files.pre or _rule(files),
        "ggml.tokens": Array([token.text for token in tokens], ValueType.STR),
        "ggml.token_type": Array([token.kind for token in tokens], ValueType.I32),
        "ggml.merges": Array(_merges(files), ValueType.STR),
    }


def _place(files: _Files, tokens: list[Token], index: int, token: Token) -> None:
    if index >= len(tokens):
        raise CheckpointError(
            f"token {token.text!r} has no row in the embedding",
            path=files.folder,
            found=index,
            expected=f"vocab_size in config.json is {len(tokens)}",
        )
    tokens[index] = token


def _added(text: str, special: bool) -> Token:
    if special or _LOOKS_SPECIAL.fullmatch(text):
        return Token(text, Kind.CONTROL, _ADDED_SCORE)
    return Token(text.replace(_SPACE, " "), Kind.USER_DEFINED, _ADDED_SCORE)


def _merges(files: _Files) -> list[str]:
    """Pairs with a space between; a space inside becomes Ġ, which is how bytes are spelled."""
    return [" ".join(part.replace(" ", "\u0120") for part in pair) for pair in _merge_pairs(files)]


def _merge_pairs(files: _Files) -> list[tuple[str, str]]:
    pairs = []
    for index, merge in enumerate(_list(files.model.get("merges"))):
        # older files write one string; it is cut at its first space that does not begin it
        cut = merge.find(" ", 1) if isinstance(merge, str) else -1
        pair = [merge[:cut], merge[cut + 1 :]] if cut > 0 else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) and part for part in pair):
            raise files.error(f"merge {index} is not a pair of tokens", merge)
        pairs.append((pair[0], pair[1]))
    if not pairs:
        raise files.error("model.merges is missing or empty")
    return pairs


def _rule(files: _Files) -> str:
    """llama.cpp's name for the way text is cut into words."""
    steps = _steps(files)
    normalizers = {step.get("type") for step in _flat(files.json.get("normalizer"), "normalizers")}
    whole_words = bool(files.model.get("ignore_merges"))
    rule = RULES.get((steps, whole_words))
    if rule is None or not normalizers <= {"NFC"}:
        shown = [*sorted(map(str, normalizers)), *steps, *(["ignore_merges"] if whole_words else [])]
        raise files.error(
            "llama.cpp has no name for these steps that is known here",
            shown,
            f"what is called {', '.join(sorted(RULES.values()))}; if another fits, name it: --pre NAME",
        )
    return rule


def _steps(files: _Files) -> Steps:
    steps: list[tuple[str, ...]] = []
    for step in _flat(files.json.get("pre_tokenizer"), "pretokenizers"):
        kind = step.get("type")
        if kind == "ByteLevel" and not step.get("add_prefix_space"):
            steps.append(("bytes", "words") if step.get("use_regex", True) else ("bytes",))
        elif kind == "Digits" and step.get("individual_digits"):
            steps.append(("digits",))
        elif kind == "Split" and isinstance(step.get("pattern"), dict):
            whole = step.get("behavior") == "Isolated" and not step.get("invert")
            regex = step["pattern"].get("Regex", step["pattern"].get("String"))
            steps.append(("split", str(regex)) if whole else ("split", str(regex), str(step.get("behavior"))))
        else:
            steps.append((str(kind),))
    return tuple(steps)


# -- SentencePiece


def _sentencepiece(files: _Files, n_vocab: int) -> dict[str, Any]:
    tokens = [Token(f"[PAD{index}]", Kind.UNUSED, _PADDING_SCORE) for index in range(n_vocab)]
    pieces = _pieces(files) if files.pieces_path.is_file() else _scored_by_rank(files)
    for index, token in pieces:
        _place(files, tokens, index, token)
    for index, text, special in files.added():
        old = tokens[index] if index < n_vocab else None
        if old is None or old.text != text or old.kind in (Kind.NORMAL, Kind.UNUSED):
            _place(files, tokens, index, _added(text, special))
    values = {
        "ggml.model": "llama",
        "ggml.pre": "default",
        "ggml.tokens": Array([token.text for token in tokens], ValueType.STR),
        "ggml.scores": Array([token.score for token in tokens], ValueType.F32),
        "ggml.token_type": Array([token.kind for token in tokens], ValueType.I32),
    }
    return {**values, "ggml.add_space_prefix": _adds_space(files)} if files.json else values


def _adds_space(files: _Files) -> bool:
    """Whether a text gets a space in front, which older files do in the normalizer, newer ones before cutting."""
    normalizers = _flat(files.json.get("normalizer"), "normalizers")
    if any(step.get("type") == "Prepend" for step in normalizers):
        return True
    for step in _flat(files.json.get("pre_tokenizer"), "pretokenizers"):
        if step.get("type") == "Metaspace":
            return bool(step.get("add_prefix_space", True)) and step.get("prepend_scheme") != "never"
    return False


def _scored_by_rank(files: _Files) -> Iterator[tuple[int, Token]]:
    """tokenizer.json has no scores, but the order of its merges is the order of the scores it was made from."""
    scores: dict[str, float] = {}
    for left, right in _merge_pairs(files):
        scores.setdefault(left + right, -float(len(scores)))
    unknown = files.model.get("unk_token")
    for text, index in files.model["vocab"].items():
        if text == unknown:
            yield index, Token(text, Kind.UNKNOWN)
        elif _BYTE.fullmatch(text):
            yield index, Token(text, Kind.BYTE)
        else:
            yield index, Token(text, Kind.NORMAL, scores.get(text, -float(len(scores))))


def _pieces(files: _Files) -> Iterator[tuple[int, Token]]:
    """The vocabulary of a tokenizer.model: field 1 of the message, repeated, with text 1, score 2, kind 3."""
    path = files.pieces_path
    try:
        found = [dict(_fields(piece)) for number, piece in _fields(path.read_bytes()) if number == 1]
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror or error}", path=path) from None
    except (ValueError, TypeError, struct.error) as error:
        raise CheckpointError(f"is not a SentencePiece model: {error}", path=path) from None
    if not found:
        raise CheckpointError("is not a SentencePiece model: it has no pieces", path=path)
    for index, fields in enumerate(found):
        text, score, kind = fields.get(1, b""), fields.get(2, bytes(4)), fields.get(3, Kind.NORMAL)
        if not isinstance(text, bytes) or not isinstance(score, bytes) or len(score) != 4 or kind not in set(Kind):
            raise CheckpointError(f"is not a SentencePiece model: piece {index} makes no sense", path=path)
        value = struct.unpack("<f", score)[0]
        if not math.isfinite(value):
            raise CheckpointError(f"the score of piece {index} is not a number", path=path, found=value)
        yield index, Token(text.decode("utf-8", "replace"), Kind(kind), value)


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


# -- special tokens, chat templates


def _special_tokens(files: _Files, n_vocab: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    numbers = {**files.model.get("vocab", {}), **{text: index for index, text, _ in files.added()}}
    frame = files.template()
    around = {"bos": frame[0], "eos": frame[-1]}
    for name, key in _SPECIAL.items():
        token = files.config.get(f"{name}_token")
        index = _number(numbers, token.get("content") if isinstance(token, dict) else token)
        for config in (files.model_config, files.generation):
            if index is None:
                given = config.get(f"{name}_token_id")
                # several may end a text: llama.cpp finds the others by their names
                index = given[0] if isinstance(given, list) and given else given
        if index is None:
            index = _number(numbers, around.get(name))
        if type(index) is int and 0 <= index < n_vocab:
            values[f"ggml.{key}"] = U32(index)
    for name, framing in around.items():
        stated = files.config.get(f"add_{name}_token")
        if isinstance(stated, bool) or files.json:
            values[f"ggml.add_{name}_token"] = stated if isinstance(stated, bool) else framing is not None
    return values


def _number(numbers: Mapping[str, int], text: Any) -> Any:
    return numbers.get(text) if isinstance(text, str) else None


def _chat_templates(files: _Files) -> dict[str, Any]:
    template = files.config.get("chat_template")
    jinja = files.folder / "chat_template.jinja"
    if template is None and jinja.is_file():
        try:
            template = jinja.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"cannot be read: {error}", path=jinja) from None
    if template is None:
        template = read_json(files.folder / "chat_template.json", required=False).get("chat_template")
    if isinstance(template, str):
        return {"chat_template": template}
    values: dict[str, Any] = {}
    names = []
    for choice in _list(template):
        name, text = (choice.get("name"), choice.get("template")) if isinstance(choice, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(text, str) or not name:
            raise CheckpointError("a chat template has no name or no text", path=files.folder, found=choice)
        if name == "default":
            values["chat_template"] = text
            continue
        names.append("".join(c if c in string.ascii_letters + string.digits else "_" for c in name))
        values[f"chat_template.{names[-1]}"] = text
    return {**values, "chat_templates": Array(names, ValueType.STR)} if names else values
