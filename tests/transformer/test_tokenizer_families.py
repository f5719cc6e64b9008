"""Tokens against the libraries that made the tokenizers: `tokenizers` and `sentencepiece`, on odd texts.

The vocabularies are small, and made on the spot. QVIZ_FUZZ=2000 compares that many texts a family.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
import sentencepiece
from odd_texts import fuzz, odd_texts
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

import qviz
from qviz import transformer

CORPUS = qviz.models.heldout_text()
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# As tokenizer.json of each model has it: Qwen 2, Phi-4, Mistral Nemo, GPT-4o, DeepSeek Coder and V3
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
PHI4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
NEMO = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CODER = ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")
V3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)
# llama.cpp, whose meaning a GGUF file has, parts from these libraries in known places; texts with those are left out
LONG_S = re.compile("'\u017f")  # (?i:'s) takes the long s for an s
NOT_ASCII_CASE = re.compile(
    r"[^\W\d_a-zA-Z]|[\u0300-\u036f\u0900-\u0e7f\u2019]|'\u017f"
)  # what upper and lower case are
BLANK_BEYOND = re.compile("[\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")  # in ranges of characters


def splits(*patterns: str, digits: bool = False) -> Any:
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    steps += [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
FAMILIES = {
    "llama-bpe": (splits(LLAMA3), LONG_S),
    "smaug-bpe": (splits(LLAMA3), LONG_S),
    "dbrx": (splits(PHI4), LONG_S),
    "qwen2": (splits(QWEN2), LONG_S),
    "gpt-2": (GPT2, None),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]), None),
    "refact": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]), None),
    "starcoder": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]), None),
    "tekken": (splits(NEMO), NOT_ASCII_CASE),
    "gpt-4o": (splits(GPT4O), NOT_ASCII_CASE),
    "deepseek-coder": (splits(*CODER, digits=True), BLANK_BEYOND),
    "deepseek-v3": (splits(*V3), None),
}
# none overlaps another: the library takes the leftmost, llama.cpp the longest
ADDED = [("<|bos|>", True), ("<|eos|>", True), ("[USER]", False), ("<tool>", False), ("\t\t\t", False), ("été", False)]


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """A byte-level model learned without any cut into words, so that each cut shows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    lines = [CORPUS[i : i + 400] for i in range(0, 40000, 400)]
    lines += [
        3 * text for text in ("1234567 12 ", "Don't I'VE ", "naïve ", "北京 ", "a\n\nb \n\tc   d\r\n", "!!! (x)")
    ] * 80
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_byte_level(trained: dict[str, Any], name: str) -> None:
    cut, parts = FAMILIES[name]
    vocab, merges = trained["vocab"], [tuple(merge) for merge in trained["merges"]]
    theirs = Tokenizer(models.BPE(vocab, merges, ignore_merges=name in ("llama-bpe", "tekken")))
    theirs.pre_tokenizer = cut
    theirs.add_tokens([AddedToken(text, special=special, normalized=False) for text, special in ADDED])
    ours = transformer.Tokenizer(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": name,
            "tokenizer.ggml.tokens": sorted(vocab, key=vocab.__getitem__) + [text for text, _ in ADDED],
            "tokenizer.ggml.token_type": [1] * len(vocab) + [3 if special else 4 for _, special in ADDED],
            "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        }
    )
    compared = 0
    for text in odd_texts(fuzz(120), 5, [text for text, _ in ADDED], CORPUS):
        if parts is None or not parts.search(text):
            compared += 1
            ids = theirs.encode(text, add_special_tokens=False).ids
            assert ours.encode(text, bos=False, special=True) == ids, text
            assert ours.decode(ids, special=True) == text
    assert compared >= 20


@pytest.fixture(scope="module")
def pieces() -> Any:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(
            [CORPUS[i : i + 400] for i in range(0, 40000, 400)] + ["a  b    c\td <é> 123 \u2014"] * 9
        ),
        model_writer=out,
        vocab_size=900,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.999,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["[USER]", "<tool>", "\u2581\u2581\u2581"],
        control_symbols=["<|im_end|>"],
        minloglevel=2,
    )
    model = pb.ModelProto()
    model.ParseFromString(out.getvalue())
    return model


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("scores", ["trained", "few"])
def test_sentencepiece(pieces: Any, prefix: bool, fallback: bool, scores: str) -> None:
    """With and without bytes for what is unknown; scores that are equal for many, too."""
    model = pb.ModelProto()
    model.CopyFrom(pieces)
    model.normalizer_spec.add_dummy_prefix = prefix
    model.trainer_spec.byte_fallback = fallback
    for i, piece in reversed(list(enumerate(model.pieces))):
        if piece.type == 6 and not fallback:
            del model.pieces[i]
        elif piece.type == 1 and scores == "few":
            piece.score = float(int(piece.score) // 100)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    # llama.cpp looks for these in the text as it is, and puts the space in front of what follows, too
    spelled = [piece.piece.replace("\u2581", " ") if piece.type == 4 else piece.piece for piece in model.pieces]
    ours = transformer.Tokenizer(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": spelled,
            "tokenizer.ggml.token_type": [piece.type for piece in model.pieces],
            "tokenizer.ggml.scores": [piece.score for piece in model.pieces],
            "tokenizer.ggml.add_space_prefix": prefix,
        }
    )
    parts = [piece.piece.replace("\u2581", " ") for piece in model.pieces if piece.type == 4]
    for text in odd_texts(fuzz(120), 6, [] if prefix else parts, CORPUS):
        if "\u2581" in text or (prefix and "   " in f" {text}"):
            continue
        assert ours.encode(text, bos=False) == theirs.encode(text), text


def test_composed_characters_stay_as_they_are() -> None:
    """Qwen's tokenizer.json composes characters first; llama.cpp does not, and neither does this."""
    assert normalizers.NFC().normalize_str("e\u0301") == "é"
    ours = transformer.Tokenizer(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "qwen2",
            "tokenizer.ggml.tokens": ["e", "Ì", "ģ", "Ã", "©"],
            "tokenizer.ggml.merges": [],
        }
    )
    assert ours.encode("e\u0301é") == [0, 1, 2, 3, 4]
