"""Tokenizer keys that make no sense: one sentence that names the key, what was wanted and what was found."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np
import pytest
from odd_texts import fuzz, odd_texts
from test_tokenizer_special import BYTE, CONTROL, NORMAL, USER, byte_level, pieces

from qviz.checkpoints import tokenizer_files
from qviz.errors import CheckpointError, LlamaError
from qviz.transformer import Tokenizer


@pytest.mark.parametrize(
    ("make", "key", "value", "says"),
    [
        (pieces, "model", 7, "model is 7; a text is wanted"),
        (pieces, "model", "bert", "model is 'bert'; 'llama' and 'gpt2' are implemented"),
        (byte_level, "pre", ["qwen2"], r"pre is \['qwen2'\]; a text is wanted"),
        (byte_level, "pre", "kimi-k2", "pre is 'kimi-k2'; implemented here are: llama-bpe, "),
        (pieces, "tokens", "abc", "tokens is 'abc'; an array of texts is wanted"),
        (pieces, "tokens", 3, "tokens is 3; an array of texts is wanted"),
        (pieces, "tokens", [1, 2], r"tokens\[0\] is 1; a text is wanted"),
        (pieces, "tokens", [], "tokens is empty"),
        (pieces, "tokens", ["a", "b", "a"], r"tokens\[0\] and \[2\] are both 'a'"),
        (pieces, "token_type", 1, "token_type is 1; an array of whole numbers is wanted"),
        (pieces, "token_type", [1.0] * 266, r"token_type\[0\] is 1.0; a whole number"),
        (pieces, "token_type", [1] * 5, "token_type: 5 token types for 266 tokens"),
        (
            pieces,
            "token_type",
            [6] * 266,
            r"tokens\[0\] is '<unk>', of the kind that stands for one byte; <0x00> to <0xFF>",
        ),
        (pieces, "scores", [0.0] * 265, "scores: 265 scores for 266 tokens"),
        (pieces, "scores", [float("nan")] * 266, r"scores\[0\] is nan; a finite number is wanted"),
        (pieces, "scores", ["high"] * 266, r"scores\[0\] is 'high'; a finite number is wanted"),
        (pieces, "scores", {}, r"scores is \{\}; an array of numbers is wanted"),
        (pieces, "bos_token_id", "<s>", "bos_token_id is '<s>'; a whole number"),
        (pieces, "bos_token_id", 1.0, "bos_token_id is 1.0; a whole number"),
        (pieces, "eos_token_id", [2], r"eos_token_id is \[2\]; a whole number"),
        (pieces, "eos_token_id", float("nan"), "eos_token_id is nan; a whole number"),
        (pieces, "unknown_token_id", -1, "unknown_token_id is -1; a whole number"),
        (pieces, "bos_token_id", 266, "bos_token_id is 266; there are 266 tokens, numbered from 0"),
        (pieces, "padding_token_id", True, "padding_token_id is True; a whole number"),
        (pieces, "add_bos_token", 1, "add_bos_token is 1; true or false is wanted"),
        (pieces, "add_space_prefix", "no", "add_space_prefix is 'no'; true or false is wanted"),
        (byte_level, "merges", "a a", "merges is 'a a'; an array of texts is wanted"),
        (byte_level, "merges", ["a a", 3], r"merges\[1\] is 3; a text is wanted"),
        (byte_level, "merges", ["aa"], r"merges\[0\] is 'aa'; two tokens with a space between are wanted"),
        (byte_level, "merges", [""], r"merges\[0\] is ''; two tokens with a space between are wanted"),
        (byte_level, "merges", ["a "], r"merges\[0\] is 'a '; two tokens with a space between are wanted"),
        (byte_level, "merges", ["a b"], r"merges\[0\] is 'a b', but 'ab' is no token of the vocabulary"),
        (byte_level, "merges", ["zz a"], r"merges\[0\] is 'zz a', but 'zz' is no token of the vocabulary"),
    ],
)
def test_what_is_said(make: Any, key: str, value: Any, says: str) -> None:
    given = make(**{f"tokenizer.ggml.{key}": value})
    for error, use in (
        (LlamaError, lambda: Tokenizer(given).encode("a")),
        (CheckpointError, lambda: tokenizer_files(given)),
    ):
        with pytest.raises(error, match=rf"^tokenizer\.ggml\.{says}"):
            use()


@pytest.mark.parametrize("spelled", ["<0xZZ>", "<0x1>", "<0x123>", "0x41", ""])
def test_bytes_that_are_none(spelled: str) -> None:
    with pytest.raises(LlamaError, match="of the kind that stands for one byte"):
        Tokenizer(pieces((spelled, BYTE)))


def test_bos_that_is_wanted_must_be_there() -> None:
    given = byte_level(**{"tokenizer.ggml.pre": "glm4", "tokenizer.ggml.add_bos_token": True})
    with pytest.raises(LlamaError, match=r"add_bos_token is true; tokenizer\.ggml\.bos_token_id must name a token"):
        Tokenizer(given)


def test_what_llama_cpp_opens_opens() -> None:
    """An empty token, kinds that have no name, -1 for no token, merges that occur twice."""
    given = byte_level(("", NORMAL), ("odd", 99), **{"tokenizer.ggml.padding_token_id": 0xFFFFFFFF})
    given["tokenizer.ggml.merges"] = ["a a", "aa aa", "a a"]
    tokenizer = Tokenizer(given)
    assert tokenizer.tokens[-2:] == ["[EMPTY_260]", "odd"]
    assert tokenizer.decode([261]) == ""
    assert [tokenizer.tokens[i] for i in tokenizer.encode("aaaa")] == ["aaaa"]


WRONG: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        3,
        265,
        266,
        10**9,
        1 << 40,
        10**30,
        2.0,
        2.5,
        float("nan"),
        float("inf"),
        "",
        "llama",
        "2",
        b"2",
    ),
    *([], [0], [1.5], ["a"], ["a", 1], [[1]], [None], ["a"] * 266, [""] * 3, ["\udcff"], [float("nan")] * 266),
    *([3] * 266, [9] * 266, ["x y"] * 4, [" a"], ["a a", "a  a"], {}, {"a": 1}, (), (1, 2), object()),
    *(np.float32(1), np.int64(2), np.zeros(266), np.zeros((2, 2)), np.array("a"), np.array(["a", "b"])),
    *("\x00" * 300, "\ud800", ["<0xZZ>"], ["<0x41>"] * 2, ["a"] * 100_000, range(3), "gpt2", "default", "smollm"),
]
KEYS = (
    *("model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id", "unknown_token_id"),
    *("padding_token_id", "fim_pad_token_id", "eot_token_id", "add_bos_token", "add_eos_token", "add_space_prefix"),
)


def damaged(rng: random.Random) -> dict[str, Any]:
    """Metadata with one to three keys of nonsense, or single items of arrays changed."""
    given = dict(rng.choice([pieces, byte_level])(("<tool>", USER), ("<|im_end|>", CONTROL)))
    for _ in range(rng.choice([1, 1, 2, 3])):
        key = f"tokenizer.ggml.{rng.choice(KEYS)}"
        how = rng.random()
        if how < 0.15:
            given.pop(key, None)
        elif how < 0.55 and isinstance(given.get(key), list) and given[key]:
            items = list(given[key])
            for _ in range(rng.choice([1, 3])):
                items[rng.randrange(len(items))] = rng.choice(
                    [*WRONG, "a", "aa", "<0x4>", "\u2581", " ", 1, 2, 3, 4, 5, 6]
                )
            given[key] = items[: rng.choice([len(items), len(items), len(items) - 1])]
        else:
            given[key] = rng.choice(WRONG)
    if rng.random() < 0.1:
        given["general.name"] = rng.choice(["phi-3", 3, None, ["phi3"], "\udcff"])
    return given


def test_nonsense_ends_in_a_sentence() -> None:
    rng, texts = random.Random(4), list(odd_texts(40, 8, ["<tool>", "<|im_end|>"]))
    cases, said = fuzz(300), []
    for i in range(cases):
        given, text = damaged(rng), texts[i % len(texts)]
        try:
            tokenizer = Tokenizer(given)
            for special in (False, True):
                ids = tokenizer.encode(text, special=special)
                assert all(0 <= token < len(tokenizer) for token in ids)
                tokenizer.decode(ids)
        except LlamaError as error:
            said.append(str(error))
        with contextlib.suppress(CheckpointError):
            tokenizer_files(given)
    assert cases * 0.3 < len(said) < cases
    assert [text for text in said if not 20 < len(text) < 1500 or "\n" in text] == []
