"""Steps of a tokenizer.json one by one: the tokens of the library that runs them, or an error that names the step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hf_folders as folders
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, trainers
from tokenizers import normalizers as norm
from tokenizers import pre_tokenizers as pre

from qviz import transformer
from qviz.checkpoints.tokenizer import tokenizer_metadata
from qviz.errors import CheckpointError

SPACE = "\u2581"
MARKED = norm.Replace(" ", SPACE)
TEXTS = ["Hello  over the lazy dog", "a1 22 333, isn't it?", "``north'' Zürich 北京", "x_y_z"]


def trained(words: pre.PreTokenizer | None, change: norm.Normalizer | None) -> Tokenizer:
    """SentencePiece's kind: spaces are spelled, and what no token covers is spelled in bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.normalizer = words, change
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(folders.TEXT[:5], trainer)
    described = json.loads(tokenizer.to_str())
    model = described["model"]
    for byte in range(256):
        model["vocab"][f"<0x{byte:02X}>"] = len(model["vocab"])
    model["byte_fallback"] = model["fuse_unk"] = True
    return Tokenizer.from_str(json.dumps(described))


def read(folder: Path, tokenizer: Tokenizer, **changes: Any) -> tuple[Tokenizer, transformer.Tokenizer]:
    """The library's and ours, from a folder whose model has some settings changed."""
    described = json.loads(tokenizer.to_str())
    described["model"] |= changes
    folders.write_json(folder / "tokenizer.json", described)
    folders.write_json(folder / "config.json", {"model_type": "llama"})
    theirs = Tokenizer.from_str(json.dumps(described))
    return theirs, transformer.Tokenizer(tokenizer_metadata(folder, theirs.get_vocab_size()))


def split(**options: Any) -> pre.PreTokenizer:
    return pre.Metaspace(prepend_scheme="never", **options)


@pytest.mark.parametrize(
    ("words", "change", "named"),
    [
        (None, MARKED, ""),
        (None, norm.Sequence([norm.Sequence([norm.Prepend(SPACE)]), MARKED]), ""),
        (split(split=False), None, ""),
        (split(split=True), None, ""),
        (pre.Sequence([pre.Sequence([split(split=False)])]), None, ""),
        (pre.Split(" ", "merged_with_previous"), MARKED, ""),  # Gemma
        (split(replacement="_"), None, "'_' for spaces"),
        (pre.Sequence([pre.Digits(individual_digits=True), split()]), None, "Digits"),
        (pre.Sequence([split(), pre.Punctuation()]), None, "Punctuation"),
        (pre.Split(Regex("[a-z]"), "isolated"), MARKED, r"Split \{'Regex': '\[a-z\]'\}"),
        (None, norm.Sequence([norm.Replace("``", '"'), MARKED]), "'\"' for '``'"),
        (None, norm.Sequence([norm.Replace(Regex(" +"), " "), MARKED]), r"' ' for ' \+'"),
        (None, norm.Sequence([norm.Prepend("x"), MARKED]), "'x' in front"),
        (None, norm.Sequence([norm.NFKC(), MARKED]), "NFKC"),
        (None, None, "spaces that stay spaces"),
    ],
)
def test_steps_before_the_merges(tmp_path: Path, words: Any, change: Any, named: str) -> None:
    tokenizer = trained(words, change)
    if named:
        with pytest.raises(CheckpointError, match=f"changes a text before it cuts it.*{named.replace(chr(39), '.+')}"):
            read(tmp_path, tokenizer)
        return
    theirs, ours = read(tmp_path, tokenizer)
    for text in TEXTS:
        assert ours.encode(text, bos=False) == theirs.encode(text, add_special_tokens=False).ids


def test_words_apart_matter_where_tokens_hold_a_space(tmp_path: Path) -> None:
    tokenizer = trained(None, MARKED)
    assert any(SPACE in token[1:] for token in tokenizer.get_vocab())
    tokenizer.normalizer, tokenizer.pre_tokenizer = norm.Sequence([]), split(split=True)
    with pytest.raises(CheckpointError, match=f"words apart, though '.*.{SPACE}.*' is a token"):
        read(tmp_path, tokenizer)


@pytest.mark.parametrize(
    ("key", "value"), [("dropout", 0.1), ("end_of_word_suffix", "</w>"), ("continuing_subword_prefix", "##")]
)
def test_merges_with_conditions(tmp_path: Path, key: str, value: Any) -> None:
    tokenizer = folders.byte_level("gpt-2")
    described = json.loads(tokenizer.to_str())
    described["model"][key] = value
    folders.write_json(tmp_path / "tokenizer.json", described)
    with pytest.raises(CheckpointError, match=f"this model has some: .*{key} '?{value}"):
        tokenizer_metadata(tmp_path, 401)
    described["model"][key] = type(value)()
    folders.write_json(tmp_path / "tokenizer.json", described)
    assert tokenizer_metadata(tmp_path, 401)["tokenizer.ggml.model"] == "gpt2"


def test_byte_level_words_need_no_other_bytes(tmp_path: Path) -> None:
    theirs, ours = read(tmp_path, folders.byte_level("gpt-2"), byte_fallback=True)
    for text in TEXTS:
        assert ours.encode(text, bos=False) == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(("flag", "said"), [("lstrip", "before"), ("rstrip", "behind"), ("single_word", "whole words")])
def test_what_added_tokens_do_around_them_is_said(tmp_path: Path, flag: str, said: str) -> None:
    tokenizer = folders.byte_level("gpt-2")
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False, **{flag: True})])
    with pytest.warns(UserWarning, match=rf"some tokens .*{said}.*\({flag}\), which no GGUF file can say: '<tool>'"):
        theirs, ours = read(tmp_path, tokenizer)
    text = "a <tool>b"
    assert flag == "rstrip" or ours.encode(text, bos=False) != theirs.encode(text, add_special_tokens=False).ids


def test_spaces_that_llama_cpp_puts_more_often_are_said(tmp_path: Path) -> None:
    """The library puts none in front of one that is there; SentencePiece and llama.cpp do."""
    tokenizer = trained(pre.Metaspace(prepend_scheme="first", split=False), None)
    with pytest.warns(UserWarning, match=r"also where this tokenizer \(Metaspace\) does not"):
        theirs, ours = read(tmp_path, tokenizer)
    assert ours.encode("a b", bos=False) == theirs.encode("a b", add_special_tokens=False).ids
    assert ours.encode(" a b", bos=False) != theirs.encode(" a b", add_special_tokens=False).ids
