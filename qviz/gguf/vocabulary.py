"""A vocabulary, read out of a GGUF file's ``tokenizer.ggml.*`` keys and checked, with llama.cpp's defaults.

The keys come from anywhere: each is of the type and length that it must have, or an error names it, what was wanted
and what was found. Nothing here cuts text; `qviz.transformer.tokenizer` does, and `qviz.checkpoints` writes the same
keys as a tokenizer.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz.errors import GGUFError, QvizError
from qviz.gguf.cuts import CUTS, Cut
from qviz.gguf.settings import Settings, shown

MODELS = ("llama", "gpt2")


class Kind(IntEnum):
    """What a token is, with the numbers that GGUF stores; any other number is 0."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """What a file says of its tokens.

    Attributes
    ----------
    model : str
        ``"llama"``, SentencePiece's way: the merge whose result has the best score goes first. ``"gpt2"``, byte-level
        BPE: words, then merges in the order of their list.
    pre : str
        The name of the rule that cuts text into words; ``llama`` has no such rule, whatever it says.
    cut : Cut or None
        How text is cut into words; None for ``llama``.
    tokens : list of str
        As the file spells them; no two are alike. A byte that is no UTF-8 is a lone surrogate.
    kinds : uint8 (n,)
        The `Kind` of each.
    scores : float32 (n,) or None
        Given for ``llama``.
    special : mapping of str to int
        Numbers of tokens with a part to play: ``bos``, ``eos``, ``unknown``, ``seperator``, ``fim_pre`` ...
    add_bos, add_eos : bool
        Whether a text begins with BOS and ends with EOS.
    add_space : bool
        Whether a space goes in front of a text.
    """

    model: str
    pre: str
    cut: Cut | None
    tokens: list[str]
    kinds: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float32] | None
    special: Mapping[str, int]
    add_bos: bool
    add_eos: bool
    add_space: bool


# The last three are older names of three before them.
_ROLES = (
    *("bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask"),
    *("fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep", "prefix", "suffix", "middle"),
)
_NONE = (1 << 32) - 1  # -1, as some converters wrote it for "there is none"
_OLDER = {"prefix": "fim_pre", "suffix": "fim_suf", "middle": "fim_mid"}
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def read_vocabulary(metadata: Mapping[str, Any], error: Callable[[str], QvizError] = GGUFError) -> Vocabulary:
    """Read and check the ``tokenizer.ggml.*`` keys, merges excepted.

    Parameters
    ----------
    metadata : mapping of str to object
        A GGUF file's.
    error : callable ``(text) -> QvizError``
        What is raised.

    Returns
    -------
    Vocabulary

    Raises
    ------
    QvizError
        A key that is missing, of another type, length or range; two tokens alike; a model or a rule that is not
        implemented here.
    """
    settings = Settings(metadata, "tokenizer.ggml.", error)
    model = settings.text("model", None)
    if model not in MODELS:
        raise error(f"tokenizer.ggml.model is {shown(model)}; 'llama' and 'gpt2' are implemented here")
    pre = settings.text("pre", "default") or "default"
    cut = CUTS.get(pre) if model == "gpt2" else None
    if model == "gpt2" and cut is None:
        raise error(f"tokenizer.ggml.pre is {shown(pre)}; implemented here are: {', '.join(CUTS)}")
    tokens = _tokens(settings, error)
    kinds = _kinds(settings, tokens, error)
    scores = _of_each(settings, "scores", settings.numbers, tokens, error) if model == "llama" else None
    special = _special(settings, len(tokens), model, cut, error)
    add_bos = settings.flag("add_bos_token", None)
    add_eos = settings.flag("add_eos_token", False)
    for name, added in (("bos", add_bos), ("eos", add_eos)):
        if added and name not in special:
            raise error(
                f"tokenizer.ggml.add_{name}_token is true; tokenizer.ggml.{name}_token_id must name a token, too"
            )
    if add_bos is None:
        add_bos = (cut is None or cut.begins) and "bos" in special
    add_space = model == "llama" and settings.flag("add_space_prefix", True)
    return Vocabulary(model, pre, cut, tokens, kinds, scores, special, add_bos, add_eos, add_space)


def read_merges(
    metadata: Mapping[str, Any], tokens: list[str], error: Callable[[str], QvizError] = GGUFError
) -> list[tuple[str, str]]:
    """The pairs of ``tokenizer.ggml.merges``, best first, each once.

    Parameters
    ----------
    metadata : mapping of str to object
    tokens : list of str
        The vocabulary; each pair and what it makes must be in it.
    error : callable ``(text) -> QvizError``
        What is raised.

    Returns
    -------
    list of (str, str)

    Raises
    ------
    QvizError
        No merges; one that is not two tokens with a space between, or makes no token.
    """
    known = set(tokens)
    pairs: dict[tuple[str, str], None] = {}
    for i, merge in enumerate(Settings(metadata, "tokenizer.ggml.", error).texts("merges")):
        cut = merge.find(" ", 1)  # a first space is a token's own
        left, right = merge[:cut], merge[cut + 1 :]
        if cut < 0 or not right:
            raise error(f"tokenizer.ggml.merges[{i}] is {shown(merge)}; two tokens with a space between are wanted")
        for part in (left, right, left + right):
            if part not in known:
                raise error(
                    f"tokenizer.ggml.merges[{i}] is {shown(merge)}, but {shown(part)} is no token of the vocabulary"
                )
        pairs.setdefault((left, right))
    return list(pairs)


def _tokens(settings: Settings, error: Callable[[str], QvizError]) -> list[str]:
    tokens = settings.texts("tokens")
    if not tokens:
        raise error("tokenizer.ggml.tokens is empty; a vocabulary is needed to read text")
    if "" in tokens:
        tokens = [token or f"[EMPTY_{i}]" for i, token in enumerate(tokens)]  # as llama.cpp has it
    if len(set(tokens)) < len(tokens):
        first: dict[str, int] = {}
        twice = next(i for i, token in enumerate(tokens) if first.setdefault(token, i) != i)
        raise error(
            f"tokenizer.ggml.tokens[{first[tokens[twice]]}] and [{twice}] are both {shown(tokens[twice])}; each token "
            "must be there once"
        )
    return tokens


def _kinds(settings: Settings, tokens: list[str], error: Callable[[str], QvizError]) -> npt.NDArray[np.uint8]:
    stored = _of_each(settings, "token_type", settings.integers, tokens, error, np.ones(len(tokens), np.int64))
    kinds = np.where((stored >= 0) & (stored <= max(Kind)), stored, Kind.UNDEFINED).astype(np.uint8)
    for i in np.flatnonzero(kinds == Kind.BYTE):
        if not _BYTE.fullmatch(tokens[i]):
            raise error(
                f"tokenizer.ggml.tokens[{i}] is {shown(tokens[i])}, of the kind that stands for one byte; "
                "<0x00> to <0xFF> is wanted"
            )
    return kinds


def _of_each(
    settings: Settings,
    key: str,
    read: Callable[..., Any],
    tokens: list[str],
    error: Callable[[str], QvizError],
    default: Any = None,
) -> Any:
    """One value for each token."""
    values = read(key) if default is None else read(key, default)
    if len(values) != len(tokens):
        what = {"scores": "scores", "token_type": "token types"}[key]
        raise error(f"tokenizer.ggml.{key}: {len(values)} {what} for {len(tokens)} tokens; one each is needed")
    return values


def _special(
    settings: Settings, n_tokens: int, model: str, cut: Cut | None, error: Callable[[str], QvizError]
) -> dict[str, int]:
    defaults = {"bos": 1, "eos": 2, "unknown": 0} if model == "llama" else {"bos": 11, "eos": 11}
    if cut is not None and cut.no_bos:
        del defaults["bos"]
    special = {name: index for name, index in defaults.items() if index < n_tokens}
    for name in _ROLES:
        index = settings.count(f"{name}_token_id", None, least=0, most=_NONE)
        if index is None or index == _NONE:
            continue
        if index >= n_tokens:
            raise error(f"tokenizer.ggml.{name}_token_id is {index}; there are {n_tokens} tokens, numbered from 0")
        special[_OLDER.get(name, name)] = index
    return special
