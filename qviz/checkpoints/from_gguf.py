"""A GGUF file's tokenizer -> the tokenizer files of a Hugging Face folder.

The counterpart of `qviz.checkpoints.tokenizer`: there files become ``tokenizer.ggml.*`` keys, here the keys become
``tokenizer.json``, as the `tokenizers` library reads it, and ``tokenizer_config.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qviz.checkpoints.tokenizer import RULES, Kind
from qviz.errors import CheckpointError

_SPACE = "\u2581"


def tokenizer_files(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of ``tokenizer.json`` and ``tokenizer_config.json``, by name.

    Parameters
    ----------
    metadata : mapping
        Of a GGUF file.

    Returns
    -------
    dict of str to dict

    Raises
    ------
    CheckpointError
        No tokenizer, or one of a kind that is not known here.

    Examples
    --------
    >>> from qviz import load
    >>> files = tokenizer_files(load("tiny").metadata)
    >>> sorted(files), files["tokenizer_config.json"]["bos_token"]
    (['tokenizer.json', 'tokenizer_config.json'], '<s>')
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in ("llama", "gpt2") or metadata.get("tokenizer.ggml.tokens") is None:
        raise CheckpointError("the model has no tokenizer that can be written", found=kind, expected="llama or gpt2")
    known = _Known(metadata, kind)
    return {"tokenizer.json": known.json(), "tokenizer_config.json": known.config()}


class _Known:
    """What the keys say."""

    def __init__(self, metadata: Mapping[str, Any], kind: str) -> None:
        self._get, self._llama = metadata.get, kind == "llama"
        self.tokens = [str(token) for token in metadata["tokenizer.ggml.tokens"]]
        self.kinds = [int(k) for k in self._get("tokenizer.ggml.token_type") or [Kind.NORMAL] * len(self.tokens)]
        if len(self.kinds) != len(self.tokens):
            raise CheckpointError("each token needs a type", found=len(self.kinds), expected=len(self.tokens))
        self.special = {name: self._token(name) for name in ("bos", "eos", "unknown", "padding")}
        self.adds = {
            name: bool(self._get(f"tokenizer.ggml.add_{name}_token", self._llama and name == "bos"))
            and self.special[name] is not None
            for name in ("bos", "eos")
        }
        self.space = self._llama and bool(self._get("tokenizer.ggml.add_space_prefix", True))

    def _token(self, name: str) -> str | None:
        index = self._get(f"tokenizer.ggml.{name}_token_id")
        return None if index is None or not 0 <= int(index) < len(self.tokens) else self.tokens[int(index)]

    def json(self) -> dict[str, Any]:
        outside = (Kind.UNKNOWN, Kind.CONTROL, Kind.USER_DEFINED)
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": i,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": kind != Kind.USER_DEFINED,
                }
                for i, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True))
                if kind in outside
            ],
            **(self._sentencepiece() if self._llama else self._byte_level()),
            "post_processor": self._template(),
        }

    def _template(self) -> dict[str, Any] | None:
        before = [self.special["bos"]] if self.adds["bos"] else []
        after = [self.special["eos"]] if self.adds["eos"] else []
        if not before and not after:
            return None

        def text(letter: str) -> list[dict[str, Any]]:
            around = [{"SpecialToken": {"id": token, "type_id": 0}} for token in (*before, *after)]
            return [*around[: len(before)], {"Sequence": {"id": letter, "type_id": 0}}, *around[len(before) :]]

        special = {
            str(token): {"id": token, "ids": [self.tokens.index(str(token))], "tokens": [token]}
            for token in (*before, *after)
        }
        return {
            "type": "TemplateProcessing",
            "single": text("A"),
            "pair": text("A") + text("B"),
            "special_tokens": special,
        }

    def _model(self, merges: list[list[str]], **settings: Any) -> dict[str, Any]:
        names = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
        return {"type": "BPE", **dict.fromkeys(names), **settings, "vocab": self._vocab(), "merges": merges}

    def _vocab(self) -> dict[str, int]:
        return {t: i for i, t in enumerate(self.tokens) if self.kinds[i] != Kind.UNUSED}

    def _sentencepiece(self) -> dict[str, Any]:
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
        before = [{"type": "Prepend", "prepend": _SPACE}] if self.space else []
        after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if self.space else []
        decoders = [
            {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]
        unknown = self.special["unknown"]
        return {
            "normalizer": {"type": "Sequence", "normalizers": [*before, replace]},
            "pre_tokenizer": None,
            "decoder": {"type": "Sequence", "decoders": [*decoders, *after]},
            "model": self._model(
                list(self._merges_by_score()), unk_token=unknown, fuse_unk=True, byte_fallback=True, ignore_merges=False
            ),
        }

    def _merges_by_score(self) -> Iterator[list[str]]:
        """SentencePiece joins whatever makes the piece of best score: all pairs that make each piece, best first."""
        scores = self._get("tokenizer.ggml.scores")
        if scores is None or len(scores) != len(self.tokens):
            raise CheckpointError("each token needs a score", found=None if scores is None else len(scores))
        pieces = {t: i for i, t in enumerate(self.tokens) if self.kinds[i] in (Kind.NORMAL, Kind.USER_DEFINED)}
        for piece in sorted(pieces, key=lambda piece: (-float(scores[pieces[piece]]), pieces[piece])):
            for at in range(1, len(piece)):
                if piece[:at] in pieces and piece[at:] in pieces:
                    yield [piece[:at], piece[at:]]

    def _byte_level(self) -> dict[str, Any]:
        pre = self._get("tokenizer.ggml.pre", "default")
        rule = next((rule for rule, name in RULES.items() if name == pre), None)
        merges = self._get("tokenizer.ggml.merges")
        if merges is None:
            raise CheckpointError("the model has a vocabulary, but no tokenizer.ggml.merges: is it whole?")
        if rule is None:
            raise CheckpointError("this tokenizer cannot be written", found=pre, expected=", ".join(RULES.values()))
        steps, whole_words = rule
        pairs = [list(str(merge).split(" ", 1)) for merge in merges]
        return {
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_step(step) for step in steps]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": self._model(pairs, unk_token=None, fuse_unk=False, byte_fallback=False, ignore_merges=whole_words),
        }

    def config(self) -> dict[str, Any]:
        names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
        values: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        values |= {key: self.special[name] for name, key in names.items() if self.special[name] is not None}
        values |= {f"add_{name}_token": added for name, added in self.adds.items()}
        template = self._get("tokenizer.chat_template")
        return values | ({"chat_template": template} if isinstance(template, str) else {})


def _step(step: tuple[str, ...]) -> dict[str, Any]:
    if step[0] == "bytes":
        words = "words" in step
        return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": words}
    if step[0] == "digits":
        return {"type": "Digits", "individual_digits": True}
    return {"type": "Split", "pattern": {"Regex": step[1]}, "behavior": "Isolated", "invert": False}
