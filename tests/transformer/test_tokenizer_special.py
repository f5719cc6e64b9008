"""Tokens that are cut out of a text whole; texts and tokens of great length; bytes that are no text."""

from __future__ import annotations

import random
from typing import Any

import pytest

from qviz.errors import LlamaError
from qviz.transformer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def pieces(*more: tuple[str, int], **changes: Any) -> dict[str, Any]:
    """SentencePiece's kind of vocabulary: bytes, a few letters, `more`."""
    tokens = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL), *((byte, BYTE) for byte in BYTES)]
    tokens += [(text, NORMAL) for text in ("\u2581", "a", "b", "aa", "aaaa", "aaaaaaaa", "\u2581\u2581")]
    return keys("llama", [*tokens, *more], **changes)


def byte_level(*more: tuple[str, int], **changes: Any) -> dict[str, Any]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = [(text, NORMAL) for text in (*letters, "aa", "aaaa", "aaaaaaaa", "ĠĠ")]
    merges = {"tokenizer.ggml.merges": ["a a", "aa aa", "aaaa aaaa", "Ġ Ġ"], "tokenizer.ggml.pre": "qwen2"}
    return keys("gpt2", [*tokens, *more], **(merges | changes))


def keys(model: str, tokens: list[tuple[str, int]], **changes: Any) -> dict[str, Any]:
    return {
        "tokenizer.ggml.model": model,
        "tokenizer.ggml.tokens": [text for text, _ in tokens],
        "tokenizer.ggml.token_type": [kind for _, kind in tokens],
        "tokenizer.ggml.scores": [-float(i) for i in range(len(tokens))],
        **changes,
    }


def named(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    return [tokenizer.tokens[i] for i in ids]


@pytest.mark.parametrize("make", [pieces, byte_level])
def test_kinds(make: Any) -> None:
    tokenizer = Tokenizer(make(("<ctl>", CONTROL), ("<usr>", USER), ("<what>", UNKNOWN), ("<non>", UNUSED)))
    text = "<ctl><usr><what><non>"
    plain = named(tokenizer, tokenizer.encode(text, bos=False))
    assert [token for token in plain if len(token) > 4 and token not in BYTES] == ["<usr>"]
    read = named(tokenizer, tokenizer.encode(text, bos=False, special=True))
    assert [token for token in read if len(token) > 4 and token not in BYTES] == ["<ctl>", "<usr>", "<what>"]
    ids = [tokenizer.tokens.index(token) for token in ("<ctl>", "<usr>", "<what>", "<non>")]
    assert [tokenizer.piece(i) for i in ids] == [b"", b"<usr>", b"", b""]
    assert [tokenizer.piece(i, special=True) for i in ids] == [b"<ctl>", b"<usr>", b"<what>", b""]


def test_each_piece_after_a_token_gets_a_space() -> None:
    tokenizer = Tokenizer(pieces(("<|im_end|>", NORMAL)))
    assert named(tokenizer, tokenizer.encode("a<|im_end|>b", special=True)) == [
        "<s>",
        *("\u2581", "a", "<|im_end|>", "\u2581", "b"),
    ]
    assert tokenizer.ends == {2, tokenizer.tokens.index("<|im_end|>")}  # known by its spelling, whatever its kind


def by_hand(text: str, tokens: list[str]) -> list[str]:
    """llama.cpp's way, word for word: for each token, the longest first, through every piece that is still text."""
    parts: list[tuple[str, bool]] = [(text, False)]
    for token in sorted(tokens, key=lambda token: -len(token)):
        found: list[tuple[str, bool]] = []
        for part, done in parts:
            if done:
                found.append((part, done))
                continue
            between = part.split(token)
            for i, piece in enumerate(between):
                found += [(token, True)] if i else []
                found += [(piece, False)] if piece else []
        parts = found
    return [part for part, _ in parts]


def test_the_longest_first() -> None:
    rng = random.Random(1)
    for _ in range(300):
        # different lengths: llama.cpp leaves open which of two that are equally long comes first
        tokens = list({n: "".join(rng.choices("xyz", k=n)) for n in rng.choices(range(1, 9), k=4)}.values())
        tokenizer = Tokenizer(byte_level(*((token, USER) for token in tokens if len(token) > 1)))
        text = "".join(rng.choices("xyz ", k=40))
        cut = [token for token in tokens if len(token) > 1]
        expected = [token for token in by_hand(text, cut) if token in cut]
        found = named(tokenizer, tokenizer.encode(text))
        assert [token for token in found if token in cut] == expected, (text, cut)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_blanks_beside_a_token() -> None:
    """llama.cpp takes them away after the tokens of a model called Phi-3."""
    more = (("<|user|>", CONTROL), ("<|endoftext|>", CONTROL))
    for name, between in (("Phi-3-mini", []), ("Llama", ["\u2581", "<0x0A>"])):
        tokenizer = Tokenizer(pieces(*more, **{"general.name": name, "tokenizer.ggml.add_space_prefix": False}))
        ids = tokenizer.encode("<|user|> \na<|endoftext|> a", special=True, bos=False)
        assert named(tokenizer, ids) == ["<|user|>", *between, "a", "<|endoftext|>", "\u2581", "a"]


@pytest.mark.parametrize("make", [pieces, byte_level])
def test_great_lengths(make: Any) -> None:
    """A token of 200 kB, 60,000 tokens that control, many of one letter: work grows with file and text."""
    many = [(f"<|c{i}|>", CONTROL) for i in range(60_000)]
    tokenizer = Tokenizer(make(("a" * 200_000, NORMAL), *many))
    ids = tokenizer.encode("<|c59999|>b<|c5|>" * 1000, bos=False, special=True)
    assert named(tokenizer, ids)[0] == "<|c59999|>"
    assert len(ids) in (3000, 4000)  # with and without the space in front
    for text, size in (("a" * 2**18, 8), ("a" * (2**18 + 1), 8), (" " * 2**18, 2)):
        ids = tokenizer.encode(text, bos=False)
        assert abs(len(ids) - len(text) / size) <= 2
        assert tokenizer.decode(ids) == text


def test_a_word_without_end() -> None:
    tokenizer = Tokenizer(byte_level())
    with pytest.raises(LlamaError, match="begins a run of over 2,097,152 that nothing cuts"):
        tokenizer.encode("b " + " " * 2_100_000)


@pytest.mark.parametrize("make", [pieces, byte_level])
def test_surrogates_and_nul(make: Any) -> None:
    tokenizer = Tokenizer(make())
    for text, back in (
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\udc33", "\U0001f433"),
        ("a\x00b", "a\x00b"),
        ("\udcff", "\ufffd"),
    ):
        assert tokenizer.decode(tokenizer.encode(text)) == back


def test_streams_of_broken_characters() -> None:
    tokenizer = Tokenizer(pieces())
    whale = [3 + byte for byte in "\U0001f433".encode()]
    assert list(tokenizer.stream([*whale[:2], *whale], continues=True)) == ["\ufffd", "\U0001f433"]
    assert "".join(tokenizer.stream([*whale[:3], 3 + 0x61, 3 + 0xFF], continues=True)) == "\ufffda\ufffd"


def test_tokens_that_are_no_text() -> None:
    """A file's tokens are bytes; those that are no UTF-8 come as lone surrogates."""
    half = "\udcf0\udc9f"
    for make in (pieces, byte_level):
        tokenizer = Tokenizer(make((half, NORMAL), (half + "!", CONTROL)))
        index = tokenizer.tokens.index(half)
        assert tokenizer.piece(index) == b"\xf0\x9f"
        assert tokenizer.decode(tokenizer.encode("a \U0001f433!", special=True)) == "a \U0001f433!"


@pytest.mark.parametrize("token", [-1, 10**6])
def test_no_such_token(token: int) -> None:
    tokenizer = Tokenizer(pieces())
    with pytest.raises(LlamaError, match=f"there is no token {token}; the vocabulary has 266"):
        tokenizer.decode([token])


def test_what_cannot_be_spelled() -> None:
    tokens = [("<s>", CONTROL), ("\u2581", NORMAL), ("a", NORMAL)]
    given = keys("llama", tokens, **{"tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.unknown_token_id": 0xFFFFFFFF})
    assert Tokenizer(given).encode("zz\U0001f433a") == [0, 1, 0, 2]  # -1: the default, here <s>, for all three at once
    with pytest.raises(LlamaError, match="encode takes a text, got b'a'"):
        Tokenizer(given).encode(b"a")  # type: ignore[arg-type]


def test_eos_where_the_model_wants_it() -> None:
    tokenizer = Tokenizer(pieces(**{"tokenizer.ggml.add_eos_token": True}))
    a = tokenizer.encode("a", bos=False)
    assert tokenizer.encode("a") == [1, *a, 2]
    assert (tokenizer.encode("a", eos=False), tokenizer.encode("a", bos=False, eos=True)) == ([1, *a], [*a, 2])


def test_what_stands_beside_a_byte_without_a_token_stays_apart() -> None:
    """llama.cpp merges first, and drops such a byte then."""
    tokens = [(text, NORMAL) for text in ("a", "b", "ab")]
    given = keys("gpt2", tokens, **{"tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.pre": "viking"})
    assert Tokenizer(given).encode("a\x1cb") == [0, 1]
    assert Tokenizer(given).encode("ab") == [2]
