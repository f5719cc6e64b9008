"""Tokens against SentencePiece, the library that trained the vocabulary, and a byte-level vocabulary by hand."""

import random

import numpy as np
import pytest

import qviz
from qviz.errors import LlamaError
from qviz.transformer import Tokenizer

ODD = [
    "",
    " ",
    "a",
    "  two  spaces ",
    "line\nbreak\r\n\ttab",
    "naïve café – “quotes”",
    "🐳 whale",
    "日本語",
    "1234567",
    "\u2581",
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(qviz.load("tiny").metadata)


@pytest.fixture(scope="module")
def sentencepiece_twin(tokenizer, tmp_path_factory):
    """SentencePiece itself, given the pieces and scores that the GGUF file holds."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb

    model = pb.ModelProto()
    meta = qviz.load("tiny").metadata
    for token, score, kind in zip(
        meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.scores"], meta["tokenizer.ggml.token_type"], strict=True
    ):
        model.pieces.add(piece=token, score=float(score), type=int(kind))
    model.trainer_spec.model_type, model.trainer_spec.byte_fallback = 2, True
    model.normalizer_spec.name, model.normalizer_spec.remove_extra_whitespaces = "identity", False
    path = tmp_path_factory.mktemp("spm") / "tiny.model"
    path.write_bytes(model.SerializeToString())
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def test_held_out_text_as_sentencepiece(tokenizer, sentencepiece_twin):
    text = qviz.models.heldout_text()
    rng = random.Random(1)
    for _ in range(200):
        at = rng.randrange(len(text) - 500)
        part = text[at : at + rng.randrange(1, 500)]
        assert tokenizer.encode(part, bos=False) == sentencepiece_twin.encode(part), part
    assert tokenizer.encode(text, bos=False) == sentencepiece_twin.encode(text)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(tokenizer, sentencepiece_twin, text):
    assert tokenizer.encode(text, bos=False) == sentencepiece_twin.encode(text) or not text
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("\u2581", " ")


def test_tokens_are_cut_at_once_but_characters_are_not(tokenizer):
    whale = tokenizer.encode("🐳", bos=False)
    assert len(whale) > 4  # bytes
    assert list(tokenizer.stream(whale)) == ["🐳"]
    assert "".join(tokenizer.stream(whale[:-1])) == "\ufffd"


def test_control_tokens_are_read_only_when_asked_for(tokenizer):
    assert tokenizer.encode("</s>", bos=False, special=True) == [tokenizer.eos]
    assert tokenizer.eos not in tokenizer.encode("</s>", bos=False)


def byte_level(**more):
    letters = {"Ġ": 0, "h": 1, "i": 2, "hi": 3, "Ġhi": 4, "<|end|>": 5, "1": 6, "2": 7, "Ċ": 8}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": list(letters),
        "tokenizer.ggml.token_type": np.array([1, 1, 1, 1, 1, 3, 1, 1, 1]),
        "tokenizer.ggml.merges": ["h i", "Ġ hi"],
        "tokenizer.ggml.eos_token_id": 5,
        **more,
    }


def test_byte_level_by_hand():
    tokenizer = Tokenizer(byte_level())
    assert tokenizer.encode("hi hi12\n") == [3, 4, 6, 7, 8]
    assert tokenizer.encode("hi<|end|> hi", special=True) == [3, 5, 4]
    assert tokenizer.decode([3, 4, 8]) == "hi hi\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokenizer.ggml.model": "wordpiece"}, "'wordpiece'"),
        ({"tokenizer.ggml.pre": "unheard-of"}, "unheard-of"),
        ({"tokenizer.ggml.merges": None}, "merges"),
        ({"tokenizer.ggml.tokens": None}, "tokens"),
        ({"tokenizer.ggml.token_type": [1]}, "1 token types for 9 tokens"),
        ({"tokenizer.ggml.eos_token_id": 99}, "99"),
    ],
)
def test_what_is_refused(change, says):
    with pytest.raises(LlamaError, match=says):
        Tokenizer(byte_level(**change)).encode("hi")
