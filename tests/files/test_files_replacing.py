"""New files and folders take the place of older ones whole or not at all, and what dies leaves nothing for long."""

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from qviz import _files
from qviz._files import atomic, scratch
from qviz.errors import GGUFError, ImatrixError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(path, text, files=("a", "b")):
    with _files.replacing_folder(path) as folder:
        for name in files:
            (folder / name).write_text(text)


def contents(path):
    return {name: (path / name).read_text() for name in names(path)}


@pytest.fixture(params=["exchange", "two renames"])
def swap(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "_exchange", lambda a, b: False)
    return request.param


# -- files


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o640)
    with _files.replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), names(tmp_path)) == ("new", 0o640, ["x"])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_block_that_fails_changes_nothing(tmp_path, error):
    (tmp_path / "x").write_text("old")

    def write():
        with _files.replacing(tmp_path / "x") as file:
            file.write(b"half")
            raise error("mine")

    with pytest.raises(error, match="mine"):
        write()
    assert contents(tmp_path) == {"x": "old"}


def test_a_link_keeps_pointing_where_it_did(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/real")
    _files.write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "there") == {"real": "new"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "this is not a regular file"),
        ("absent/x", "its folder does not exist"),
        ("n" * 300, "File name too long; choose a shorter name"),
        ("file/x", "Not a directory; a part of this path is a file"),
        ("loop", "Too many levels of symbolic links|not a regular file"),
    ],
)
def test_what_cannot_be_written_says_why(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    with pytest.raises(ImatrixError, match=message):
        _files.write_bytes(tmp_path / name, b"x", ImatrixError)
    assert names(tmp_path) == before


FULL = """
    import resource, sys
    from qviz import _files
    from qviz.errors import QvizError
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        _files.write_bytes(sys.argv[1], bytes(50_000))
    except QvizError as error:
        print(error)
"""


def run(code, *arguments, **options):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_a_disk_that_takes_no_more_leaves_the_older_file(tmp_path):
    (tmp_path / "x").write_text("old")
    done = run(FULL, tmp_path / "x")
    assert "x: cannot be written: File too large; this disk, or a limit of this process" in done.stdout, done.stderr
    assert done.stderr == ""
    assert contents(tmp_path) == {"x": "old"}


@pytest.mark.parametrize("call", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_at_the_end_leaves_the_older_file(tmp_path, monkeypatch, call, code):
    (tmp_path / "x").write_text("old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*((os, "fsync", fail) if call == "fsync" else (Path, call, fail)))
    with pytest.raises(GGUFError, match=re.escape(os.strerror(code)) + "; "):
        _files.write_bytes(tmp_path / "x", b"new")
    assert contents(tmp_path) == {"x": "old"}


# -- folders


def test_a_folder_is_replaced_whole(tmp_path, swap):
    path = tmp_path / "model"
    fill(path, "old", ("a", "b", "only in the old one"))
    inode = path.stat().st_ino
    fill(path, "new")
    assert contents(path) == {"a": "new", "b": "new"}
    assert path.stat().st_ino != inode
    assert names(tmp_path) == ["model"]


def test_an_empty_folder_is_replaced(tmp_path, swap):
    (tmp_path / "model").mkdir()
    fill(tmp_path / "model", "new")
    assert contents(tmp_path / "model") == {"a": "new", "b": "new"}


def test_what_is_the_users_is_carried_over(tmp_path, swap):
    path = tmp_path / "model"
    fill(path, "old", ("a", "README", "stale"))
    (path / "notes").mkdir()
    (path / "notes" / "mine").write_text("kept")
    (path / "link").symlink_to("README")
    with _files.replacing_folder(path, carry=lambda name: name != "stale") as folder:
        (folder / "a").write_text("new")
    assert names(path) == ["README", "a", "link", "notes"]
    assert [(path / name).read_text() for name in ("README", "a", "link", "notes/mine")] == [
        "old",
        "new",
        "old",
        "kept",
    ]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_folder_that_is_not_finished_changes_nothing(tmp_path, error):
    fill(tmp_path / "model", "old")

    def write():
        with _files.replacing_folder(tmp_path / "model") as folder:
            (folder / "a").write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert contents(tmp_path / "model") == {"a": "old", "b": "old"}
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("file", "this is not a folder"), ("absent/x", "folder around it does not exist"), ("n" * 300, "too long")],
)
def test_folders_that_cannot_be_written_say_why(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(GGUFError, match=message):
        fill(tmp_path / name, "new")
    assert names(tmp_path) == ["file"]


def test_a_reader_sees_all_of_the_old_folder_or_all_of_the_new(tmp_path, swap):
    path = tmp_path / "model"
    fill(path, "old")
    looks = []

    def read(where):
        first = (where / "a").read_text()
        if not looks:
            fill(where, "new")  # another process, between the two files
        looks.append((first, (where / "b").read_text()))
        return looks[-1]

    assert _files.read_folder(path, read) == ("new", "new")
    assert looks == [("old", "new"), ("new", "new")]


def test_a_swap_that_was_cut_in_two_is_undone(tmp_path):
    """Without a swap in one step there is a moment in which neither stands at its name."""
    path = tmp_path / "model"
    fill(path, "old")
    code = """
        import os, sys
        from pathlib import Path
        from qviz import _files
        from qviz._files import atomic
        atomic._exchange = lambda a, b: False
        rename = Path.rename
        def once(self, target):
            if self.suffix == ".tmp" and target.name == "model" and not target.exists():
                os.kill(os.getpid(), 9)
            return rename(self, target)
        Path.rename = once
        with _files.replacing_folder(sys.argv[1]) as folder:
            (folder / "a").write_text("new")
    """
    assert run(code, path).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2, names(tmp_path)
    assert not path.exists()
    _files.sweep(tmp_path)  # keeps what was moved aside: it is the only copy
    assert _files.read_folder(path, contents) == {"a": "old", "b": "old"}
    assert names(tmp_path) == ["model"]


# -- what the dead leave


DYING = """
    import os, sys
    from pathlib import Path
    from qviz import _files
    folder = Path(sys.argv[1])
    with _files.replacing(folder / "x") as file, _files.replacing_folder(folder / "model") as model:
        (model / "a").write_text("half")
        file.write(b"half")
        file.flush()
        if sys.argv[2] == "die":
            os.kill(os.getpid(), 9)
        print("ready", flush=True)
        sys.stdin.read()
"""


def test_the_next_writer_sweeps_what_the_dead_left(tmp_path):
    assert run(DYING, tmp_path, "die").returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    (tmp_path / ".qviz-0123456789abcdef.tmp").touch()  # not a name of ours
    (tmp_path / "mine.tmp").touch()
    _files.write_bytes(tmp_path / "other", b"new")
    assert names(tmp_path) == [".qviz-0123456789abcdef.tmp", "mine.tmp", "other"]


def test_a_zombie_counts_as_dead(tmp_path):
    code = textwrap.dedent(DYING)
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path, "die"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert len(names(tmp_path)) == 2
    _files.sweep(tmp_path)
    assert names(tmp_path) == []
    child.wait()


def test_what_the_living_write_is_left_alone(tmp_path, monkeypatch):
    command = [sys.executable, "-c", textwrap.dedent(DYING), str(tmp_path), "live"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        before = names(tmp_path)
        _files.sweep(tmp_path)
        assert names(tmp_path) == before
        monkeypatch.setattr(scratch.Owner, "gone", lambda self, age: True)  # another container, say
        _files.sweep(tmp_path)
        assert names(tmp_path) == before, "its lock says that it lives"
        child.communicate("")
        assert child.returncode == 0
    assert names(tmp_path) == ["model", "x"]


ME = scratch.Owner.this()


@pytest.mark.parametrize(
    ("owner", "age", "gone"),
    [
        (ME, 0, False),
        (ME._replace(start=ME.start - 1), 0, True),  # the number was given to another process
        (ME._replace(boot="1" * 8), 0, True),  # the machine was started anew
        (ME._replace(host="1" * 8, boot="1" * 8), 1e9, False),  # another machine on a shared drive
        (ME._replace(pids="1" * 8), 0, False),  # another container: only its lock tells
        (ME._replace(pids="1" * 8), 1e4, True),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell when a process started")
def test_who_is_gone(owner, age, gone):
    assert owner.gone(age) is gone


def test_many_may_sweep_at_once(tmp_path):
    host, boot, pids, pid, start = ME
    for i in range(50):
        left = tmp_path / f".qviz-{host}-{boot}-{pids}-{pid}-{start - 1}-{i:08x}.tmp"
        left.mkdir()
        (left / "a").touch()
    code = "import sys; from pathlib import Path; from qviz import _files; _files.sweep(Path(sys.argv[1]))"
    children = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert names(tmp_path) == []
