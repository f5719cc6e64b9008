"""One odd tensor hides nothing: no weights, no dimensions, a type that is not ggml's."""

import json

import gguf as gguf_py
import libggml_opens
import numpy as np
import pytest
from click.testing import CliRunner
from raw import STR, Raw

from qviz import cli, formats, gguf
from qviz.errors import GGUFError, PipelineError, QvizError
from qviz.gguf.summary import summarize
from qviz.whole import by_recipe

R = Raw()
BYTES = np.arange(8, dtype="<f4").tobytes()
ARCHITECTURE = R.pair("general.architecture", STR, "of the future")


def odd(path, dims, type_id=0, data=b"", raw=R):
    """A model with an odd tensor between two plain ones."""
    data = data + bytes(-len(data) % 32)
    infos = [
        raw.info("first.weight", [8], 0, 0),
        raw.info("odd.weight", dims, type_id, 32),
        raw.info("last.weight", [4, 2], 0, 32 + len(data)),
    ]
    path.write_bytes(raw.file([raw.pair("general.architecture", STR, "of the future")], infos, BYTES + data + BYTES))
    return path


EMPTY = {"[0]": [0], "[4, 0]": [4, 0], "[0, 4]": [0, 4], "[2, 0, 3]": [2, 0, 3], "[0, 0, 0, 0]": [0] * 4}


@pytest.mark.parametrize("dims", EMPTY.values(), ids=EMPTY)
def test_tensors_of_no_weights(tmp_path, dims):
    path = odd(tmp_path / "x.gguf", dims)
    file = gguf.read(path)
    assert list(file) == ["first.weight", "odd.weight", "last.weight"]
    assert file["odd.weight"].shape == tuple(dims[::-1])
    assert file["odd.weight"].dequantize().shape == tuple(dims[::-1])
    assert file["last.weight"].tobytes() == BYTES
    regions = file.parts[0].regions
    assert sum(region.stop - region.start for region in regions) == file.nbytes
    assert [t.shape.tolist() for t in gguf_py.GGUFReader(path).tensors][1] == dims
    copy = gguf.write(tmp_path / "copy.gguf", file.metadata, file)
    assert copy.read_bytes() == path.read_bytes()


def test_a_number_without_dimensions(tmp_path):
    path = odd(tmp_path / "x.gguf", [], data=np.float32(2.5).tobytes())
    file = gguf.read(path)
    assert (file.tensor_info["odd.weight"].dims, file["odd.weight"].dequantize().tolist()) == ((), [2.5])
    copy = gguf.write(tmp_path / "copy.gguf", file.metadata, file)
    assert copy.read_bytes() == path.read_bytes()


def test_libggml_opens_what_is_written(tmp_path):
    # of several axes, one of them zero, the release that the tests use divides by it; newer ones open that, too
    arrays = {"a": np.ones((2, 3), np.float32), "none": np.zeros(0, np.float32), "one": np.array(1.5, np.float32)}
    paths = [
        gguf.write(tmp_path / "x.gguf", {"general.architecture": "x"}, arrays),
        gguf.write(tmp_path / "last.gguf", {}, {"none": np.zeros(0, np.float16)}),
        odd(tmp_path / "no dimensions.gguf", [], data=np.float32(2.5).tobytes()),
    ]
    assert libggml_opens.ask(paths) == ["opens"] * 3
    assert [t.name for t in gguf_py.GGUFReader(paths[0]).tensors] == list(arrays)
    assert gguf.read(paths[0])["one"].dequantize() == 1.5


FOREIGN = {139: "ik_llama.cpp", 399: "ik_llama.cpp", 36: "BitNet", 4: "ggml has removed", 43: "nobody here knows"}
FOREIGN |= {31: "ggml has removed", 2**32 - 1: "nobody here knows", 2**31: "nobody here knows"}


@pytest.mark.parametrize(("type_id", "whose"), FOREIGN.items())
@pytest.mark.parametrize("raw", [R, Raw(endian="big")], ids=["little", "big"])
def test_a_foreign_type_hides_nothing(tmp_path, type_id, whose, raw):
    path = odd(tmp_path / "x.gguf", [256, 3], type_id, bytes(range(77)), raw)
    file = gguf.read(path)
    assert list(file) == ["first.weight", "odd.weight", "last.weight"]
    info = file.tensor_info["odd.weight"]
    assert (info.shape, info.n_weights, info.nbytes, info.format.type_id) == ((3, 256), 768, 96, type_id)
    assert file["last.weight"].dequantize().shape == (2, 4)
    with pytest.raises(
        QvizError, match=f"'odd.weight' cannot be used: .*{whose}.*; use the program that made the file"
    ):
        file["odd.weight"]
    with pytest.raises(GGUFError, match=f"'odd.weight' cannot be copied: .*{whose}"):
        gguf.write(tmp_path / "copy.gguf", file.metadata, file)
    with pytest.raises(PipelineError, match=f"'odd.weight' cannot be copied: .*{whose}"):
        by_recipe.quantize_model(path, tmp_path / "copy.gguf", "Q8_0")
    assert [p.name for p in tmp_path.iterdir()] == ["x.gguf"]
    json.dumps(summarize(file).as_dict(), allow_nan=False)


def test_inspect_says_whose_it_is(tmp_path):
    path = odd(tmp_path / "x.gguf", [256, 3], 139, bytes(77))
    shown = CliRunner().invoke(cli.main, ["inspect", str(path)]).output
    assert "IQ4_K: a type of ik_llama.cpp. It can be listed, not decoded" in shown
    found = json.loads(CliRunner().invoke(cli.main, ["inspect", "--json", str(path)]).output)
    assert found["formats"]["IQ4_K"] == {
        "tensors": 1, "weights": 768, "bytes": 96, "bpw": 1.0, "unknown": "a type of ik_llama.cpp",
    }  # fmt: skip


def test_numbers_that_ggml_has_are_never_foreign():
    from qviz.gguf import foreign

    known = {fmt.type_id for fmt in formats.FORMATS.values()}
    assert known.isdisjoint(foreign._IK_NAMES)
    assert known.isdisjoint(foreign._BITNET_NAMES)
    assert known >= {int(kind) for kind in gguf_py.GGMLQuantizationType}
