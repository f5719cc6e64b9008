"""Errors say what was wrong, in a bounded number of characters."""

import pytest

from qviz import errors
from qviz.errors import GGUFError, ModelNotFoundError, QvizError


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
