"""Errors say what was wrong, in a bounded number of characters."""

import numpy as np
import pytest

from qviz import errors, gguf, quantize
from qviz.errors import GGUFError, LessonError, ModelNotFoundError, QvizError
from qviz.gguf import MissingKeyError
from qviz.models import load


def test_every_error_is_in_the_tree_and_in_its_drawing():
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, QvizError)
            assert name in errors.__doc__


def test_a_container_error_names_file_offset_found_and_expected():
    error = GGUFError("bad magic", path="x.gguf", offset=0, found=b"PK", expected=b"GGUF")
    assert str(error) == "x.gguf: bad magic at byte 0: found b'PK', expected b'GGUF'"
    assert (error.path, error.offset, error.found, error.expected) == ("x.gguf", 0, b"PK", b"GGUF")


@pytest.mark.parametrize(
    "found", ["x" * 10**6, b"x" * 10**6, pytest.param(1 << 10**5, id="huge"), list(range(10**5)), "\x1b[31m"]
)
def test_what_a_hostile_file_says_is_cut_and_escaped(found):
    text = str(GGUFError("bad name", found=found))
    assert len(text) < 150
    assert "\x1b" not in text


def test_a_missing_model_is_a_missing_file_too():
    error = ModelNotFoundError("no model 'x'; run qviz fetch smollm2")
    assert isinstance(error, FileNotFoundError)
    assert str(error) == "no model 'x'; run qviz fetch smollm2"


EVIL = "a\x1b[2J\x07\x9b31m\u202e\u2066\r\x00"


@pytest.mark.parametrize("kind", [QvizError, GGUFError, MissingKeyError, LessonError])
def test_no_error_passes_on_what_a_terminal_obeys(kind):
    text = str(kind(f"no tensor {EVIL}\nsecond line"))
    assert "no tensor a\\x1b[2J" in text
    assert text.endswith("\nsecond line")
    assert all(c.isprintable() or c == "\n" for c in text)


def test_what_a_file_says_of_itself_is_shown_escaped(tmp_path):
    path = tmp_path / "evil.gguf"
    keys = {"general.architecture": EVIL, "general.name": EVIL, "general.license": EVIL, "qviz.slices.note": EVIL}
    keys |= {"qviz.slices.model": EVIL, "qviz.slices.tensor_count": EVIL}
    gguf.write(path, keys, {EVIL.strip("\0"): quantize(np.zeros((1, 32)), "Q8_0")})
    model = load(path)
    with pytest.raises(MissingKeyError) as missing:
        model["blk"]
    for text in (model.summary, repr(model), repr(model.file), str(missing.value)):
        assert "\\x1b" in text or "x1b" not in text
        assert all(c.isprintable() or c == "\n" for c in text), text
