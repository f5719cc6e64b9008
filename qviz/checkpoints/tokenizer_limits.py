"""What a tokenizer.json may ask for and llama.cpp's tokenizers do not do, in words for an error or a warning.

Merges with a condition (a suffix at the end of a word, chance) make other tokens, and so does a step that changes or
cuts a text before merges begin. Tokens that swallow the blanks around them do so in a few models that llama.cpp knows
by their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qviz.checkpoints.sentencepiece import SPACE

# Settings of the merges that must say nothing.
_MERGES = {
    "dropout": "merges that are left out by chance",
    "continuing_subword_prefix": "a prefix of tokens within words",
    "end_of_word_suffix": "a suffix of tokens that end words",
}
_FLAGS = {
    "lstrip": "take the blanks before them (lstrip)",
    "rstrip": "take the blanks behind them (rstrip)",
    "single_word": "are looked for as whole words only (single_word)",
}


def flat(step: Any, children: str) -> Iterator[dict[str, Any]]:
    """A step of tokenizer.json, or the steps of a sequence, however deep."""
    if not isinstance(step, dict):
        return
    if step.get("type") != "Sequence":
        yield step
        return
    inside = step.get(children)
    for child in inside if isinstance(inside, list) else []:
        yield from flat(child, children)


def odd_merges(model: Mapping[str, Any]) -> list[str]:
    """What the merges of a tokenizer.json do beside merging."""
    return [f"{what} ({key} {model[key]!r})" for key, what in _MERGES.items() if model.get(key)]


def marks_spaces(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a space becomes ▁, as SentencePiece has it."""
    steps = flat(tokenizer.get("pre_tokenizer"), "pretokenizers")
    return any(step.get("type") == "Metaspace" for step in steps) or _replaces_spaces(tokenizer)


def changes_of_text(tokenizer: Mapping[str, Any]) -> list[str]:
    """Steps of a tokenizer.json of SentencePiece's kind that llama.cpp does not take.

    It writes ▁ for each space, may put one in front, and merges what it gets, in one piece.
    """
    found = [what for step in _normalizers(tokenizer) if (what := _normalizer(step))]
    cuts = list(flat(tokenizer.get("pre_tokenizer"), "pretokenizers"))
    found += [what for step in cuts if (what := _cut(step, tokenizer))]
    return found if marks_spaces(tokenizer) else [*found, "spaces that stay spaces"]


def flagged(entries: list[Any]) -> dict[str, list[str]]:
    """What added tokens do that llama.cpp leaves undone -> their texts."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        for flag, what in _FLAGS.items() if isinstance(entry, dict) else ():
            if entry.get(flag) is True:
                found.setdefault(what, []).append(str(entry.get("content")))
    return found


def _normalizers(tokenizer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return flat(tokenizer.get("normalizer"), "normalizers")


def _replaces_spaces(tokenizer: Mapping[str, Any]) -> bool:
    return any(step.get("type") == "Replace" and not _normalizer(step) for step in _normalizers(tokenizer))


def _normalizer(step: Mapping[str, Any]) -> str:
    kind, pattern, content = step.get("type"), step.get("pattern"), step.get("content")
    if kind == "Replace":
        what = next(iter(pattern.values()), None) if isinstance(pattern, dict) else pattern
        return "" if (what, content) == (" ", SPACE) else f"{content!r} for {what!r}"
    if kind == "Prepend":
        return "" if step.get("prepend") == SPACE else f"{step.get('prepend')!r} in front"
    return str(kind)


def _cut(step: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> str:
    kind = step.get("type")
    if kind == "Metaspace":
        mark = step.get("replacement", SPACE)
        if mark != SPACE:
            return f"{mark!r} for spaces"
        # cut before each ▁: it matters where a token holds one that does not begin it
        inside = _with_space_inside(tokenizer)
        return f"words apart, though {inside!r} is a token" if step.get("split", True) and inside else ""
    if kind == "Split" and _replaces_spaces(tokenizer):  # Gemma cuts at spaces when none is left
        pattern = step.get("pattern")
        return "" if isinstance(pattern, dict) and list(pattern.values()) == [" "] else f"{kind} {pattern}"
    return str(kind)


def _with_space_inside(tokenizer: Mapping[str, Any]) -> str | None:
    entries = tokenizer.get("added_tokens")
    added = [entry.get("content") for entry in entries or [] if isinstance(entry, dict)]
    return next((token for token in tokenizer["model"]["vocab"] if SPACE in token[1:] and token not in added), None)
