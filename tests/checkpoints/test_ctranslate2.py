"""CTranslate2's model.bin: read strictly, and a Whisper model of it brought to whisper.cpp."""

import random
import struct

import ctranslate2_files as ct2
import numpy as np
import pytest
import whisper_models as made

from qviz.checkpoints import ctranslate2, whisper
from qviz.errors import CheckpointError, ModelNotFoundError, QvizError
from qviz.gguf import legacy

VOCABULARY = ["!", "Ġa", "é", "ł", whisper.END, *(f"<|{i}|>" for i in range(46))]
TOKENS = (b"!", b" a", b"\xe9", b"\xa0", b"<|endoftext|>")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.bin").write_bytes(ct2.model_bin(ct2.whisper()))
    (tmp_path / "vocabulary.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8", newline="\n")
    return tmp_path


def test_every_variable_is_what_was_written(folder):
    written = ct2.whisper()
    with ctranslate2.read(folder / "model.bin") as file:
        assert (file.spec, file.revision, dict(file.aliases)) == ("WhisperSpec", 3, ct2.PROJECTION)
        assert list(file) == list(written)
        for name, x in written.items():
            assert file.tensor_info[name].shape == x.shape
            assert file[name].tobytes() == x.tobytes()
        with pytest.raises(KeyError, match=r"close: 'decoder/alibi'"):
            file["decoder/alibo"]


def test_a_whisper_model_becomes_whisper_cpps(folder):
    out = legacy.read(whisper.convert(folder, folder / "out.bin", made.MEL))
    assert out.model == "whisper"
    assert out.vocabulary.tokens == TOKENS
    np.testing.assert_array_equal(out.mel_filters, made.MEL)
    numbers = {"n_audio_state": 64, "n_audio_head": 2, "n_text_layer": 1, "n_text_ctx": 8, "n_mels": 4, "ftype": 1}
    assert out.header.items() >= numbers.items()
    expected = made.tensors(64, half=True)
    assert set(out) == set(expected)
    for name, matrix in expected.items():
        # vectors went through float16 on their way
        raw = matrix.raw if matrix.type_id == 1 else matrix.values.astype("f2").astype("f4").tobytes()
        assert (out[name].shape, out[name].tobytes()) == (matrix.shape, raw), name


def changed(name, value):
    return lambda variables: variables.update({name: value})


SPOILED = {
    "a variable is missing": (
        lambda v: v.pop("decoder/layer_norm/beta"),
        r"'decoder/layer_norm/beta' .*found 'nothing'",
    ),
    "one too many": (
        changed("decoder/extra", np.zeros(3, "<f2")),
        "no place in whisper.cpp's file for 'decoder/extra'",
    ),
    "wrong shape": (
        changed("decoder/layer_norm/beta", np.zeros(63, "<f2")),
        r"found 'F16 \(63,\)', expected F16 or F32 \(64,\)",
    ),
    "int8": (
        changed("encoder/layer_0/ffn/linear_0/weight", np.zeros((256, 64), "|i1")),
        r"linear_0/weight' .*'I8 \(256, 64\)'",
    ),
    "keys with a bias": (
        changed("decoder/layer_0/attention/linear_1/bias", np.ones(128, "<f2")),
        "adds something to the keys",
    ),
    "another activation": (
        changed("decoder/activation", np.array(1, "|i1")),
        "no 'decoder/activation' of this kind: found 1",
    ),
    "heads": (
        changed("decoder/num_heads", np.array(3, "<i2")),
        "heads do not divide the width: found '3 heads, 64 wide'",
    ),
    "no heads": (changed("decoder/num_heads", np.array(0, "<i2")), "heads do not divide the width"),
    "heads that are a vector": (changed("decoder/num_heads", np.zeros(2, "<i2")), "must be one whole number"),
    "flat embedding": (
        changed("decoder/embeddings/weight", np.zeros(64, "<f2")),
        "no 'decoder/embeddings/weight' of 2",
    ),
    "NaN": (changed("encoder/conv1/bias", np.full(64, np.nan, "<f2")), "'encoder/conv1/bias' holds NaN or infinity"),
    "a layer left out": (changed("encoder/layer_7/ffn/linear_0/bias", np.zeros(4, "<f2")), r"layer_1/.* 'nothing'"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_whisper_cpp_would_run_differently_is_refused(folder, case):
    spoil, message = SPOILED[case]
    variables = ct2.whisper()
    spoil(variables)
    (folder / "model.bin").write_bytes(ct2.model_bin(variables))
    with pytest.raises(CheckpointError, match=message):
        whisper.convert(folder, folder / "out.bin", made.MEL)
    assert not (folder / "out.bin").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spec": "TransformerSpec"}, "not a Whisper model of CTranslate2: found 'TransformerSpec 3'"),
        ({"aliases": {}}, "the output matrix is not the embedding"),
        ({"aliases": {"a": "decoder/alibi"}}, "'a' cannot stand for 'decoder/alibi'"),
        ({"version": 5}, "of another version at byte 0: found 5, expected 6"),
        ({"aliases": {"a": "b"}}, "stands for a variable that is not there"),
        ({"aliases": {"decoder/alibi": "decoder/pre_norm"}}, "is the name of something else, too"),
    ],
)
def test_another_kind_of_file(folder, options, message):
    (folder / "model.bin").write_bytes(ct2.model_bin(ct2.whisper(), **options))
    with pytest.raises(CheckpointError, match=message):
        whisper.convert(folder, folder / "out.bin", made.MEL)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (VOCABULARY[1:], "not the model's vocabulary: found '50 tokens', expected 51, one of them <|endoftext|>"),
        (["x" if t == whisper.END else t for t in VOCABULARY], "not the model's vocabulary"),
        (["a b", *VOCABULARY[1:]], "token 0 is not spelled in bytes: found ' '"),
    ],
)
def test_another_vocabulary(folder, lines, message):
    (folder / "vocabulary.txt").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message.replace("|", r"\|")):
        whisper.convert(folder, folder / "out.bin", made.MEL)


def test_what_is_missing_beside_it(folder):
    with pytest.raises(CheckpointError, match=r"not the model's mel filters: .*\(4, 7\).*|expected 4 bands"):
        whisper.convert(folder, folder / "out.bin", made.MEL[:3])
    (folder / "vocabulary.txt").unlink()
    with pytest.raises(ModelNotFoundError, match=r"vocabulary\.txt"):
        whisper.convert(folder, folder / "out.bin", made.MEL)


def small():
    return ct2.model_bin({"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.array(1, "|i1")}, {"c": "a"})


def test_cut_short_anywhere_and_too_long(tmp_path):
    path, whole = tmp_path / "model.bin", small()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            ctranslate2.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="too long"):
        ctranslate2.read(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (struct.pack("<BII", 2, 2, 3), struct.pack("<BII", 9, 2, 3), "wrong number of dimensions .*found 9"),
        (
            struct.pack("<II", 2, 3),
            struct.pack("<II", 2, 4),
            r"wrong number of bytes .*found 24, expected 32: F32 \(2, 4\)",
        ),
        (struct.pack("<BI", 0, 24), struct.pack("<BI", 6, 24), "unknown type .*found 6, expected 0 = F32"),
        (ct2.text("b"), ct2.text("a"), "'a' appears twice"),
        (b"a\0", b"a!", "not UTF-8 that ends in a zero byte"),
        (b"a\0", b"\xff\0", "not UTF-8"),
        (struct.pack("<I", 2), struct.pack("<I", 1 << 31), "more variables than the file has room for"),
    ],
)
def test_damage(tmp_path, old, new, message):
    path = tmp_path / "model.bin"
    path.write_bytes(small().replace(old, new, 1))
    with pytest.raises(CheckpointError, match=message):
        ctranslate2.read(path)


def test_mutations_end_in_our_error_or_in_a_model(folder):
    rng, whole, outcomes = random.Random(0), ct2.model_bin(ct2.whisper()), set()
    heads = [whole.index(ct2.text(name)) for name in ct2.whisper()]
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at = rng.choice(heads) + rng.randrange(70) if rng.random() < 0.7 else rng.randrange(len(data))
            data[at : at + 1] = rng.choice([b"\0", b"\xff", bytes([rng.randrange(256)]), b""])
        (folder / "model.bin").write_bytes(data)
        try:
            legacy.read(whisper.convert(folder, folder / "out.bin", made.MEL))
            outcomes.add("converted")
        except QvizError:
            outcomes.add("refused")
    assert outcomes == {"converted", "refused"}
