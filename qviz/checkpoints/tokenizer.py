"""A Hugging Face tokenizer -> the tokenizer keys of a GGUF file.

llama.cpp has no tokenizer of its own design: it imitates others, and has to be told which. ``gpt2`` is byte-level BPE:
text is cut into words by a rule (``tokenizer.ggml.pre`` names it), each byte becomes a printable character, then merges
run in the order of their list. ``llama`` is SentencePiece's BPE: no words, spaces become ▁, and the merge whose result
has the highest score goes first; what no token covers is spelled in bytes, ``<0xE2>``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qviz._files import read_json, read_text
from qviz.checkpoints.sentencepiece import SPACE, Token, read_sentencepiece
from qviz.checkpoints.special_tokens import chat_templates, special_names, special_tokens
from qviz.checkpoints.tokenizer_limits import changes_of_text, flagged, flat, marks_spaces, odd_merges
from qviz.errors import CheckpointError, printable, shortened
from qviz.gguf.cuts import CUTS, Steps, recognise
from qviz.gguf.values import Array, ValueType
from qviz.gguf.vocabulary import Kind

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_LOOKS_SPECIAL = re.compile(r"<\|.*\|>|<｜.*｜>|<unused.*>|<pad>|<mask>|<2mass>|\[@BOS@\]", re.DOTALL)
_ADDED_SCORE, _PADDING_SCORE = -1000.0, -10000.0
# Folders of vocab.json and merges.txt do not write the rule for words down; it is in the code of these classes.
_CLASS_RULES = {"GPT2Tokenizer": "gpt-2", "CodeGenTokenizer": "gpt-2", "Qwen2Tokenizer": "qwen2"}
_TYPE_CLASSES = {"gpt2": "GPT2Tokenizer", "qwen2": "Qwen2Tokenizer", "qwen3": "Qwen2Tokenizer"}


def tokenizer_metadata(folder: Path, n_vocab: int, pre: str | None = None) -> dict[str, Any]:
    """The ``tokenizer.`` keys of a GGUF file.

    Parameters
    ----------
    folder : pathlib.Path
        With tokenizer.json, SentencePiece's tokenizer.model, or vocab.json and merges.txt, and the other JSON files of
        a tokenizer.
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
    files = _TokenizerFiles(folder, pre)
    tokens, values = _byte_level(files, n_vocab) if files.is_byte_level else _sentencepiece(files, n_vocab)
    if isinstance(stated := files.config.get("add_prefix_space"), bool):
        values["ggml.add_space_prefix"] = stated
    numbers = _numbers(files, tokens)
    ids = ((folder / "config.json", files.model_config), (folder / "generation_config.json", files.generation))
    values |= special_tokens(numbers, (files.config, files.special_map), ids, files.template(), n_vocab)
    values |= files.framing() | chat_templates(folder, files.config)
    _warn_of_losses(files)
    return {f"tokenizer.{key}": value for key, value in values.items()}


def _warn_of_losses(files: _TokenizerFiles) -> None:
    """Say what a tokenizer does with blanks, beside some tokens or in front of a text, and llama.cpp does not."""
    decoder = files.config.get("added_tokens_decoder")
    entries = _list(files.json.get("added_tokens")) or list(decoder.values() if isinstance(decoder, dict) else ())
    for what, texts in flagged(entries).items():
        shown = ", ".join(map(repr, texts[:3])) + (" ..." if len(texts) > 3 else "")
        what = f"{files.folder.name}: some tokens {what}, which no GGUF file can say: {shown}"
        warnings.warn(printable(what), stacklevel=2)
    if not files.is_byte_level and any(s.get("type") == "Metaspace" for s in files.cuts()) and _adds_space(files):
        what = "llama.cpp puts a space in front of any text and behind any control token, also where"
        warnings.warn(f"{printable(files.folder.name)}: {what} this tokenizer (Metaspace) does not", stacklevel=2)


def _numbers(files: _TokenizerFiles, tokens: list[Token]) -> dict[str, int]:
    """Number of each token; no two may be spelled alike, or whoever reads the text could not tell them apart."""
    numbers: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if numbers.setdefault(token.text, index) != index:
            raise files.error(f"tokens {numbers[token.text]} and {index} are spelled alike", token.text)
    return numbers


class _TokenizerFiles:
    """What a folder says about its tokenizer."""

    def __init__(self, folder: Path, pre: str | None) -> None:
        self.folder, self.pre = folder, pre
        self.path = folder / "tokenizer.json"
        self.pieces_path = folder / "tokenizer.model"
        self.vocab_path, self.merges_path = folder / "vocab.json", folder / "merges.txt"
        self.in_two_files = not self.path.is_file() and not self.pieces_path.is_file() and self.vocab_path.is_file()
        if not any(path.is_file() for path in (self.path, self.pieces_path, self.vocab_path)):
            raise CheckpointError(
                "there is no tokenizer",
                path=folder,
                expected="tokenizer.json, tokenizer.model, or vocab.json and merges.txt",
            )
        self.json = read_json(self.path, required=False)
        self.config = read_json(folder / "tokenizer_config.json", required=False)
        self.special_map = read_json(folder / "special_tokens_map.json", required=False)
        self.model_config = read_json(folder / "config.json", required=False)
        self.generation = read_json(folder / "generation_config.json", required=False)
        self.model: Mapping[str, Any] = {}
        if self.json or self.in_two_files:
            self.model = self._model()

    def _model(self) -> Mapping[str, Any]:
        if self.in_two_files:
            self.path = self.vocab_path
            model: Any = {"type": "BPE", "vocab": read_json(self.vocab_path), "merges": self._merge_lines()}
        else:
            model = self.json.get("model")
        kind = model.get("type", "BPE" if "merges" in model else None) if isinstance(model, dict) else None
        if not isinstance(model, dict) or kind != "BPE":
            raise self.error("this kind of tokenizer cannot be converted here", kind, "BPE")
        vocab = model.get("vocab")
        if not isinstance(vocab, dict) or not all(type(index) is int and index >= 0 for index in vocab.values()):
            raise self.error("the vocabulary must give each token its number", type(vocab).__name__, "an object")
        if len(set(vocab.values())) < len(vocab):
            raise self.error("two tokens of the vocabulary have the same number")
        if odd := odd_merges(model):
            raise self.error("llama.cpp merges without conditions; this model has some", ", ".join(odd))
        return model

    def _merge_lines(self) -> list[str]:
        """merges.txt: a pair in a line, after a first line that may state a version."""
        if not self.merges_path.is_file():
            raise CheckpointError("vocab.json needs it beside itself", path=self.merges_path, found="no such file")
        lines = read_text(self.merges_path, error=CheckpointError).split("\n")
        if lines[0].startswith("#version"):
            del lines[0]
        return [line for line in (line.rstrip("\r") for line in lines) if line]

    def error(self, problem: str, found: object = None, expected: object = None) -> CheckpointError:
        path = self.path if self.json or self.in_two_files else self.pieces_path
        return CheckpointError(problem, path=path, found=found, expected=expected)

    @property
    def is_byte_level(self) -> bool:
        if self.in_two_files:
            return True
        steps = self.cuts()
        if any(step.get("type") == "ByteLevel" for step in steps):
            return True
        if not self.json or self.model.get("byte_fallback") or self.pieces_path.is_file() or marks_spaces(self.json):
            return False
        if self.pre is not None:
            return True
        types = [step.get("type") for step in steps]
        raise self.error("neither byte-level BPE nor SentencePiece's", types or "no pre-tokenizer", "ByteLevel")

    def cuts(self) -> list[dict[str, Any]]:
        """The steps that cut a text."""
        return list(flat(self.json.get("pre_tokenizer"), "pretokenizers"))

    def rule(self) -> str:
        """llama.cpp's name for the way text is cut into words."""
        if self.pre is not None:
            return self.pre
        if not self.in_two_files:
            return _rule(self)
        named = self.config.get("tokenizer_class") or _TYPE_CLASSES.get(str(self.model_config.get("model_type")))
        rule = _CLASS_RULES.get(str(named).removesuffix("Fast"))
        if rule is None:
            raise self.error(
                "vocab.json and merges.txt do not say how text is cut into words",
                f"tokenizer_class {named!r}",
                f"{', '.join(_CLASS_RULES)}; or name llama.cpp's rule: --pre gpt-2, --pre qwen2 ...",
            )
        return rule

    def added(self) -> Iterator[tuple[int, str, bool]]:
        """Number, text, and whether special, of each token that stands outside the model."""
        entries = list(_list(self.json.get("added_tokens")))
        names = special_names(self.config, self.special_map)
        stated = self.config.get("added_tokens_decoder")
        decoder: dict[int, Any] = {}
        for key, entry in (stated if isinstance(stated, dict) else {}).items():
            if not isinstance(entry, dict) or not re.fullmatch(r"[0-9]{1,9}", key):
                raise self.error("an entry of added_tokens_decoder has no number or is no object", {key: entry})
            decoder[int(key)] = {"id": int(key), **entry}
        known = {i for entry in entries if isinstance(entry, dict) and type(i := entry.get("id")) is int}
        entries += [entry for index, entry in decoder.items() if index not in known]
        path = self.folder / "added_tokens.json"
        for text, index in read_json(path, required=False).items():
            if type(index) is not int or index < 0:
                raise CheckpointError(f"the number of {text!r} makes no sense", path=path, found=index)
            other = decoder.get(index, {}).get("content", text)
            if other != text and not self.json:
                raise CheckpointError(
                    f"token {index} is {shortened(text)} here", path=path, found=f"{other!r} in tokenizer_config.json"
                )
            if index not in known and index not in decoder:
                entries.append({"id": index, "content": text, "special": text in names})
        for entry in entries:
            number, content = (entry.get("id"), entry.get("content")) if isinstance(entry, dict) else (None, None)
            if type(number) is not int or number < 0 or not isinstance(content, str) or not content:
                raise self.error("an added token has no id or no content", entry)
            yield number, content, bool(entry.get("special"))

    def template(self) -> list[str | None]:
        """How a text is framed: the special tokens that the post-processor puts in a row, the text itself as None."""
        for step in flat(self.json.get("post_processor"), "processors"):
            if step.get("type") == "TemplateProcessing":
                tokens = [piece.get("SpecialToken") for piece in _list(step.get("single")) if isinstance(piece, dict)]
                return [str(token.get("id")) if isinstance(token, dict) else None for token in tokens] or [None]
        return [None]

    def framing(self) -> dict[str, bool]:
        """Whether a text begins with BOS and ends with EOS, where the folder says so."""
        frame, values = self.template(), {}
        for name, framing in (("bos", frame[0]), ("eos", frame[-1])):
            stated = self.config.get(f"add_{name}_token")
            if isinstance(stated, bool) or self.json:
                values[f"ggml.add_{name}_token"] = stated if isinstance(stated, bool) else framing is not None
        return values


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# -- byte-level BPE


def _byte_level(files: _TokenizerFiles, n_vocab: int) -> tuple[list[Token], dict[str, Any]]:
    tokens = [Token(f"[PAD{index}]", Kind.UNUSED) for index in range(n_vocab)]
    for text, index in files.model["vocab"].items():
        _place(files, tokens, index, Token(text, Kind.NORMAL))
    for index, text, special in files.added():
        _place(files, tokens, index, _added(text, special))
    return tokens, {
        "ggml.model": "gpt2",
        "ggml.pre": files.rule(),
        "ggml.tokens": Array([token.text for token in tokens], ValueType.STR),
        "ggml.token_type": Array([token.kind for token in tokens], ValueType.I32),
        "ggml.merges": Array(_merges(files), ValueType.STR),
    }


def _place(files: _TokenizerFiles, tokens: list[Token], index: int, token: Token) -> None:
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
    return Token(text.replace(SPACE, " "), Kind.USER_DEFINED, _ADDED_SCORE)


def _merges(files: _TokenizerFiles) -> list[str]:
    """Pairs with a space between; a space inside becomes Ġ, which is how bytes are spelled."""
    return [" ".join(part.replace(" ", "\u0120") for part in pair) for pair in _merge_pairs(files)]


def _merge_pairs(files: _TokenizerFiles) -> list[tuple[str, str]]:
    pairs = []
    for index, merge in enumerate(_list(files.model.get("merges"))):
        # older files write one string; it is cut at its first space that does not begin it
        cut = merge.find(" ", 1) if isinstance(merge, str) else -1
        pair = [merge[:cut], merge[cut + 1 :]] if cut > 0 else merge
        several = cut > 0 and " " in merge[cut + 1 :]
        if several or not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(p, str) and p for p in pair):
            raise files.error(f"merge {index} is not a pair of tokens", merge)
        pairs.append((pair[0], pair[1]))
    if not pairs:
        raise files.error("model.merges is missing or empty")
    return pairs


def _rule(files: _TokenizerFiles) -> str:
    steps = _steps(files)
    normalizers = {str(step.get("type")) for step in flat(files.json.get("normalizer"), "normalizers")}
    whole_words = bool(files.model.get("ignore_merges"))
    rule = recognise(steps, whole_words)
    if rule is None or not normalizers <= {"NFC"}:
        shown = [*sorted(normalizers), *steps, *(["ignore_merges"] if whole_words else [])]
        raise files.error(
            "llama.cpp has no name for these steps that is known here",
            shown,
            f"what is called {', '.join(sorted(CUTS))}; if another fits, name it: --pre NAME",
        )
    return rule


def _steps(files: _TokenizerFiles) -> Steps:
    steps: list[tuple[str, ...]] = []
    for step in files.cuts():
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


def _sentencepiece(files: _TokenizerFiles, n_vocab: int) -> tuple[list[Token], dict[str, Any]]:
    if files.pre not in (None, "default"):
        what = "SentencePiece cuts no text into words, so there is no rule to name"
        raise files.error(what, f"--pre {files.pre}", "no --pre")
    tokens = [Token(f"[PAD{index}]", Kind.UNUSED, _PADDING_SCORE) for index in range(n_vocab)]
    add_space = _adds_space(files)
    pieces: Iterator[tuple[int, Token]]
    if files.pieces_path.is_file():
        model = read_sentencepiece(files.pieces_path)
        if model.unigram:
            raise CheckpointError(
                "a unigram model cannot be converted here", path=files.pieces_path, found="unigram", expected="BPE"
            )
        _refuse_changes(files, files.pieces_path, list(model.changes))
        add_space = add_space if files.json else model.add_space
        pieces = iter(enumerate(model.tokens))
    else:
        pieces = _scored_by_rank(files)
    if files.json:
        _refuse_changes(files, files.path, changes_of_text(files.json))
    for index, token in pieces:
        _place(files, tokens, index, token)
    for index, text, special in files.added():
        old = tokens[index] if index < n_vocab else None
        if old is None or old.text != text or old.kind in (Kind.NORMAL, Kind.UNUSED):
            _place(files, tokens, index, _added(text, special))
    return tokens, {
        "ggml.model": "llama",
        "ggml.pre": "default",
        "ggml.tokens": Array([token.text for token in tokens], ValueType.STR),
        "ggml.scores": Array([token.score for token in tokens], ValueType.F32),
        "ggml.token_type": Array([token.kind for token in tokens], ValueType.I32),
        "ggml.add_space_prefix": add_space,
    }


def _refuse_changes(files: _TokenizerFiles, path: Path, changes: list[str]) -> None:
    """llama.cpp merges a text as it is, in one piece: what is done before would be lost without a word."""
    if changes and files.pre is None:
        raise CheckpointError(
            "this tokenizer changes a text before it cuts it into tokens, and llama.cpp does not",
            path=path,
            found=", ".join(changes),
            expected="nothing but ▁ for spaces; to convert it all the same, add --pre default",
        )


def _adds_space(files: _TokenizerFiles) -> bool:
    """Whether a text gets a space in front, which older files do in the normalizer, newer ones before cutting."""
    normalizers = flat(files.json.get("normalizer"), "normalizers")
    if any(step.get("type") == "Prepend" for step in normalizers):
        return True
    for step in files.cuts():
        if step.get("type") == "Metaspace":
            return bool(step.get("add_prefix_space", True)) and step.get("prepend_scheme") != "never"
    return False


def _scored_by_rank(files: _TokenizerFiles) -> Iterator[tuple[int, Token]]:
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
