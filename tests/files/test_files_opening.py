"""Opening files: what is no regular file is refused at once, and what changes while it is open is noticed."""

import os
import socket
import stat
from pathlib import Path

import pytest

from qviz import _files
from qviz.errors import CalibrationError, CheckpointError, GGUFError, ModelNotFoundError, QvizError


@pytest.fixture(params=["fifo", "folder", "socket", "/dev/zero", "link to a fifo"])
def odd(request, tmp_path):
    path = tmp_path / "odd"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            yield path
            return
    elif request.param == "link to a fifo":
        os.mkfifo(tmp_path / "real")
        path.symlink_to("real")
    else:
        path = os.fspath(request.param)
    yield path


@pytest.mark.parametrize("call", [_files.open_file, _files.read_bytes, _files.read_text])
def test_only_regular_files_are_opened(odd, call):
    with pytest.raises(
        GGUFError, match=r"cannot be opened: this is (a folder; name|not a regular file but a (pipe|socket|device))"
    ):
        call(odd)


def test_json_is_read_from_regular_files_only(odd):
    with pytest.raises(CheckpointError, match="cannot be opened: this is"):
        _files.read_json(odd)


@pytest.mark.parametrize("name", ["absent", "file/inside"])
def test_a_missing_file_says_so(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelNotFoundError, match="no file"):
        _files.open_file(tmp_path / name)


@pytest.mark.parametrize("path", ["a" * 300, "\0", 3.5, b"\xff\xfe"])
def test_impossible_names_end_in_one_sentence(path):
    with pytest.raises(QvizError):
        _files.open_file(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_what_to_do(tmp_path):
    path = tmp_path / "x"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(GGUFError, match="Permission denied; choose another folder, or change its permissions"):
        _files.open_file(path)


def test_errors_are_of_the_kind_asked_for(tmp_path):
    with pytest.raises(CalibrationError, match="this is a folder"):
        _files.open_file(tmp_path, error=CalibrationError)


def test_a_text_has_a_limit_and_an_encoding(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfna\xc3\xafve")
    assert _files.read_text(path) == "naïve"
    assert _files.read_bytes(path, limit=9) == path.read_bytes()
    with pytest.raises(GGUFError, match="too large to be read whole: found '9 bytes', expected at most 8"):
        _files.read_bytes(path, limit=8)
    path.write_bytes(b"abc\xff")
    with pytest.raises(GGUFError, match="not UTF-8 text: invalid start byte at byte 3"):
        _files.read_text(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_files_that_hide_their_size_are_read_up_to_the_limit():
    assert b"Pid:" in _files.read_bytes("/proc/self/status")
    with pytest.raises(GGUFError, match="no end within 10 bytes"):
        _files.read_bytes("/proc/self/status", limit=10)


def test_bytes_are_read_by_position(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(100)))
    file = _files.open_file(path)
    assert (file.size, file.read(10, 3), file.read(99, 0)) == (100, b"\x0a\x0b\x0c", b"")
    buffer = bytearray(4)
    file.read_into(buffer, 96)
    assert buffer == b"\x60\x61\x62\x63"
    file.check()
    file.close()
    assert file.closed
    with pytest.raises(GGUFError, match="was closed"):
        file.read(0, 1)


def truncate(path):
    with path.open("r+b") as file:
        file.truncate(5)


def append(path):
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path):
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # however coarse the clock of this drive


@pytest.mark.parametrize(("change", "message"), [(truncate, "shrank"), (append, "changed"), (overwrite, "changed")])
def test_a_change_is_noticed(tmp_path, change, message):
    path = tmp_path / "x"
    path.write_bytes(bytes(100))
    file = _files.open_file(path)
    file.check()
    change(path)
    with pytest.raises(GGUFError, match=message):
        file.check()


def test_what_was_cut_off_is_an_error_not_a_signal(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(100_000))
    file = _files.open_file(path)
    truncate(path)
    with pytest.raises(GGUFError, match="shrank while it was open at byte 5: found '5 bytes', expected 100000 bytes"):
        file.read(3, 50_000)


def test_arrays_are_read_or_mapped_and_notice_a_cut(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(100)))
    file = _files.open_file(path)
    for get in (file.read_array, file.mapped_array):
        array = get("<u2", 10, 6)
        assert (array.tolist(), array.flags.writeable) == ([0x0B0A, 0x0D0C, 0x0F0E], False)
    truncate(path)
    for get in (file.read_array, file.mapped_array):
        with pytest.raises(GGUFError, match="shrank while it was open at byte 5"):
            get("<u2", 10, 6)


def test_a_new_file_does_not_replace_its_own_source(tmp_path):
    path, link, other = (tmp_path / name for name in ("x", "link", "other"))
    path.write_bytes(b"x")
    link.hardlink_to(path)
    _files.refuse_source(other, [path], CalibrationError)
    for target in (path, link):
        with pytest.raises(CalibrationError, match="would replace its own source; choose another name"):
            _files.refuse_source(target, [tmp_path / "nothing here", path], CalibrationError)


def test_a_file_that_takes_the_place_of_an_open_one_does_no_harm(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    file = _files.open_file(path)
    _files.write_bytes(path, b"new file")
    file.check()
    assert file.read(0, 3) == b"old"
    assert stat.S_ISREG(path.stat().st_mode)
