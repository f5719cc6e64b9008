"""Progress is written whole, comes back, and is never thrown away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from qviz.course import lesson
from qviz.course.lesson import bank
from qviz.course.lesson.progress_file import Answer, Store, StudentProgress
from qviz.errors import ProgressError

FIRST = Answer("a", False, 0.6, 3, "2026-01-01T10:00:00Z")
LATER = Answer("b", True, 0.9, 3, "2026-01-02T10:00:00Z")


@pytest.fixture
def store(progress_path):
    return Store(progress_path)


def others(path):
    """What else lies in the folder, but for the lock."""
    return sorted(p.name for p in path.parent.iterdir() if p not in (path, path.with_name(f".{path.name}.lock")))


def test_there_and_back(store, progress_path):
    store.record("00.1", FIRST)
    store.record("05.3", LATER)
    assert Store(progress_path).load().answers == {"00.1": FIRST, "05.3": LATER}
    assert json.loads(progress_path.read_text())["qviz_progress"] == 1
    assert others(progress_path) == [], "no scratch files"


def test_the_earlier_answer_counts_whichever_comes_first(store):
    store.record("00.1", LATER)
    assert store.bring_back(StudentProgress({"00.1": FIRST, "00.2": LATER}).text()) == 2
    assert store.load().answers == {"00.1": FIRST, "00.2": LATER}
    store.bring_back(StudentProgress({"00.1": LATER}).text())
    assert store.load().answers["00.1"] == FIRST


def test_an_answer_to_a_question_that_moved_counts_under_its_id_of_today(monkeypatch):
    monkeypatch.setattr(bank, "moved", lambda: {"07.5": "15.2"})
    before = StudentProgress({"07.5": FIRST, "99.9": LATER}).text()
    assert StudentProgress.from_text(before).answers == {"15.2": FIRST, "99.9": LATER}
    both = StudentProgress({"07.5": FIRST, "15.2": LATER}).text()
    assert StudentProgress.from_text(both).answers == {"15.2": FIRST}, "the earlier one counts"


def test_two_notebooks_do_not_lose_each_others_answers(progress_path):
    one, two = Store(progress_path), Store(progress_path)
    one.load(), two.load()
    one.record("00.1", FIRST)
    two.record("00.2", LATER)
    one.record("00.3", LATER)
    assert set(Store(progress_path).load().answers) == {"00.1", "00.2", "00.3"}


def test_a_reader_never_sees_half_a_file(progress_path):
    store, stop, seen = Store(progress_path), threading.Event(), []

    def read():
        while not stop.is_set():
            if progress_path.exists():
                seen.append(len(StudentProgress.from_text(progress_path.read_text()).answers))

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(60):
        store.record(f"00.{i}", FIRST)
    stop.set()
    thread.join()
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"qviz_progress": 1, "answ', "damaged"),
        ("", "damaged"),
        ("[]", "qviz_progress"),
        ('{"answers": {}}', "qviz_progress"),
        ('{"qviz_progress": true}', "qviz_progress"),
        ('{"qviz_progress": 1, "answers": []}', "no list of questions"),
        ('{"qviz_progress": 1, "answers": {"00.1": {"option": "a"}}}', "answer '00.1' has right = None, expected bool"),
        (
            '{"qviz_progress": 1, "answers": {"00.1": {"option": "a", "right": true, "confidence": 7, "options": 3, '
            '"at": "x"}}}',
            "confidence 7 (expected 0 … 1)",
        ),
        ("[" * 100_000, "damaged"),
        ("\x00" * 50, "damaged"),
    ],
)
def test_a_damaged_file_is_kept_aside_and_said(store, progress_path, text, why):
    progress_path.parent.mkdir()
    progress_path.write_text(text)
    with pytest.raises(ProgressError) as error:
        store.load()
    assert why in str(error.value)
    assert "kept as progress.damaged-1.json" in str(error.value)
    assert (progress_path.parent / "progress.damaged-1.json").read_text() == text
    assert store.load().answers == {}
    progress_path.write_text("{")  # a second one does not replace the first
    store.record("00.1", FIRST)
    assert others(progress_path) == ["progress.damaged-1.json", "progress.damaged-2.json"]
    assert "damaged-2" in store.problem
    assert Store(progress_path).load().answers == {"00.1": FIRST}
    store.record("00.2", FIRST)
    assert store.problem == ""


def test_bytes_that_are_no_text(store, progress_path):
    progress_path.parent.mkdir()
    progress_path.write_bytes(b"\xff\xfe\x00\xd8")  # half of a character
    with pytest.raises(ProgressError, match="not a text"):
        store.load()
    assert others(progress_path) == ["progress.damaged-1.json"]


def test_a_file_of_a_later_version_stays_as_it_is(store, progress_path):
    progress_path.parent.mkdir()
    text = '{"qviz_progress": 2, "answers": {"00.1": "in a new form"}}'
    progress_path.write_text(text)
    with pytest.raises(ProgressError, match="version 2, and this qviz reads up to 1; update qviz"):
        store.load()
    store.record("00.1", FIRST)
    assert "update qviz" in store.problem
    assert progress_path.read_text() == text
    assert others(progress_path) == []


def test_a_folder_that_cannot_be_written_is_said_and_answers_still_count(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "progress.json")
    store.record("00.1", FIRST)
    assert "cannot be kept" in store.problem
    assert "QVIZ_PROGRESS" in store.problem
    assert store._progress.answers == {"00.1": FIRST}


def test_a_write_that_fails_leaves_the_old_file(store, progress_path, monkeypatch):
    store.record("00.1", FIRST)
    before = progress_path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    store.record("00.2", FIRST)
    assert "No space left" in store.problem
    assert progress_path.read_bytes() == before
    assert others(progress_path) == []


def test_what_is_brought_back_is_checked_first(store, progress_path):
    store.record("00.1", FIRST)
    before = progress_path.read_bytes()
    for text in ("a photograph", "{}", "x" * 2**21, '{"qviz_progress": 9}'):
        with pytest.raises(ProgressError):
            store.bring_back(text)
    assert progress_path.read_bytes() == before
    assert others(progress_path) == []


def test_starting_over_keeps_the_old_file(store, progress_path):
    store.record("00.1", FIRST)
    before = progress_path.read_bytes()
    kept = store.start_over()
    assert kept.name == "progress.before-1.json"
    assert kept.read_bytes() == before
    assert store.load().answers == {}
    assert store.start_over() is None
    assert store.bring_back(kept.read_text()) == 1, "and it can be brought back"


def test_where_it_is(monkeypatch, tmp_path, progress_path):
    assert lesson.store().path == progress_path
    assert lesson.store() is lesson.store()
    monkeypatch.setenv("QVIZ_PROGRESS", str(tmp_path))
    assert lesson.store().path == tmp_path / "progress.json"
    monkeypatch.delenv("QVIZ_PROGRESS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert lesson.store().path.name == "progress.json"
    assert "qviz" in lesson.store().path.parts


def test_looking_writes_nothing(progress_path):
    lesson.predict("00.1")
    lesson.score()
    lesson.progress()
    lesson.check("05.bits", 4.5)
    assert not progress_path.parent.exists()


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with a mark", "utf-16-be with a mark"])
def test_a_file_that_an_editor_has_saved(code, store, progress_path):
    """Notepad writes a mark at the head, and calls UTF-16 "Unicode"."""
    text = StudentProgress({"00.1": FIRST}).text()
    marked = code.endswith("mark")
    raw = ("\ufeff" + text).encode(code[:9]) if marked else text.encode(code)
    progress_path.parent.mkdir()
    progress_path.write_bytes(raw)
    store.record("00.2", LATER)
    assert not store.problem
    assert Store(progress_path).load().answers == {"00.1": FIRST, "00.2": LATER}
    assert others(progress_path) == []


def test_half_a_character_stops_no_save(store, progress_path):
    odd = Answer("\ud83d", False, 0.5, 3, "2026-01-01")
    store.bring_back(json.dumps({"qviz_progress": 1, "answers": {"00.\udc00": odd.__dict__}}))
    store.record("00.1", FIRST)
    assert not store.problem
    found = Store(progress_path).load().answers
    assert set(found) == {"00.\ufffd", "00.1"}
    assert found["00.\ufffd"].option == "\ufffd"


def test_a_link_is_written_through(tmp_path, progress_path):
    real, link = tmp_path / "synced" / "mine.json", progress_path
    real.parent.mkdir()
    link.parent.mkdir()
    link.symlink_to(real)
    store = Store(link)
    store.record("00.1", FIRST)
    assert link.is_symlink()
    assert set(json.loads(real.read_text())["answers"]) == {"00.1"}
    real.write_text("{")
    with pytest.raises(ProgressError, match=r"mine\.damaged-1\.json"):
        store.load()
    assert link.is_symlink(), "what is damaged is moved, not the link to it"
    store.record("00.2", FIRST)
    assert store.start_over() == real.with_name("mine.before-1.json")
    assert link.is_symlink()


SAVER = """
import sys, time
from qviz.course.lesson.progress_file import Answer, Store
from pathlib import Path
path, who = Path(sys.argv[1]), sys.argv[2]
store = Store(path)
while not path.with_name("go").exists():
    time.sleep(0.01)
for n in range(20):
    store.record(f"{who}.{n}", Answer("a", True, 0.5, 3, "2026-01-01T10:00:00Z"))
print(store.problem)
"""


def test_six_kernels_that_save_at_once_lose_nothing(progress_path):
    progress_path.parent.mkdir()
    command = [sys.executable, "-c", SAVER, str(progress_path)]
    kernels = [subprocess.Popen([*command, str(k)], stdout=subprocess.PIPE, text=True) for k in range(6)]
    progress_path.with_name("go").touch()
    assert [kernel.communicate()[0].strip() for kernel in kernels] == [""] * 6
    wanted = {f"{k}.{n}" for k in range(6) for n in range(20)}
    assert set(Store(progress_path).load().answers) == wanted


def test_told_once_and_written_when_it_works_again(store, progress_path, monkeypatch):
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(full))
        assert "No space left" in store.record("00.1", FIRST)
        assert store.record("00.2", FIRST) == "", "told once"
        assert "No space left" in store.problem, "the panel still says it"
    assert set(store.load().answers) == {"00.1", "00.2"}
    assert set(Store(progress_path).load().answers) == {"00.1", "00.2"}, "written without another answer"
    assert "kept again" in store.record("00.3", FIRST)
    assert store.record("00.4", FIRST) == ""


def test_what_could_not_be_written_is_written_at_the_end(progress_path):
    script = """
import os
from qviz.course import lesson
from qviz.course.lesson.progress_file import Answer
works, os.fsync = os.fsync, lambda _: 1 / 0 if False else (_ for _ in ()).throw(OSError(28, "full"))
assert lesson.store().record("00.1", Answer("a", True, 0.5, 3, "2026-01-01T10:00:00Z"))
os.fsync = works
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert set(Store(progress_path).load().answers) == {"00.1"}


def test_a_clock_that_goes_wrong_changes_no_first_answer(progress_path):
    one, two = Store(progress_path), Store(progress_path)
    one.record("00.1", LATER)
    two.record("00.1", Answer("c", False, 1.0, 3, "1970-01-01T00:00:00Z"))
    assert Store(progress_path).load().answers == {"00.1": LATER}


@pytest.mark.parametrize(
    "entry",
    [
        {"confidence": True},
        {"options": True},
        {"options": 10**9},
        {"options": 2.5},
        {"right": 1},
        {"option": None},
        {"at": 17},
        {"confidence": float("nan")},
        {"confidence": "0.5"},
        {"option": {"a": {"b": ["c"] * 50}}},
    ],
    ids=str,
)
def test_wrong_types_are_named(entry):
    text = json.dumps({"qviz_progress": 1, "answers": {"00.1": FIRST.__dict__ | entry}})
    with pytest.raises(ProgressError, match=next(iter(entry))) as error:
        StudentProgress.from_text(text)
    assert "00.1" in str(error.value)
    assert len(str(error.value)) < 400


def test_what_is_far_from_a_progress_file_stays_where_it_is(store, progress_path, tmp_path):
    """Somebody pointed QVIZ_PROGRESS at it by mistake: another file, a folder, a pipe."""
    progress_path.parent.mkdir()
    progress_path.write_bytes(bytes(2**21))
    assert "too large" in store.record("00.1", FIRST)
    assert progress_path.stat().st_size == 2**21
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in Store(tmp_path / "pipe").record("00.1", FIRST)


# -- the panels


def test_the_panel_counts_and_says_what_went_wrong(progress_path):
    panel = lesson.progress()
    lesson.predict("00.1").answer("b", 80)  # it listens
    assert panel.data["rows"][0] == ["00", "1 of 3", "1"]
    assert StudentProgress.from_text(panel.data["file"]).answers["00.1"].right
    panel._message(panel, {"event": "upload", "text": "{}"}, [])
    assert "no progress file" in panel.data["said"]
    assert panel.data["rows"][0] == ["00", "1 of 3", "1"]
    file = panel.data["file"]
    panel._message(panel, {"event": "over"}, [])
    assert panel.data["rows"][0] == ["00", "0 of 3", "–"]
    panel.bring_back(file)
    assert panel.data["said"] == "Brought back: 1 prediction now."
    for nonsense in (None, [], {"event": "delete everything"}, {"event": "upload"}):
        panel._message(panel, nonsense, [])
    assert panel.data["rows"][0] == ["00", "1 of 3", "1"]
    assert repr(panel) == "ProgressPanel()"


def test_the_score_follows_and_its_text_does_not():
    score = lesson.score()
    assert score.figure.panels == {}
    assert "No predictions yet" in score.figure.scene.summary
    lesson.predict("00.1").answer("b", 90)
    lesson.predict("00.2").answer("a", 90)
    lesson.predict("00.3").answer("a", 60)
    scene = score.figure.scene
    # Brier by hand: (0.1² + 0.9² + 0.6²) / 3
    assert "3 predictions: 33 % right, 80 % sure on average, 47 points too sure. Brier score 0.39" in scene.summary
    assert [r.value for r in scene.readouts][1:] == ["33 %", "80 %", "0.39"]
    assert [row[:3] for row in scene.tables[0].rows] == [("60 %", "1", "0 %"), ("90 %", "2", "50 %")]
    assert "3 of at least 10" in scene.status[0].text
    assert repr(score) == "Score()"


def test_the_score_says_what_is_wrong_with_the_file(progress_path):
    progress_path.parent.mkdir()
    progress_path.write_text("{")
    score = lesson.score()
    assert [status.level for status in score.figure.scene.status] == ["error", "info"]
    assert "progress.damaged-1.json" in score.figure.scene.status[0].text
