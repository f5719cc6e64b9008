"""A GGUF file's tokenizer -> the tokenizer files of a Hugging Face folder.

The counterpart of `qviz.checkpoints.tokenizer`: there files become ``tokenizer.ggml.*`` keys, here the keys become
``tokenizer.json``, as the `tokenizers` library reads it, and ``tokenizer_config.json``.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from typing import Any

from qviz.errors import CheckpointError
from qviz.gguf.vocabulary import Kind, read_merges, read_vocabulary

_SPACE = "\u2581"


def tokenizer_files(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of ``tokenizer.json`` and ``tokenizer_config.json``, by name.

    Parameters
    ----------
    metadata : mapping
        A GGUF file's.

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
    known = _Known(metadata)
    return {"tokenizer.json": known.json(), "tokenizer_config.json": known.config()}


class _Known:
    """What the keys say."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self._vocabulary = known = read_vocabulary(metadata, CheckpointError)
        self.tokens, self.kinds = known.tokens, known.kinds.tolist()
        named = (name for name in ("bos", "eos", "unknown", "padding") if name in known.special)
        self.special = {name: self.tokens[known.special[name]] for name in named}
        self.adds = {"bos": known.add_bos, "eos": known.add_eos}

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
            **(self._byte_level() if self._vocabulary.cut else self._sentencepiece()),
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
        before = [{"type": "Prepend", "prepend": _SPACE}] if self._vocabulary.add_space else []
        after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if self._vocabulary.add_space else []
        decoders = [
            {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]
        unknown = self.special.get("unknown")
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
        scores = self._vocabulary.scores
        assert scores is not None
        pieces = {t: i for i, t in enumerate(self.tokens) if self.kinds[i] in (Kind.NORMAL, Kind.USER_DEFINED)}
        lengths = sorted(set(map(len, pieces)))
        for piece in sorted(pieces, key=lambda piece: (-scores[pieces[piece]], pieces[piece])):
            for at in lengths[: bisect.bisect_left(lengths, len(piece))]:
                if piece[:at] in pieces and piece[at:] in pieces:
                    yield [piece[:at], piece[at:]]

    def _byte_level(self) -> dict[str, Any]:
        cut = self._vocabulary.cut
        assert cut is not None
        merges = [list(pair) for pair in read_merges(self._metadata, self.tokens, CheckpointError)]
        return {
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_step(step) for step in cut.steps]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": self._model(
                merges, unk_token=None, fuse_unk=False, byte_fallback=False, ignore_merges=cut.whole_words
            ),
        }

    def config(self) -> dict[str, Any]:
        names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
        values: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        values |= {key: self.special[name] for name, key in names.items() if name in self.special}
        values |= {f"add_{name}_token": added for name, added in self.adds.items()}
        template = self._metadata.get("tokenizer.chat_template")
        return values | ({"chat_template": template} if isinstance(template, str) else {})


def _step(step: tuple[str, ...]) -> dict[str, Any]:
    if step[0] == "bytes":
        words = "words" in step
        return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": words}
    return {"type": "Split", "pattern": {"Regex": step[1]}, "behavior": "Isolated", "invert": False}
