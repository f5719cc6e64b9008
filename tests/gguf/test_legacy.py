"""Files from before GGUF, written by `legacy_files` and read, decoded and converted by qviz."""

from __future__ import annotations

import pickle
import random
import struct
from pathlib import Path

import legacy_files as old
import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from qviz import gguf
from qviz.errors import GGUFError, ModelNotFoundError, QvizError, UnknownFormatError
from qviz.formats import QTensor
from qviz.gguf import legacy
from qviz.gguf.legacy.blocks import Q4_0_V1, Q8_0_V1, get

GENERATIONS = {("GGML", 0): old.V1, ("GGMF", 1): old.V1, ("GGJT", 1): old.V1, ("GGJT", 2): old.V2, ("GGJT", 3): old.V3}
CASES = [(*key, name) for key, makers in GENERATIONS.items() for name in makers]
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q4_2": 5, "Q4_3": 6, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9}


def file_type(name: str) -> int:
    return FILE_TYPES[name.partition("_v")[0]]


def write(path: Path, container: str, version: int, name: str, **options: int) -> tuple[Path, dict[str, old.Matrix]]:
    tensors = old.llama_tensors(GENERATIONS[container, version][name], **options)
    layers = options.get("layers", old.N_LAYER)
    data = old.llama_file(tensors, old.hparams(file_type(name), layers), old.tokens(), container, version)
    path.write_bytes(data)
    return path, tensors


# -- reading


@pytest.mark.parametrize(("container", "version", "name"), CASES)
def test_every_layout_decodes(tmp_path: Path, container: str, version: int, name: str) -> None:
    path, tensors = write(tmp_path / "model.bin", container, version, name)
    with legacy.read(path) as file:
        assert (file.container, file.version, file.model) == (container, version, "llama")
        assert list(file) == list(tensors)
        for key, matrix in tensors.items():
            tensor = file[key]
            assert tensor.shape == matrix.shape
            assert tensor.tobytes() == matrix.raw
            if matrix.type_id > old.F16:
                assert tensor.format == name
            np.testing.assert_array_equal(tensor.dequantize(), matrix.values)
        assert file.header["n_embd"] == old.N_EMBD
        assert file.header["ftype"] == file_type(name)


def test_a_hand_worked_block() -> None:
    """Q4_0 of April 2023: d = 0.5; byte 0 holds weights 0 and 1, 0x3F: 15 - 8 = 7 and 3 - 8 = -5."""
    raw = struct.pack("<f", 0.5) + b"\x3f" + b"\x88" * 15
    x = QTensor.from_bytes(Q4_0_V1, raw, (32,)).dequantize()
    assert x[:4].tolist() == [3.5, -2.5, 0.0, 0.0]


def test_blocks_are_views_of_the_file(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "model.bin", "GGJT", 1, "Q4_0_v1")
    tensor = legacy.read(path)["output.weight"]
    assert tensor.blocks.base is not None
    assert not tensor.blocks.flags.writeable


def test_vocabulary(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "model.bin", "GGJT", 3, "F16")
    vocabulary = legacy.read(path).vocabulary
    assert list(zip(vocabulary.tokens, vocabulary.scores, strict=True)) == old.tokens()
    path, _ = write(tmp_path / "model.bin", "GGML", 0, "F16")
    assert legacy.read(path).vocabulary.scores is None


@pytest.mark.parametrize("name", ["Q4_0_v1", "Q4_1_v1"])
@pytest.mark.parametrize("told", [None, True])
def test_scales_apart_from_codes(tmp_path: Path, name: str, told: bool | None) -> None:
    tensors = old.llama_tensors(old.V1[name])
    apart = {key: old.by_row(m) if m.type_id > old.F16 else m for key, m in tensors.items()}
    path = tmp_path / "model.bin"
    path.write_bytes(old.llama_file(apart, old.hparams(2), old.tokens(), "GGML"))
    file = legacy.read(path, scales_per_row=told)
    assert file.scales_per_row
    for key, matrix in tensors.items():
        np.testing.assert_array_equal(file[key].dequantize(), matrix.values)
    assert not legacy.read(path, scales_per_row=False).scales_per_row


def test_scales_per_row_needs_a_file_that_may_have_them(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "model.bin", "GGJT", 1, "Q4_0_v1")
    with pytest.raises(GGUFError, match="scales_per_row is for"):
        legacy.read(path, scales_per_row=True)


COLUMNS = ("tok_embeddings", ".wo.", ".w2.")
W2 = "layers.0.feed_forward.w2.weight"


def cut(tensors: dict[str, old.Matrix], parts: int, columns: tuple[str, ...]) -> list[dict[str, old.Matrix]]:
    """A model over several files, as the first converter cut it: F32 here, so that cutting is slicing."""
    result: list[dict[str, old.Matrix]] = []
    for p in range(parts):
        piece = {}
        for name, m in tensors.items():
            values = m.values
            if values.ndim == 2:
                axis = 1 if any(c in name for c in columns) else 0
                values = np.ascontiguousarray(np.split(values, parts, axis)[p])
            piece[name] = old.Matrix(old.F32, values.shape, values.tobytes(), values)
        result.append(piece)
    return result


@pytest.fixture
def in_parts(tmp_path: Path) -> tuple[Path, dict[str, old.Matrix]]:
    tensors = old.llama_tensors(old.f32)
    for p, piece in enumerate(cut(tensors, 2, COLUMNS)):
        name = "model.bin" if p == 0 else f"model.bin.{p}"
        (tmp_path / name).write_bytes(old.llama_file(piece, old.hparams(0), old.tokens(), "GGMF", 1))
    return tmp_path / "model.bin", tensors


def test_a_model_in_parts(in_parts: tuple[Path, dict[str, old.Matrix]]) -> None:
    path, tensors = in_parts
    for opened in (path, path.with_name("model.bin.1")):
        file = legacy.read(opened)
        assert file.nbytes == sum(p.stat().st_size for p in path.parent.iterdir())
        for name, matrix in tensors.items():
            assert file.tensor_info[name].shape == matrix.shape
            np.testing.assert_array_equal(file[name].dequantize(), matrix.values)


def test_quantized_parts(tmp_path: Path) -> None:
    """Each part was quantized by itself, so columns are put together block by block."""
    pieces: list[dict[str, old.Matrix]] = []
    for p in range(2):
        rng = np.random.default_rng(p)
        piece = {}
        for name, m in old.llama_tensors(old.f32).items():
            if m.values.ndim == 2:
                rows, width = m.shape
                columns = any(c in name for c in COLUMNS)
                m = old.V1["Q4_1_v1"](rng, (rows, width // 2) if columns else (rows // 2, width))
            piece[name] = m
        pieces.append(piece)
        suffix = f".{p}" if p else ""
        (tmp_path / f"model.bin{suffix}").write_bytes(old.llama_file(piece, old.hparams(3), old.tokens(), "GGML"))
    file = legacy.read(tmp_path / "model.bin")
    for name, m in pieces[0].items():
        both = [piece[name].values for piece in pieces]
        whole = np.concatenate(both, 1 if any(c in name for c in COLUMNS) else 0) if m.values.ndim == 2 else both[0]
        np.testing.assert_array_equal(file[name].dequantize(), whole)
    out = legacy.convert(tmp_path / "model.bin", tmp_path / "model.gguf")
    np.testing.assert_array_equal(decoded(out)["blk.0.ffn_down.weight"], file[W2].dequantize())


def test_a_missing_part(in_parts: tuple[Path, dict[str, old.Matrix]]) -> None:
    path, _ = in_parts
    path.with_name("model.bin.1").unlink()
    with pytest.raises(ModelNotFoundError, match=r"model\.bin\.1"):
        legacy.read(path)


def test_a_part_of_another_model(in_parts: tuple[Path, dict[str, old.Matrix]]) -> None:
    path, _ = in_parts
    other = cut(old.llama_tensors(old.f32, layers=1), 2, COLUMNS)[1]
    path.with_name("model.bin.1").write_bytes(old.llama_file(other, old.hparams(0, 1), old.tokens(), "GGMF", 1))
    with pytest.raises(GGUFError, match="not a part of the model"):
        legacy.read(path)


def test_names_and_closing(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "model.bin", "GGJT", 3, "F16")
    file = legacy.read(path)
    with pytest.raises(KeyError, match=r"close: 'output\.weight'"):
        file["output.weigth"]
    kept = file["output.weight"]
    file.close()
    assert kept.dequantize().shape == (old.N_VOCAB, old.N_EMBD)
    with pytest.raises(GGUFError, match="was closed"):
        file["output.weight"]


def test_legacy_tensors_pickle() -> None:
    tensor = QTensor(Q8_0_V1, np.zeros(1, Q8_0_V1.dtype), (32,))
    assert pickle.loads(pickle.dumps(tensor)).format is Q8_0_V1
    with pytest.raises(UnknownFormatError, match="Q4_2"):
        get("Q4_9")


# -- whisper

WHISPER = old.whisper_header(32)


def whisper_tensors(maker: object) -> dict[str, old.Matrix]:
    rng = np.random.default_rng(3)
    shapes = old.whisper_shapes(32)
    return {name: (maker if old.is_whisper_matrix(name) else old.f32)(rng, shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("version", "makers", "name"), [(v, m, n) for v, m in enumerate((old.V1, old.V2, old.V3)) for n in m]
)
def test_whisper(tmp_path: Path, version: int, makers: dict[str, object], name: str) -> None:
    tensors = whisper_tensors(makers[name])
    assert len(tensors) == 11 + 15 + 24  # what whisper.cpp counts for one layer on each side
    mel = np.random.default_rng(0).random((4, 7)).astype(np.float32)
    words = [b"!", b"", b" \xf0\x9f", b"<|endoftext|>"]
    ftype = file_type(name) + 1000 * version
    path = tmp_path / "ggml-tiny.bin"
    path.write_bytes(old.whisper_file(tensors, (*WHISPER, ftype), words, mel))
    file = legacy.read(path)
    assert (file.model, file.layout, file.header["n_mels"]) == ("whisper", version + 1, 4)
    assert file.vocabulary.tokens == tuple(words)
    np.testing.assert_array_equal(file.mel_filters, mel)
    assert list(file) == list(tensors)
    for key, matrix in tensors.items():
        np.testing.assert_array_equal(file[key].dequantize(), matrix.values)
    with pytest.raises(GGUFError, match="a whisper model has no place in GGUF"):
        legacy.convert(path, tmp_path / "out.gguf")


def test_whisper_with_an_unknown_quantization_version(tmp_path: Path) -> None:
    path = tmp_path / "ggml-tiny.bin"
    path.write_bytes(old.whisper_file({}, (*WHISPER, 3002), [], np.zeros((4, 7))))
    with pytest.raises(GGUFError, match="unknown quantization version at byte 44: found 3, expected 0, 1 or 2"):
        legacy.read(path)


# -- conversion


def decoded(path: Path) -> dict[str, np.ndarray]:
    """What another reader and decoder makes of a GGUF file."""
    return {t.name: dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in GGUFReader(path).tensors}


@pytest.mark.parametrize(("container", "version", "name"), CASES)
def test_conversion_loses_nothing(tmp_path: Path, container: str, version: int, name: str) -> None:
    path, tensors = write(tmp_path / "model.bin", container, version, name)
    out = legacy.convert(path, tmp_path / "model.gguf")
    values = decoded(out)
    assert len(values) == len(tensors)
    for old_name, new_name in {
        "tok_embeddings.weight": "token_embd.weight",
        "norm.weight": "output_norm.weight",
        "output.weight": "output.weight",
        "layers.0.attention.wq.weight": "blk.0.attn_q.weight",
        "layers.0.attention.wk.weight": "blk.0.attn_k.weight",
        "layers.1.attention.wv.weight": "blk.1.attn_v.weight",
        "layers.1.attention.wo.weight": "blk.1.attn_output.weight",
        "layers.0.attention_norm.weight": "blk.0.attn_norm.weight",
        "layers.0.feed_forward.w1.weight": "blk.0.ffn_gate.weight",
        "layers.1.feed_forward.w2.weight": "blk.1.ffn_down.weight",
        "layers.1.feed_forward.w3.weight": "blk.1.ffn_up.weight",
        "layers.0.ffn_norm.weight": "blk.0.ffn_norm.weight",
    }.items():
        np.testing.assert_array_equal(values[new_name], tensors[old_name].values)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_the_last_layout_goes_over_byte_for_byte(tmp_path: Path, name: str) -> None:
    path, tensors = write(tmp_path / "model.bin", "GGJT", 3, name)
    file = gguf.read(legacy.convert(path, tmp_path / "model.gguf"))
    assert file["blk.0.attn_q.weight"].tobytes() == tensors["layers.0.attention.wq.weight"].raw
    assert file["output.weight"].format == name
    assert file.metadata["general.file_type"] == file_type(name)


@pytest.mark.parametrize(
    ("version", "name", "target"),
    [(1, "Q5_0_v1", "Q5_0"), (1, "Q5_1_v1", "Q5_1"), (2, "Q5_0", "Q5_0"), (2, "Q5_1", "Q5_1")],
)
def test_float16_scales_stay_blocks(tmp_path: Path, version: int, name: str, target: str) -> None:
    path, _ = write(tmp_path / "model.bin", "GGJT", version, name)
    assert gguf.read(legacy.convert(path, tmp_path / "model.gguf"))["output.weight"].format == target


@pytest.mark.parametrize(
    ("version", "name", "maker"),
    [
        (1, "Q4_0", old.quantized(old.Q4_0, 32, "f", offset=8, fits_half=True)),
        (1, "Q4_1", old.quantized(old.Q4_1, 32, "f", with_min=True, fits_half=True)),
        (2, "Q4_0", old.quantized(old.Q4_0, 32, "f", offset=8, pairs=False, fits_half=True)),
        (2, "Q4_1", old.quantized(old.Q4_1, 32, "f", with_min=True, pairs=False, fits_half=True)),
        (2, "Q8_0", old.quantized(old.Q8_0, 32, "f", bits=8, fits_half=True)),
    ],
)
def test_float32_scales_that_are_float16_stay_blocks(tmp_path: Path, version: int, name: str, maker: object) -> None:
    tensors = old.llama_tensors(maker)
    path = tmp_path / "model.bin"
    path.write_bytes(old.llama_file(tensors, old.hparams(FILE_TYPES[name]), old.tokens(), "GGJT", version))
    out = legacy.convert(path, tmp_path / "model.gguf")
    assert gguf.read(out)["output.weight"].format == name
    np.testing.assert_array_equal(decoded(out)["output.weight"], tensors["output.weight"].values)


@pytest.mark.parametrize(
    ("inexact", "target", "file_type"), [("F32", "F32", 0), ("F16", "F16", 1), ("round", "Q4_1", 3)]
)
def test_what_fits_no_format(tmp_path: Path, inexact: str, target: str, file_type: int) -> None:
    path, tensors = write(tmp_path / "model.bin", "GGJT", 2, "Q4_1_v2")
    out = legacy.convert(path, tmp_path / "model.gguf", inexact=inexact)
    file = gguf.read(out)
    assert file["output.weight"].format == target
    assert file.metadata["general.file_type"] == file_type
    exact, got = tensors["output.weight"].values, decoded(out)["output.weight"]
    # a float16 is off by up to 2^-11 of itself; scales and mins are below 0.06 (6 σ), and a scale counts 15 times
    limit = np.abs(exact) * 2**-11 + 2**-25 if inexact == "F16" else 16 * (0.06 * 2**-11 + 2**-25)
    assert np.all(np.abs(exact - got) <= limit)
    assert np.array_equal(exact, got) == (inexact == "F32")


def test_rounding_refuses_a_scale_that_float16_cannot_hold(tmp_path: Path) -> None:
    tensors = old.llama_tensors(old.V2["Q4_0_v2"])
    big = tensors["output.weight"]
    big = big._replace(raw=struct.pack("<f", 1e5) + big.raw[4:])
    path = tmp_path / "model.bin"
    path.write_bytes(old.llama_file(tensors | {"output.weight": big}, old.hparams(2), old.tokens(), "GGJT", 2))
    file = gguf.read(legacy.convert(path, tmp_path / "model.gguf", inexact="round"))
    assert (file["output.weight"].format, file["token_embd.weight"].format) == ("F32", "Q4_0")


def test_metadata_of_a_conversion(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "my-model.bin", "GGJT", 3, "Q4_0", kv=32)
    out = legacy.convert(path, tmp_path / "model.gguf", context_length=4096, rms_eps=1e-5)
    fields = {key: field.contents() for key, field in GGUFReader(out).fields.items()}
    assert {key: fields[key] for key in fields if key.startswith("llama.")} == {
        "llama.context_length": 4096,
        "llama.embedding_length": old.N_EMBD,
        "llama.block_count": old.N_LAYER,
        "llama.feed_forward_length": old.N_FF,
        "llama.rope.dimension_count": 16,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-5),
    }
    assert fields["general.name"] == "my-model"
    words = fields["tokenizer.ggml.tokens"]
    assert words[:5] == ["<unk>", "<s>", "</s>", "<0x00>", "<0x01>"]
    assert words[259] == "\u2581w0"
    assert fields["tokenizer.ggml.token_type"][:4] == [2, 3, 3, 6]
    assert fields["tokenizer.ggml.scores"] == [score for _, score in old.tokens()]


def test_scores_of_a_file_without(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "model.bin", "GGML", 0, "F16")
    scores = gguf.read(legacy.convert(path, tmp_path / "model.gguf")).metadata["tokenizer.ggml.scores"]
    assert list(scores) == [score for _, score in old.tokens()]  # which are LLaMA's own: 0 ... 0, -1, -2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"inexact": "Q4_0"}, "no such way to store"),
        ({"context_length": 0}, "context length must be"),
        ({"context_length": 2.5}, "context length must be"),
        ({"rms_eps": 0}, "rms_eps must lie"),
        ({"rms_eps": float("nan")}, "rms_eps must lie"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, object], problem: str) -> None:
    path, _ = write(tmp_path / "model.bin", "GGJT", 3, "F16")
    with pytest.raises(GGUFError, match=problem):
        legacy.convert(path, tmp_path / "model.gguf", **options)
    assert not (tmp_path / "model.gguf").exists()


# -- malformed files


def small(container: str = "GGJT", version: int = 3) -> bytes:
    tensors = old.llama_tensors(GENERATIONS[container, version]["F16"], layers=1)
    return old.llama_file(tensors, old.hparams(1, 1), old.tokens(), container, version)


def patched(data: bytes, at: int, number: int) -> bytes:
    return data[:at] + struct.pack("<I", number & 0xFFFFFFFF) + data[at + 4 :]


FIRST = 36 + sum(len(text) + 8 for text, _ in old.tokens())  # the first tensor of a GGJT file

MALFORMED = {
    "empty": (b"", "the file is empty", 0),
    "magic": (b"ggml" + bytes(100), "not a GGML, GGMF or GGJT file", 0),
    "GGUF": (b"GGUF" + bytes(100), "open it with qviz.gguf.read", 0),
    "version 0": (patched(small(), 4, 0), "unknown GGJT version", 4),
    "version 4": (patched(small(), 4, 4), "unknown GGJT version", 4),
    "GGMF version 2": (patched(small("GGMF", 1), 4, 2), "unknown GGMF version", 4),
    "no vocabulary": (patched(small(), 8, 0), "n_vocab is not plausible", 8),
    "vocabulary of 2^31": (patched(small(), 8, -1), "n_vocab is not plausible", 8),
    "vocabulary larger than the file": (patched(small(), 8, 1 << 20), "more tokens than the file has room for", 36),
    "other vocabulary": (patched(small(), 8, 299), "wrong number of dimensions", FIRST - 12 - len(b" w40") + 4),
    "other width": (patched(small(), 12, 96), "does not fit the header", None),
    "no layers": (patched(small(), 24, 0), "n_layer is not plausible", 24),
    "a million layers": (patched(small(), 24, 10**6), "fewer tensors than layers", None),
    "two layers": (patched(small(), 24, 2), r"ends before tensor 'layers\.1\.attention\.wq\.weight'", None),
    "token of 4 GB": (patched(small(), 36, -1), "token 0 is too long", 36),
    "no dimensions": (patched(small(), FIRST, 0), "wrong number of dimensions", FIRST),
    "three dimensions": (patched(small(), FIRST, 3), "wrong number of dimensions", FIRST),
    "name of 4 GB": (patched(small(), FIRST + 4, -1), "length of a name", FIRST + 4),
    "no name": (patched(small(), FIRST + 4, 0), "length of a name", FIRST + 4),
    "removed type": (patched(small(), FIRST + 8, 4), "unknown type", FIRST + 8),
    "no rows": (patched(small(), FIRST + 16, 0), "a shape that F16 cannot hold", FIRST + 12),
    "rows of 4 G": (patched(small(), FIRST + 16, -1), "ends inside the data of", None),
    "huge in both": (patched(patched(small(), FIRST + 12, -1), FIRST + 16, -1), "ends inside the data of", None),
    "row not whole": (patched(patched(small(), FIRST + 8, 2), FIRST + 12, 63), "a shape that Q4_0 cannot", FIRST + 12),
    "name not UTF-8": (small().replace(b"layers.0.ffn_norm", b"layers.0.ffn_nor\xff"), "not UTF-8", None),
    "name twice": (small().replace(b"attention.wk", b"attention.wq"), "appears twice", None),
    "name unknown": (small().replace(b"attention.wk", b"attention.wx"), "ends before tensor", None),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(tmp_path: Path, case: str) -> None:
    data, problem, offset = MALFORMED[case]
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(GGUFError, match=problem) as caught:
        legacy.read(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.offset is not None
    if offset is not None:
        assert caught.value.offset == offset


def test_model_of_another_kind(tmp_path: Path) -> None:
    """GPT-2 in the same container: six numbers, then the vocabulary's length again."""
    path = tmp_path / "gpt2.bin"
    path.write_bytes(struct.pack("<8I", 0x67676D6C, 50257, 1024, 768, 12, 12, 1, 50257) + b"\1\0\0\0!" * 50257)
    with pytest.raises(GGUFError, match=r"LLaMA's and whisper\.cpp's are read here"):
        legacy.read(path)


@pytest.mark.parametrize(("container", "version"), GENERATIONS)
def test_cut_short_anywhere(tmp_path: Path, container: str, version: int) -> None:
    whole = small(container, version)
    path = tmp_path / "model.bin"
    # every byte of the header, of the first tensors' edges, and a sample of the rest
    starts = [whole.index(name) for name in (b"tok_embeddings", b"norm.weight", b"layers.0.ffn_norm")]
    places = {*range(400), *(s + d for s in starts for d in range(-12, 64)), *range(400, len(whole), 997)}
    for length in sorted(places | {len(whole) - 1}):
        path.write_bytes(whole[:length])
        with pytest.raises(GGUFError):
            legacy.read(path)


@pytest.mark.parametrize("seed", range(4))
def test_mutations_end_in_our_error_or_in_a_file(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    mel = np.zeros((4, 7), np.float32)
    sources = [small(*key) for key in GENERATIONS]
    sources.append(old.whisper_file(whisper_tensors(old.V3["Q5_1"]), (*WHISPER, 2009), [b"a", b"bc"], mel))
    path = tmp_path / "model.bin"
    outcomes = set()
    for _ in range(150):
        data = bytearray(rng.choice(sources))
        for _ in range(rng.randint(1, 4)):
            # headers, where it matters, more often than weights
            at = rng.randrange(64 if rng.random() < 0.5 else len(data))
            data[at : at + rng.randint(1, 4)] = rng.choice(
                [b"\0", b"\xff", b"\x7f\xff\xff\xff", bytes([rng.randrange(256)])]
            )
        path.write_bytes(data)
        try:
            with legacy.read(path) as file:
                for name in file:
                    assert file[name].dequantize().shape == file.tensor_info[name].shape
            outcomes.add("opens")
        except QvizError:
            outcomes.add("refused")
    assert outcomes == {"opens", "refused"}
