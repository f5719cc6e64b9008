"""Hugging Face folders -> GGUF, looked at with gguf-py; tokenizers and models against those they were made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bounds
import hf_folders as folders
import numpy as np
import pytest
import sentencepiece
from gguf import GGUFReader, dequantize, size_label
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from qviz import checkpoints, gguf
from qviz.errors import CheckpointError, GGUFError, QvizError


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return folders.byte_level("smollm")


@pytest.fixture(scope="module")
def pieces() -> bytes:
    return folders.sentencepiece_model()


def fields(path: Path) -> dict[str, Any]:
    """A file's metadata, as another reader sees it."""
    return {key: f.contents() for key, f in GGUFReader(path).fields.items() if not key.startswith("GGUF.")}


def weights(path: Path) -> dict[str, np.ndarray]:
    """A file's tensors, as another reader and decoder sees them."""
    return {t.name: dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in GGUFReader(path).tensors}


def types(path: Path) -> dict[str, str]:
    return {t.name: t.tensor_type.name for t in GGUFReader(path).tensors}


# -- weights

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "model.layers.0.input_layernorm.weight": "blk.0.attn_norm.weight",
    "model.layers.1.post_attention_layernorm.weight": "blk.1.ffn_norm.weight",
    "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
    "model.layers.1.self_attn.o_proj.weight": "blk.1.attn_output.weight",
    "model.layers.0.mlp.gate_proj.weight": "blk.0.ffn_gate.weight",
    "model.layers.1.mlp.up_proj.weight": "blk.1.ffn_up.weight",
    "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("type_", ["auto", "f32", "f16", "bf16"])
def test_every_type(tmp_path: Path, tokenizer: Tokenizer, dtype: str, type_: str) -> None:
    _, arrays = folders.folder(tmp_path / "model", tokenizer, dtype=dtype)
    out = checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf", type=type_)
    target = type_.upper() if type_ != "auto" else {"BF16": "BF16"}.get(dtype, "F16")
    found, stored = weights(out), types(out)
    assert len(found) == len(arrays)
    for old, new in NAMES.items():
        x, expected = arrays[old], "F32" if arrays[old].ndim == 1 else target
        assert stored[new] == expected
        if expected == "F16":
            x = x.astype(np.float16).astype(np.float32)
        if expected == "BF16" and dtype != "BF16":
            assert np.abs(found[new] - x).max() <= np.abs(x).max() * 2**-8
        else:
            np.testing.assert_array_equal(found[new], x)
    assert fields(out)["general.file_type"] == {"F32": 0, "F16": 1, "BF16": 32}[target]


def test_a_type_that_a_file_has_already_is_copied(tmp_path: Path, tokenizer: Tokenizer) -> None:
    _, arrays = folders.folder(tmp_path / "model", tokenizer, dtype="BF16")
    file = gguf.read(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    assert file["output.weight"].tobytes() == folders.bfloat16(arrays["lm_head.weight"]).tobytes()


@pytest.mark.parametrize(("heads", "kv"), [(4, 4), (4, 2), (8, 1)])
def test_rotation_is_the_same_on_both_sides(tmp_path: Path, tokenizer: Tokenizer, heads: int, kv: int) -> None:
    """Hugging Face turns (i, i + half), ggml (2i, 2i + 1): q·k must come out the same, position by position."""
    changes = {"num_attention_heads": heads, "num_key_value_heads": kv}
    values, arrays = folders.folder(tmp_path / "model", tokenizer, **changes)
    found = weights(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf", type="f32"))
    size = values["hidden_size"] // heads
    x = np.random.default_rng(1).normal(size=(5, values["hidden_size"]))
    angle = np.arange(5)[:, None] * 10000.0 ** -(np.arange(0, size, 2) / size)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def halves(v: np.ndarray) -> np.ndarray:
        a, b = v[..., : size // 2], v[..., size // 2 :]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def neighbours(v: np.ndarray) -> np.ndarray:
        a, b = v[..., 0::2], v[..., 1::2]
        return np.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(v.shape)

    def scores(wq: np.ndarray, wk: np.ndarray, rotate: Any) -> np.ndarray:
        q = rotate((x @ wq.T).reshape(5, heads, size))
        k = np.repeat(rotate((x @ wk.T).reshape(5, kv, size)), heads // kv, axis=1)
        return np.einsum("ihd,jhd->hij", q, k)

    ours = scores(found["blk.0.attn_q.weight"], found["blk.0.attn_k.weight"], neighbours)
    attention = "model.layers.0.self_attn"
    theirs = scores(arrays[f"{attention}.q_proj.weight"], arrays[f"{attention}.k_proj.weight"], halves)
    # float64 sums of the same terms in another order
    bound = 4 * (x.shape[-1] + size) * bounds.DOUBLE * np.abs(theirs).max() * size
    bounds.assert_within(ours, theirs, bound)


def test_biases_change_places_too(tmp_path: Path, tokenizer: Tokenizer) -> None:
    values, arrays = folders.folder(tmp_path / "model", tokenizer, attention_bias=True)
    found = weights(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    size, old = values["hidden_size"] // 4, arrays["model.layers.1.self_attn.k_proj.bias"]
    for head in range(2):
        for i in range(size // 2):
            assert found["blk.1.attn_k.bias"][head * size + 2 * i] == old[head * size + i]
            assert found["blk.1.attn_k.bias"][head * size + 2 * i + 1] == old[head * size + i + size // 2]
    np.testing.assert_array_equal(found["blk.0.attn_v.bias"], arrays["model.layers.0.self_attn.v_proj.bias"])


def test_tied_embeddings(tmp_path: Path, tokenizer: Tokenizer) -> None:
    values, arrays = folders.folder(tmp_path / "model", tokenizer, tie_word_embeddings=True)
    assert "output.weight" not in weights(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    # some files hold the output all the same
    head = {"lm_head.weight": arrays["model.embed_tokens.weight"]}
    folders.write_safetensors(tmp_path / "model" / "model.safetensors", arrays | head)
    assert "output.weight" not in weights(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    assert values["tie_word_embeddings"]


def test_shards_and_leftovers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = tmp_path / "model"
    _, arrays = folders.folder(model, tokenizer)
    whole = checkpoints.convert(model, tmp_path / "whole.gguf")
    (model / "model.safetensors").unlink()
    names = [*arrays, "model.layers.0.self_attn.rotary_emb.inv_freq"]
    arrays = {**arrays, names[-1]: np.ones(4, np.float32)}
    for part in (0, 1):
        piece = {name: arrays[name] for name in names[part::2]}
        folders.write_safetensors(model / f"model-{part}.safetensors", piece)
    places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    folders.write_json(model / "model.safetensors.index.json", {"weight_map": places})
    assert checkpoints.convert(model, tmp_path / "shards.gguf").read_bytes() == whole.read_bytes()


def test_progress(tmp_path: Path, tokenizer: Tokenizer) -> None:
    _, arrays = folders.folder(tmp_path / "model", tokenizer)
    seen: list[tuple[str, int, int | None]] = []
    checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf", progress=lambda *now: seen.append(now))
    total = sum(x.nbytes for x in arrays.values())
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert seen[-1] == ("convert to F16", total, total)


# -- metadata


def test_metadata(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = tmp_path / "My-Model"
    _, arrays = folders.folder(model, tokenizer, head_dim=16, rope_theta=500000.0, padding=3)
    folders.write_json(model / "generation_config.json", {"temperature": 0.6, "top_p": 0.9, "top_k": 50})
    found = fields(checkpoints.convert(model, tmp_path / "out.gguf"))
    assert {k: v for k, v in found.items() if k.startswith(("llama.", "general."))} == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "My-Model",
        "general.size_label": size_label(sum(x.size for x in arrays.values()), 0, 0, 0),
        "general.sampling.temp": pytest.approx(0.6),
        "general.sampling.top_p": pytest.approx(0.9),
        "general.sampling.top_k": 50,
        "general.file_type": 1,
        "general.quantization_version": 2,
        "llama.block_count": 2,
        "llama.context_length": 512,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 48,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-5),
        "llama.rope.freq_base": 500000.0,
        "llama.rope.dimension_count": 16,
        "llama.vocab_size": tokenizer.get_vocab_size() + 3,
    }
    assert fields(checkpoints.convert(model, tmp_path / "out.gguf", name="x"))["general.name"] == "x"


def test_settings_that_make_no_sense(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folders.folder(tmp_path / "model", tokenizer)
    folders.write_json(tmp_path / "model" / "generation_config.json", {"top_k": 0.5})
    with pytest.raises(CheckpointError, match=r"generation_config\.json: top_k is .*: found 0\.5, expected i32"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")


def test_linear_and_yarn_scaling(tmp_path: Path, tokenizer: Tokenizer) -> None:
    def scaling(**changes: Any) -> dict[str, Any]:
        folders.folder(tmp_path / "model", tokenizer, **changes)
        found = fields(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
        return {key.removeprefix("llama.rope."): v for key, v in found.items() if key.startswith("llama.rope.")}

    plain = {"freq_base": 10000.0, "dimension_count": 8}
    assert scaling() == plain
    assert scaling(rope_scaling=None) == plain
    assert scaling(rope_scaling={"type": "dynamic", "factor": 2.0}) == plain
    assert scaling(rope_theta=..., rope_parameters={"rope_type": "default", "rope_theta": 5e4}) == {
        "freq_base": 50000.0,
        "dimension_count": 8,
    }
    linear = scaling(rope_scaling={"type": "linear", "factor": 4.0})
    assert linear == {**plain, "scaling.type": "linear", "scaling.factor": 4.0}
    yarn = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "beta_fast": 16}
    with pytest.warns(UserWarning, match=r"written all the same, llama.rope.scaling.yarn_beta_fast is 16.0: another"):
        stretched = scaling(rope_scaling=yarn)
    assert stretched == {
        **plain,
        "scaling.type": "yarn",
        "scaling.factor": 8.0,
        "scaling.original_context_length": 64,
        "scaling.yarn_beta_fast": 16.0,
    }


def test_llama_3_factors(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """By hand: head size 8, base 10000: wavelengths 2π · (1, 10, 100, 1000) = 6.28, 62.8, 628, 6283.

    With an original context of 512, low 1 and high 4, waves under 128 stay, those over 512 are divided by 8; so the
    factors are 1, 1, 8, 8. At a context of 1024 (bounds 256, 1024) 628 lies between: smooth = (1024 / 628.319 - 1) / 3
    = 0.209916, factor = 1 / (0.790084 / 8 + 0.209916) = 3.23964.
    """
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    for context, expected in {512: [1, 1, 8, 8], 1024: [1, 1, 3.23964, 8]}.items():
        scaling = rope | {"original_max_position_embeddings": context}
        folders.folder(tmp_path / "model", tokenizer, rope_scaling=scaling)
        out = checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")
        found = weights(out)["rope_freqs.weight"].tolist()
        assert found == pytest.approx(expected, rel=1e-5)  # stated with six digits
        assert types(out)["rope_freqs.weight"] == "F32"


# -- byte-level tokenizers


@pytest.mark.parametrize("words", folders.WORDS)
def test_byte_level_tokenizers(tmp_path: Path, words: str) -> None:
    tokenizer = folders.byte_level(words)
    folders.folder(tmp_path / "model", tokenizer, padding=2)
    found = fields(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    n = tokenizer.get_vocab_size()
    assert (found["tokenizer.ggml.model"], found["tokenizer.ggml.pre"]) == ("gpt2", words)
    tokens = found["tokenizer.ggml.tokens"]
    assert tokens[:n] == [tokenizer.id_to_token(i) for i in range(n)]
    assert tokens[n:] == [f"[PAD{n}]", f"[PAD{n + 1}]"]
    kinds = found["tokenizer.ggml.token_type"]
    assert (kinds[0], kinds[3], kinds[tokenizer.token_to_id("<tool>")], kinds[n]) == (3, 1, 4, 5)
    assert found["tokenizer.ggml.add_bos_token"] == (words == "llama-bpe")
    merges = [tuple(merge.split(" ")) for merge in found["tokenizer.ggml.merges"]]
    # the tokenizer that these make is the one that was converted
    again = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens[:n])}, merges, ignore_merges=words == "llama-bpe"))
    again.pre_tokenizer = folders.WORDS[words]
    for text in folders.TEXT:
        assert again.encode(text).ids == tokenizer.encode(text, add_special_tokens=False).ids


def test_merges_of_older_files(tmp_path: Path, tokenizer: Tokenizer) -> None:
    import json

    folders.folder(tmp_path / "model", tokenizer)
    now = fields(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))["tokenizer.ggml.merges"]
    path = tmp_path / "model" / "tokenizer.json"
    value = json.loads(path.read_text("utf-8"))
    assert all(len(pair) == 2 for pair in value["model"]["merges"])
    value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    folders.write_json(path, value)
    assert fields(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))["tokenizer.ggml.merges"] == now


def test_llama_3_words_without_whole_words(tmp_path: Path) -> None:
    tokenizer = folders.byte_level("smollm")
    tokenizer.pre_tokenizer = folders.WORDS["llama-bpe"]
    folders.folder(tmp_path / "model", tokenizer)
    found = fields(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    assert found["tokenizer.ggml.pre"] == "smaug-bpe"  # llama.cpp's Llama 3 words with merges as they are


def test_words_that_are_not_known(tmp_path: Path) -> None:
    tokenizer = folders.byte_level("gpt-2")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    folders.folder(tmp_path / "model", tokenizer)
    with pytest.raises(CheckpointError, match=r"found .*Punctuation.*expected.*smollm.*--pre NAME"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
    out = checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf", pre="falcon")
    assert fields(out)["tokenizer.ggml.pre"] == "falcon"
    tokenizer.pre_tokenizer = folders.WORDS["gpt-2"]
    tokenizer.normalizer = normalizers.Lowercase()
    folders.folder(tmp_path / "model", tokenizer)
    with pytest.raises(CheckpointError, match="Lowercase"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")


def test_special_tokens_and_chat_template(tmp_path: Path, tokenizer: Tokenizer) -> None:
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    settings = {
        "bos_token": "<|begin|>",
        "eos_token": {"content": "<|end|>", "lstrip": False},
        "pad_token": None,
        "add_bos_token": True,
        "add_prefix_space": False,
        "chat_template": template,
    }
    model = tmp_path / "model"
    folders.folder(model, tokenizer, tokenizer_config=settings, pad_token_id=2, eos_token_id=0)
    found = fields(checkpoints.convert(model, tmp_path / "out.gguf"))
    ids = {key: found.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "padding", "unknown")}
    assert ids == {"bos": 0, "eos": 1, "padding": 2, "unknown": None}
    assert (found["tokenizer.ggml.add_bos_token"], found["tokenizer.ggml.add_eos_token"]) == (True, False)
    assert found["tokenizer.ggml.add_space_prefix"] is False
    assert found["tokenizer.chat_template"] == template

    del settings["chat_template"]
    folders.folder(model, tokenizer, tokenizer_config=settings, eos_token_id=[1, 2])
    (model / "chat_template.jinja").write_text(template + "!", "utf-8")
    folders.write_json(model / "generation_config.json", {"pad_token_id": 2})
    found = fields(checkpoints.convert(model, tmp_path / "out.gguf"))
    assert found["tokenizer.chat_template"] == template + "!"
    assert found["tokenizer.ggml.padding_token_id"] == 2

    settings["chat_template"] = [{"name": "default", "template": "a"}, {"name": "tool use", "template": "b"}]
    folders.folder(model, tokenizer, tokenizer_config=settings)
    found = fields(checkpoints.convert(model, tmp_path / "out.gguf"))
    assert (found["tokenizer.chat_template"], found["tokenizer.chat_template.tool_use"]) == ("a", "b")
    assert found["tokenizer.chat_templates"] == ["tool_use"]


# -- SentencePiece


def test_tokenizer_json_of_llama(tmp_path: Path, pieces: bytes) -> None:
    """Scores are told from the order of merges: they must put the merged pieces in the order of the true ones."""
    folders.folder(tmp_path / "model", folders.llama_tokenizer(pieces))
    found = fields(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    n = theirs.vocab_size()
    assert found["tokenizer.ggml.model"] == "llama"
    assert found["tokenizer.ggml.tokens"] == [theirs.id_to_piece(i) for i in range(n)]
    kinds = found["tokenizer.ggml.token_type"]
    assert kinds[:3] == [2, 3, 3]
    assert [i for i in range(n) if kinds[i] == 6] == [i for i in range(n) if theirs.is_byte(i)]
    merged = [i for i in range(n) if kinds[i] == 1 and len(theirs.id_to_piece(i)) > 1]
    scores = found["tokenizer.ggml.scores"]
    assert sorted(merged, key=lambda i: -scores[i]) == sorted(merged, key=lambda i: -theirs.get_score(i))
    assert len({scores[i] for i in merged}) == len(merged)
    assert found["tokenizer.ggml.add_bos_token"] is True
    assert found["tokenizer.ggml.add_space_prefix"] is True


def test_tokenizer_model(tmp_path: Path, pieces: bytes) -> None:
    model = tmp_path / "model"
    tokenizer = folders.llama_tokenizer(pieces)
    tokenizer.add_special_tokens(["<|im_start|>"])
    folders.folder(model, tokenizer, padding=1)
    (model / "tokenizer.model").write_bytes(pieces)
    for with_json in (True, False):
        if not with_json:
            (model / "tokenizer.json").unlink()
            added = {"420": {"content": "<|im_start|>", "special": True}, "0": {"content": "<unk>", "special": True}}
            folders.write_json(model / "tokenizer_config.json", {"added_tokens_decoder": added})
        found = fields(checkpoints.convert(model, tmp_path / "out.gguf"))
        theirs = sentencepiece.SentencePieceProcessor(model_proto=pieces)
        n = theirs.vocab_size()
        assert found["tokenizer.ggml.scores"][:n] == [theirs.get_score(i) for i in range(n)]
        assert found["tokenizer.ggml.tokens"] == [
            *(theirs.id_to_piece(i) for i in range(n)),
            "<|im_start|>",
            f"[PAD{n + 1}]",
        ]
        assert found["tokenizer.ggml.token_type"][-2:] == [3, 5]
        assert ("tokenizer.ggml.add_bos_token" in found) == with_json  # without, llama.cpp's default holds


@pytest.mark.parametrize("scheme", ["always", "never"])
def test_newer_tokenizers_mark_spaces_elsewhere(tmp_path: Path, pieces: bytes, scheme: str) -> None:
    tokenizer = folders.llama_tokenizer(pieces)
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    folders.folder(tmp_path / "model", tokenizer)
    found = fields(checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf"))
    assert found["tokenizer.ggml.add_space_prefix"] == (scheme == "always")


@pytest.mark.parametrize(
    "data", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 12, b"\x0b\x00", b"\x10\x01", b"PK\x03\x04" * 9]
)
def test_a_tokenizer_model_that_is_none(tmp_path: Path, tokenizer: Tokenizer, pieces: bytes, data: bytes) -> None:
    folders.folder(tmp_path / "model", folders.llama_tokenizer(pieces))
    (tmp_path / "model" / "tokenizer.model").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: is not a SentencePiece model"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")


# -- what is refused


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"architectures": ["MambaForCausalLM"]},
            "this architecture cannot be converted here: found 'MambaForCausalLM'",
        ),
        ({"architectures": ...}, "this architecture cannot be converted here: found 'llama'"),
        ({"architectures": 7}, "this architecture cannot be converted here"),
        ({"quantization_config": {"quant_method": "fp8"}}, "packed by fp8 are not read here.*found 'fp8'"),
        ({"hidden_act": "gelu"}, "with silu only: found 'gelu'"),
        ({"hidden_size": ...}, "it does not say hidden_size"),
        ({"hidden_size": "32"}, "hidden_size must be a positive whole number: found '32'"),
        ({"hidden_size": True}, "hidden_size must be"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be"),
        ({"num_hidden_layers": 2**31 - 1}, r"'model\.layers\.2\.input_layernorm\.weight' is missing"),
        ({"num_attention_heads": 3}, "heads do not fit together"),
        ({"num_key_value_heads": 3}, "heads do not fit together"),
        ({"rms_norm_eps": -1}, "rms_norm_eps must be a positive number"),
        ({"rope_theta": float("nan")}, "rope_theta must be a positive number"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
        ({"rope_scaling": 3}, "rope_scaling must be an object"),
        ({"rope_scaling": {"type": "longrope"}}, "rope scaling cannot be converted here: found 'longrope'"),
        ({"rope_scaling": {"type": ["linear"]}}, "rope scaling cannot be converted here"),
        ({"rope_scaling": {"type": "linear"}}, "factor must be a positive number: found 'nothing'"),
        ({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": "x"}}, "beta_fast must be a number: found 'x'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor must be a positive number"),
        ({"intermediate_size": 64}, r"'model\.layers\.0\.mlp\.gate_proj\.weight' does not fit config\.json"),
        ({"num_hidden_layers": 1}, "there are tensors that a model of the family 'llama' does not have"),
    ],
)
def test_configs(tmp_path: Path, tokenizer: Tokenizer, changes: dict[str, Any], problem: str) -> None:
    model = tmp_path / "model"
    values, _ = folders.folder(model, tokenizer)
    folders.write_json(model / "config.json", {k: v for k, v in (values | changes).items() if v is not ...})
    with pytest.raises(CheckpointError, match=problem) as caught:
        checkpoints.convert(model, tmp_path / "out.gguf")
    assert str(model) in str(caught.value)
    assert list(tmp_path.iterdir()) == [model]


def test_a_missing_output(tmp_path: Path, tokenizer: Tokenizer) -> None:
    _, arrays = folders.folder(tmp_path / "model", tokenizer)
    del arrays["lm_head.weight"]
    folders.write_safetensors(tmp_path / "model" / "model.safetensors", arrays)
    with pytest.raises(CheckpointError, match=r"'lm_head\.weight' is missing; set tie_word_embeddings"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 7e4])
def test_weights_that_the_type_cannot_hold(tmp_path: Path, tokenizer: Tokenizer, bad: float) -> None:
    _, arrays = folders.folder(tmp_path / "model", tokenizer)
    arrays["lm_head.weight"][5, 3] = bad
    folders.write_safetensors(tmp_path / "model" / "model.safetensors", arrays)
    with pytest.raises(CheckpointError, match=r"'lm_head\.weight' (holds NaN or infinity|does not fit F16.*bf16)"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    if np.isfinite(bad):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf", type="bf16")


def test_integers_are_no_weights(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from safetensors.numpy import save_file

    _, arrays = folders.folder(tmp_path / "model", tokenizer)
    arrays["lm_head.weight"] = arrays["lm_head.weight"].astype(np.int8)
    save_file(arrays, tmp_path / "model" / "model.safetensors")
    with pytest.raises(CheckpointError, match="is not of floats: found 'I8'"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")


def test_more_tokens_than_rows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folders.folder(tmp_path / "model", tokenizer, padding=-5)
    with pytest.raises(CheckpointError, match="has no row in the embedding"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")


def test_folders_that_are_none(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(CheckpointError, match="not the folder of a model"):
        checkpoints.convert(tmp_path / "nothing", tmp_path / "out.gguf")
    with pytest.raises(CheckpointError, match=r"there is no config\.json"):
        checkpoints.convert(tmp_path, tmp_path / "out.gguf")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: is not a JSON object"):
        checkpoints.convert(tmp_path, tmp_path / "out.gguf")
    folders.folder(tmp_path / "model", tokenizer)
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"there is no tokenizer: expected tokenizer\.json, "):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf")
    with pytest.raises(CheckpointError, match="no such type: found 'q8'"):
        checkpoints.convert(tmp_path / "model", tmp_path / "out.gguf", type="q8")


@pytest.mark.filterwarnings("ignore:model. some tokens")
def test_a_tokenizer_json_of_nonsense(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Every value of tokenizer.json replaced in turn by others: our error or a file, nothing else."""
    import copy
    import json

    model = tmp_path / "model"
    folders.folder(model, tokenizer, tokenizer_config={"bos_token": "<|begin|>"})
    good = json.loads((model / "tokenizer.json").read_text("utf-8"))
    good["model"]["merges"] = good["model"]["merges"][:3]

    def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        return [p for key in keys[:4] for p in [(*here, key), *paths(value[key], (*here, key))]]

    outcomes = set()
    for place in paths(good):
        for nonsense in (None, 7, -1, "x", [], [[1]], {}, {"type": 3}, True):
            broken = copy.deepcopy(good)
            inner = broken
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = nonsense
            folders.write_json(model / "tokenizer.json", broken)
            try:
                checkpoints.convert(model, tmp_path / "out.gguf")
                outcomes.add("converts")
            except QvizError:
                outcomes.add("refused")
    assert outcomes == {"converts", "refused"}


def test_the_output_must_be_writable(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folders.folder(tmp_path / "model", tokenizer)
    with pytest.raises(GGUFError, match="folder does not exist"):
        checkpoints.convert(tmp_path / "model", tmp_path / "no" / "out.gguf")
