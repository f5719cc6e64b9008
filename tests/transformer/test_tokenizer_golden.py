"""Tokens, defaults and ends as llama.cpp finds them (tests/golden/make_tokens.py), for every rule that is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qviz.gguf.cuts import CUTS
from qviz.transformer import Tokenizer

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "tokens.json").read_text("utf-8"))
TEXTS = GOLDEN["texts"]
EITHER = [(special, i) for special in (False, True) for i in range(len(TEXTS))]


def agrees(tokenizer: Tokenizer, said: dict[str, Any]) -> None:
    found = {"bos": tokenizer.bos, "eos": tokenizer.eos}
    found = {name: -1 if index is None else index for name, index in found.items()}
    found |= {"add_bos": tokenizer.add_bos, "add_eos": tokenizer.add_eos, "ends": sorted(tokenizer.ends)}
    assert found == {name: said[name] for name in found}


@pytest.mark.parametrize("rule", GOLDEN["rules"])
def test_byte_level(rule: str) -> None:
    special, said = GOLDEN["special"], GOLDEN["rules"][rule]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": rule,
        "tokenizer.ggml.tokens": GOLDEN["tokens"] + [text for text, _ in special],
        "tokenizer.ggml.token_type": [1] * len(GOLDEN["tokens"]) + [kind for _, kind in special],
        "tokenizer.ggml.merges": GOLDEN["merges"],
    }
    tokenizer = Tokenizer(metadata)
    agrees(tokenizer, said)
    for (with_special, i), variants, which in zip(EITHER, GOLDEN["variants"], said["which"], strict=True):
        assert tokenizer.encode(TEXTS[i], bos=False, special=with_special) == variants[which], TEXTS[i]


@pytest.mark.parametrize("name", GOLDEN["pieces"]["models"])
def test_sentencepiece(name: str) -> None:
    pieces = GOLDEN["pieces"]
    metadata = {
        "general.name": name,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [text for text, _ in pieces["tokens"]],
        "tokenizer.ggml.token_type": [kind for _, kind in pieces["tokens"]],
        "tokenizer.ggml.scores": pieces["scores"],
    }
    tokenizer, said = Tokenizer(metadata), pieces["models"][name]
    agrees(tokenizer, said)
    for special, i in EITHER:
        expected = said["ids"][special][i] or pieces["models"]["plain"]["ids"][special][i]
        assert tokenizer.encode(TEXTS[i], bos=False, special=special) == expected, TEXTS[i]


def test_every_rule_is_compared() -> None:
    compared = {CUTS[rule] for rule in GOLDEN["rules"]}
    assert compared == set(CUTS.values())
