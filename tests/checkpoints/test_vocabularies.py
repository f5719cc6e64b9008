"""Vocabularies out of Hugging Face folders: every file that one comes in, and nothing of it lost."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import hf_folders as folders
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import Regex, Tokenizer, pre_tokenizers

from qviz import transformer
from qviz.checkpoints.tokenizer import tokenizer_metadata
from qviz.errors import CheckpointError
from qviz.gguf.cuts import CUTS

NORMAL, CONTROL, USER, UNUSED = 1, 3, 4, 5


@pytest.fixture(scope="module")
def pieces() -> bytes:
    return folders.sentencepiece_model()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folders.write_json(tmp_path / "config.json", {"model_type": "llama"})
    return tmp_path


def in_two_files(folder: Path, **config: Any) -> Tokenizer:
    """vocab.json and merges.txt, as the library itself writes them."""
    tokenizer = folders.byte_level("gpt-2")
    tokenizer.model.save(str(folder))
    folders.write_json(folder / "tokenizer_config.json", config)
    return tokenizer


def read(folder: Path, n_vocab: int, pre: str | None = None) -> dict[str, Any]:
    found = tokenizer_metadata(folder, n_vocab, pre)
    return {key.removeprefix("tokenizer.").removeprefix("ggml."): value for key, value in found.items()}


def rows(found: dict[str, Any], start: int, stop: int | None = None) -> list[tuple[str, int]]:
    return list(zip(found["tokens"], map(int, found["token_type"]), strict=True))[start:stop]


# -- SentencePiece's model and what stands beside it


def test_added_tokens_of_2023(folder: Path, pieces: bytes) -> None:
    """added_tokens.json alone, and eos points into it."""
    (folder / "tokenizer.model").write_bytes(pieces)
    folders.write_json(folder / "added_tokens.json", {"<|im_end|>": 420, "[END]": 421, "\u2581\u2581x": 422})
    folders.write_json(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>", "bos_token": "<s>"})
    folders.write_json(folder / "special_tokens_map.json", {"additional_special_tokens": ["[END]"]})
    found = read(folder, 424)
    assert rows(found, 420) == [("<|im_end|>", CONTROL), ("[END]", CONTROL), ("  x", USER), ("[PAD423]", UNUSED)]
    assert list(found["scores"][420:]) == [-1000.0] * 3 + [-10000.0]
    assert (found["eos_token_id"], found["bos_token_id"]) == (420, 1)
    # newer folders say the same in another place, too; of both, the newer is believed about what is special
    decoder = {"420": {"content": "<|im_end|>", "special": True}, "421": {"content": "[END]", "special": False}}
    folders.write_json(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>", "added_tokens_decoder": decoder})
    assert rows(read(folder, 424), 421, 423) == [("[END]", USER), ("  x", USER)]
    decoder["421"]["content"] = "[OTHER]"
    folders.write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": decoder})
    with pytest.raises(CheckpointError, match=r"token 421 is '\[END\]' here: found .*\[OTHER\].*tokenizer_config"):
        read(folder, 424)


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ({"<pad>": 424}, "token '<pad>' has no row in the embedding: found 424, expected vocab_size .* is 424"),
        ({"<pad>": "420"}, "the number of '<pad>' makes no sense: found '420'"),
        ({"<pad>": -1}, "the number of '<pad>' makes no sense: found -1"),
        ({"<pad>": None}, "the number of '<pad>' makes no sense"),
        ({"</s>": 420}, "tokens 2 and 420 are spelled alike: found '</s>'"),
        ({"": 420}, "an added token has no id or no content"),
    ],
)
def test_added_tokens_that_make_no_sense(folder: Path, pieces: bytes, added: dict[str, Any], says: str) -> None:
    (folder / "tokenizer.model").write_bytes(pieces)
    folders.write_json(folder / "added_tokens.json", added)
    with pytest.raises(CheckpointError, match=says):
        read(folder, 424)


def test_what_a_sentencepiece_model_says_of_itself(folder: Path, pieces: bytes) -> None:
    path, model = folder / "tokenizer.model", pb.ModelProto()

    def said(**changes: Any) -> dict[str, Any]:
        model.ParseFromString(pieces)
        for name, value in changes.items():
            part = model.trainer_spec if name == "model_type" else model.normalizer_spec
            setattr(part, name, value)
        path.write_bytes(model.SerializeToString())
        return read(folder, 420)

    assert said()["add_space_prefix"] is True
    assert said(add_dummy_prefix=False)["add_space_prefix"] is False  # as Gemma has it
    with pytest.raises(CheckpointError, match="a unigram model cannot be converted here: found 'unigram'"):
        said(model_type=1)
    with pytest.raises(
        CheckpointError, match=r"changes a text before it cuts it.*a table of characters.*--pre default"
    ):
        said(precompiled_charsmap=b"xxxx")
    with pytest.raises(CheckpointError, match="runs of spaces that become one"):
        said(remove_extra_whitespaces=True)
    assert read(folder, 420, pre="default")["pre"] == "default"  # on the word of whoever asks
    with pytest.raises(CheckpointError, match=r"SentencePiece cuts no text into words.*found '--pre qwen2'"):
        read(folder, 420, pre="qwen2")


def test_user_defined_pieces_are_looked_for_as_they_stand_in_a_text(folder: Path) -> None:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(folders.TEXT),
        model_writer=out,
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["\u2581\u2581", "<b>"],
        add_dummy_prefix=False,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    found = tokenizer_metadata(folder, 400)
    assert found["tokenizer.ggml.tokens"][3:5] == ["  ", "<b>"]
    ours = transformer.Tokenizer(found)
    for text in ("a  b <b>c", "    x", *folders.TEXT[:5]):
        assert ours.encode(text, bos=False) == theirs.encode(text)


# -- vocab.json and merges.txt


@pytest.mark.parametrize(
    ("config", "kind", "pre"),
    [
        ({"tokenizer_class": "GPT2Tokenizer"}, "llama", "gpt-2"),
        ({"tokenizer_class": "GPT2TokenizerFast"}, "llama", "gpt-2"),
        ({"tokenizer_class": "Qwen2Tokenizer"}, "llama", "qwen2"),
        ({}, "gpt2", "gpt-2"),
        ({}, "qwen2", "qwen2"),
    ],
)
def test_two_files(folder: Path, config: dict[str, Any], kind: str, pre: str) -> None:
    tokenizer = in_two_files(folder, eos_token="<|end|>", **config)
    folders.write_json(folder / "config.json", {"model_type": kind})
    folders.write_json(folder / "added_tokens.json", {"<tool>": tokenizer.token_to_id("<tool>")})
    n = tokenizer.get_vocab_size()
    found = read(folder, n)
    assert (found["model"], found["pre"], found["eos_token_id"]) == ("gpt2", pre, 1)
    assert list(found["tokens"]) == [tokenizer.id_to_token(i) for i in range(n)]
    assert rows(found, n - 1) == [("<tool>", USER)]
    ours = transformer.Tokenizer(tokenizer_metadata(folder, n, pre="gpt-2"))
    for text in (*folders.TEXT[:5], "a<tool> b"):
        assert ours.encode(text) == tokenizer.encode(text).ids


def test_two_files_that_do_not_say_how(folder: Path) -> None:
    in_two_files(folder)
    with pytest.raises(CheckpointError, match=r"do not say how text is cut into words.*--pre gpt-2"):
        read(folder, 420)
    assert read(folder, 420, pre="gpt-2")["pre"] == "gpt-2"
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"merges\.txt: vocab\.json needs it beside itself"):
        read(folder, 420, pre="gpt-2")


@pytest.mark.parametrize("line", ["ab", "a b c", "a "])
def test_merges_that_are_no_pairs(folder: Path, line: str) -> None:
    in_two_files(folder, tokenizer_class="GPT2Tokenizer")
    path = folder / "merges.txt"
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(CheckpointError, match="is not a pair of tokens"):
        read(folder, 420)


# -- tokenizer.json


@pytest.mark.parametrize("cut", dict.fromkeys(CUTS.values()), ids=lambda cut: cut.names[0])
def test_every_rule_is_known_again(folder: Path, cut: Any) -> None:
    """Written into a tokenizer.json, a rule is recognized by its steps; one with another name means the same."""
    tokenizer = folders.byte_level("gpt-2")
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cut.patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    data = json.loads(tokenizer.to_str())
    data["model"]["ignore_merges"] = cut.whole_words
    folders.write_json(folder / "tokenizer.json", data)
    found = CUTS[read(folder, tokenizer.get_vocab_size())["pre"]]
    assert (found.patterns, found.whole_words) == (cut.patterns, cut.whole_words)


# -- tokens with a part to play


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"eos_token_id": 500}, "eos_token_id is no token's number: found 500, expected 0 to 400, or null"),
        ({"bos_token_id": "1"}, "bos_token_id is no token's number: found '1'"),
        ({"eos_token_id": [1, 401]}, "eos_token_id is no token's number: found 401"),
        ({"pad_token_id": 1.0}, r"pad_token_id is no token's number: found 1\.0"),
        ({"eos_token_id": True}, "eos_token_id is no token's number: found True"),
        ({"eos_token_id": -7}, "eos_token_id is no token's number: found -7"),
    ],
)
def test_numbers_beyond_the_vocabulary(folder: Path, config: dict[str, Any], says: str) -> None:
    folders.byte_level("gpt-2").save(str(folder / "tokenizer.json"))
    for name in ("config.json", "generation_config.json"):
        folders.write_json(folder / "config.json", {})
        folders.write_json(folder / name, config)
        with pytest.raises(CheckpointError, match=rf"{name}: {says}"):
            read(folder, 401)


def test_names_that_no_token_has(folder: Path) -> None:
    folders.byte_level("gpt-2").save(str(folder / "tokenizer.json"))
    folders.write_json(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>", "pad_token": "[none]"})
    with pytest.raises(CheckpointError, match=r"eos_token is not in the vocabulary: found '<\|im_end\|>'"):
        read(folder, 401)
    folders.write_json(folder / "config.json", {"eos_token_id": [2, 1], "pad_token_id": -1})
    found = read(folder, 401)
    assert found["eos_token_id"] == 2
    assert "padding_token_id" not in found


def test_chat_templates_in_files(folder: Path) -> None:
    folders.byte_level("gpt-2").save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text("plain", "utf-8")
    assert read(folder, 401)["chat_template"] == "plain"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool use.jinja").write_text("tools", "utf-8")
    found = read(folder, 401)
    assert (found["chat_template"], found["chat_template.tool_use"]) == ("plain", "tools")
    assert found["chat_templates"] == ["tool_use"]
    folders.write_json(folder / "tokenizer_config.json", {"chat_template": 3})
    with pytest.raises(CheckpointError, match="chat_template must be a text or a list: found 3"):
        read(folder, 401)


def test_a_piece_of_two_hundred_thousand_bytes(folder: Path, pieces: bytes) -> None:
    def length(n: int) -> bytes:
        return bytes([n & 127 | 128]) + length(n >> 7) if n > 127 else bytes([n])

    text = b"a" * 200_000
    body = b"\x0a" + length(len(text)) + text + b"\x15" + struct.pack("<f", -1.0)
    (folder / "tokenizer.model").write_bytes(pieces + b"\x0a" + length(len(body)) + body)
    assert transformer.Tokenizer(tokenizer_metadata(folder, 421)).encode("b", bos=False)
