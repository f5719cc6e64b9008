"""Opening a model: shipped in ``data/``, put into the user's cache by `fetch`, or any GGUF file.

===================  =================================================================================
name                 what it is
===================  =================================================================================
``tiny``             a small trained model, whole, in ``data/``
``smollm2-slices``   some real tensors of SmolLM2-135M-Instruct, in ``data/``: nothing to download
``smollm2``          the whole of it, 94 MB, once ``qviz fetch smollm2`` has been run
``gemma3-270m``      Gemma 3 of 270 M weights in Q4_K_M, 253 MB, under Gemma's terms; fetched as well
``whisper-slices``   some tensors of Whisper tiny.en, in ``data/``
``whisper-tiny.en``  the whole of it, for whisper.cpp, 78 MB; fetched as well
===================  =================================================================================

The same cell works with a whole model and with slices: ``qviz.load("smollm2", fallback=True)`` opens the whole model
if it has been fetched and the slices if not, and what it returns says which.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qviz import gguf
from qviz.errors import ModelNotFoundError, printable, shortened
from qviz.formats.base import QTensor
from qviz.gguf import legacy
from qviz.gguf.legacy import LegacyFile
from qviz.models.known import KNOWN, SHIPPED, cache_dir, data_dir, size_of


class Model(Mapping[str, QTensor]):
    """An open model: a mapping from tensor name to `QTensor`, in the order of its file. Made by `load`.

    Attributes
    ----------
    name : str
        As given to `load`, or the file's name.
    file : qviz.gguf.GGUFFile or qviz.gguf.legacy.LegacyFile
        The container.

    Examples
    --------
    >>> model = load("smollm2-slices")
    >>> model["blk.0.attn_q.weight"]
    <QTensor Q4_1 (576, 576): 207360 bytes, 5 bpw>
    >>> model.metadata["llama.block_count"], model.whole
    (30, False)
    """

    def __init__(self, name: str, file: gguf.GGUFFile | LegacyFile) -> None:
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
        unnamed = self.file.model if isinstance(self.file, LegacyFile) else "unknown architecture"
        arch = meta.get("general.architecture", unnamed)
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


def load(name_or_path: str | os.PathLike[str], *, fallback: bool = False) -> Model:
    """Open a model. Only its header is read; tensors are mapped from the file when they are used.

    Parameters
    ----------
    name_or_path : str or path-like
        ``"tiny"``, ``"smollm2"``, ``"smollm2-slices"`` ..., or the path of a GGUF file, or of one from before GGUF.
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
            if size_of(path) == KNOWN[name].nbytes:
                return Model(name, _open(path))
            if fallback and KNOWN[name].slices:
                return load(KNOWN[name].slices)
            raise ModelNotFoundError(not_fetched(name, path))
        if name in SHIPPED:
            path = data_dir() / SHIPPED[name]
            if not path.is_file():
                raise ModelNotFoundError(
                    f"the model {shortened(name)} is not part of this version of qviz ({path} does not exist); "
                    f"qviz.load('smollm2-slices') opens real tensors without a download"
                )
            return Model(name, gguf.read(path))
        looks_like_a_path = Path(name).name != name or name.lower().endswith(".gguf")
        if not name or not (looks_like_a_path or os.path.lexists(name)):
            raise ModelNotFoundError(unknown(name))
    file = _open(name_or_path)
    return Model(file.path.name, file)


def _open(path: str | os.PathLike[str]) -> gguf.GGUFFile | LegacyFile:
    return legacy.read(path) if legacy.is_legacy(path) else gguf.read(path)


def not_fetched(name: str, path: Path) -> str:
    """Say how to get a model that is not here, or not whole."""
    here = f"{path} is incomplete" if path.exists() else "it has not been downloaded yet"
    size = KNOWN[name].nbytes / 1e6
    get = f"the model {name!r} is not on this machine ({here}); run `qviz fetch {name}` once ({size:.0f} MB)"
    if not KNOWN[name].slices:
        return get
    return f"{get}, or use qviz.load({name!r}, fallback=True), which opens the slices of it that come with qviz"


def unknown(name: object) -> str:
    """Say which models there are, to somebody who asked for another."""
    names = [*KNOWN, *SHIPPED]
    close = difflib.get_close_matches(name, names, 1) if isinstance(name, str) else []
    hint = f"; did you mean {close[0]!r}?" if close else ""
    known = ", ".join(names)
    return f"no model or file {shortened(name)}{hint}; known models: {known}; or give the path of a .gguf file"
