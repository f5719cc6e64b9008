"""Whole models: read from the memory map, quantize piece by piece on all cores, write what llama.cpp would write.

Tensors are cut into pieces of whole rows. Pieces are quantized by a pool of threads (the kernels do not hold Python's
lock) or by the workers of a Dask cluster, and written in the order of the file as they are ready. Only a few are in
flight at a time, so memory does not grow with the model. No row depends on another, so neither the size of the
pieces nor who quantizes them changes a byte.

**What equals llama.cpp's output byte for byte**: the whole file, for every recipe under the modern rules, from
sources in F32, F16 or BF16, or in a quantized format with `allow_requantize`. Exceptions, each on purpose:

- a source whose ``general.alignment`` is not 32: llama.cpp copies the key but pads to 32, and cannot open what it
  wrote; here the file is padded as it says;
- metadata strings that hold a zero byte, which llama.cpp cuts off there, and arrays of arrays, which it refuses;
- sources that llama.cpp cannot open: GGUF version 1, big-endian files, architectures that it does not know, tensors of
  four dimensions;
- two architectures with rules of their own, GLM-5-Next and Bailing-MoE-3, which get the general ones here.

**And whisper.cpp's**: a model in its own format becomes, byte for byte, what its ``quantize`` tool writes. Where that
writes a damaged file (rows that are not whole blocks), or copies NaN, this refuses.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz import gguf, recipes
from qviz._arguments import reporter
from qviz._arrays import real_array
from qviz._files import as_path, refuse_no_place, refuse_source
from qviz._types import FloatArray, Progress
from qviz.calibration import imatrix as imatrices
from qviz.errors import ImatrixError, PipelineError, shortened
from qviz.formats import Format, QTensor
from qviz.gguf import legacy
from qviz.gguf.foreign import ForeignFormat, refusal
from qviz.gguf.legacy import whisper
from qviz.recipes import NO_SWITCHES, Recipe, Switches, TensorChoice
from qviz.recipes import whisper as whisper_recipes
from qviz.whole.workers import cluster as clusters
from qviz.whole.workers import pools
from qviz.whole.workers.pieces import Blocks, Piece, convert
from qviz.whole.workers.pools import Pool, Result

ModelFile = gguf.GGUFFile | legacy.LegacyFile

# Weights in a piece: large enough that Python's share of the time is lost in the noise, small enough for the cache.
_PIECE = 1 << 19

QUANTIZATION_VERSION = 2
"""What files say under ``general.quantization_version``: the layout of the blocks since May 2023."""

_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")
_VERSION_KEY, _TYPE_KEY = "general.quantization_version", "general.file_type"
_LONGEST_TEXT = 127  # llama.cpp keeps an overridden string in 128 bytes


@dataclass(frozen=True, slots=True)
class Quantized:
    """What `quantize_model` did.

    Parameters
    ----------
    path : pathlib.Path
        The new file.
    recipe : Recipe
    choices : list of TensorChoice
        Every tensor, its format, and why; in the order of the file.
    source_nbytes, nbytes : int
        Bytes of all tensors, before and after.
    seconds : float
    without_imatrix : list of str
        If an importance matrix was given: tensors that were quantized without one, because it does not name them.
    """

    path: Path
    recipe: Recipe
    choices: list[TensorChoice]
    source_nbytes: int
    nbytes: int
    seconds: float
    without_imatrix: list[str]

    @property
    def bpw(self) -> float:
        """Bits per weight of the new file's tensors."""
        return 8 * self.nbytes / max(sum(choice.n_weights for choice in self.choices), 1)


def quantize_model(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    recipe: str | Recipe,
    imatrix: str | os.PathLike[str] | Mapping[str, npt.ArrayLike] | None = None,
    rules: str = "modern",
    threads: int | None = None,
    dask: Any = None,
    progress: Progress | None = None,
    *,
    allow_requantize: bool = False,
    switches: Switches = NO_SWITCHES,
) -> Quantized:
    """Quantize a whole model, byte for byte as llama.cpp's ``llama-quantize`` does, or whisper.cpp's ``quantize``.

    The new file appears whole or not at all: it is written beside `dst` under another name, flushed to the disk and
    then renamed.

    Parameters
    ----------
    src : path-like
        A GGUF model in F32, F16 or BF16; any part of a split one. It becomes one file. Or a model of whisper.cpp,
        which stays in whisper.cpp's format.
    dst : path-like
        The new file; an existing one is replaced, unless it is `src`.
    recipe : str
        ``"Q4_K_M"`` ...; see `qviz.recipes.RECIPES`. Of whisper.cpp: `qviz.recipes.whisper.RECIPES`.
    imatrix : path-like, Imatrix or mapping of str to array, optional
        Importance of each input column of each tensor. Of a file or an `Imatrix`, the new file says where it came
        from, in the keys ``quantize.imatrix.*``.
    rules : {"modern", "2023-06", "uniform"}
        Which tensor gets which format; see `qviz.recipes.RULES`.
    threads : int, optional
        How many threads to use; one a core unless given. Not a byte depends on it.
    dask : str or distributed.Client, optional
        Address of a Dask scheduler, whose workers then do the work. They need the same qviz, which is compared by
        its sources, but not the file. What a frozen or dead worker had goes to another.
    progress : callable ``(tensor, done, total)``, optional
        Called after every piece, in bytes of the source and in the thread that called this. What it raises ends
        the job.
    allow_requantize : bool
        Accept tensors that are quantized already. Their errors add up.
    switches : qviz.recipes.Switches
        How the recipe is changed: formats of single tensors, layers left out, metadata, a split model that stays split.
        Then `dst` is the beginning of the names of its parts: ``out.gguf`` makes ``out-00001-of-00003.gguf``.

    Returns
    -------
    Quantized

    Raises
    ------
    PipelineError
        `dst` is `src`; the source is quantized already, or holds NaN or infinity; a weight is beyond the range of the
        format; a Dask cluster that fails.
    RecipeError, ImatrixError, GGUFError, ModelNotFoundError
        From the recipe, the importance matrix, and the files.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> weights = np.ones((4, 64), np.float32)
    >>> source = gguf.write(folder / "f32.gguf", {"general.architecture": "llama"}, {"blk.0.attn_q.weight": weights})
    >>> quantize_model(source, folder / "q8.gguf", "Q8_0").bpw
    8.5
    """
    started, report = time.perf_counter(), reporter(progress, PipelineError)
    importance = _open_imatrix(imatrix)
    with open_model(src) as file:
        named = [] if importance is None else switches.chosen(importance)
        importance = importance if named else None
        chosen, choices = plan(file, recipe, rules, imatrix=importance is not None, switches=switches)
        columns: dict[str, FloatArray | None] = {}
        if importance is not None:
            columns = {
                c.name: _columns(importance, c) if c.source_name in named else None for c in choices if c.quantized
            }
        for choice in choices:
            _check(choice, columns.get(choice.name), chosen, importance is not None, allow_requantize)
        outputs = _outputs(as_path(dst), file, choices, switches)
        for target, _ in outputs:
            refuse_source(target, file.paths, PipelineError)
        job = _Job(file, choices, columns, report)
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(pools.threads(threads) if dask is None else clusters.dask(dask))
            streams: dict[str, gguf.TensorStream] = {}
            for k, (target, part) in enumerate(outputs):
                numbers = _split_keys(k, outputs) if len(outputs) > 1 else {}
                metadata = gguf.Metadata()
                if k == 0 and isinstance(file, gguf.GGUFFile):
                    metadata = output_metadata(file.metadata, chosen, importance, switches, choices)
                stream = stack.enter_context(_stream(target, file, part, chosen, metadata | numbers))
                streams |= dict.fromkeys((c.name for c in part), stream)
            job.run(pool, streams)
        target = outputs[0][0]
    return Quantized(
        path=target,
        recipe=chosen,
        choices=choices,
        source_nbytes=sum(c.source_nbytes for c in choices),
        nbytes=sum(c.nbytes for c in choices),
        seconds=time.perf_counter() - started,
        without_imatrix=[
            c.name for c in choices if c.name in columns and columns[c.name] is None and c.format is not c.source
        ],
    )


# -- what is read, and what it becomes


def open_model(path: str | os.PathLike[str]) -> ModelFile:
    """Open a file that `quantize_model` takes: GGUF, or a model of whisper.cpp.

    Raises
    ------
    PipelineError
        A LLaMA file from before GGUF.
    GGUFError, ModelNotFoundError
        As from reading it.
    """
    if not legacy.is_legacy(path):
        return gguf.read(path)
    file = legacy.read(path, mapped=False)
    if file.model != "whisper":
        file.close()
        raise PipelineError(f"{file.path} is from before GGUF; run `qviz convert` on it, and quantize what that makes")
    return file


def plan(
    file: ModelFile, recipe: str | Recipe, rules: str, *, imatrix: bool, switches: Switches = NO_SWITCHES
) -> tuple[Recipe, list[TensorChoice]]:
    """The recipe, and what it makes of every tensor; see `qviz.recipes.plan` and `qviz.recipes.whisper.plan`."""
    if isinstance(file, gguf.GGUFFile):
        chosen = recipes.get_recipe(recipe)
        return chosen, recipes.plan(file, file.metadata, chosen, rules, imatrix=imatrix, switches=switches)
    if imatrix or switches != NO_SWITCHES or rules != "modern":
        what = "an importance matrix" if imatrix else "switches" if switches != NO_SWITCHES else f"rules={rules!r}"
        raise PipelineError(
            f"{file.path} is a model of whisper.cpp, which gives every matrix one format; leave out {what}"
        )
    return whisper_recipes.get_recipe(recipe), whisper_recipes.plan(file.tensor_info, recipe)


def _stream(
    target: Path, file: ModelFile, choices: list[TensorChoice], recipe: Recipe, metadata: gguf.Metadata
) -> AbstractContextManager[gguf.TensorStream]:
    tensors = {choice.name: choice for choice in choices}
    if isinstance(file, gguf.GGUFFile):
        return gguf.stream(target, metadata, tensors)
    assert file.mel_filters is not None
    header = {**file.header, "ftype": whisper.VERSION_FACTOR * QUANTIZATION_VERSION + recipe.file_type}
    return whisper.stream(target, header, file.mel_filters, file.vocabulary.tokens, tensors)


# -- before anything is written


def _open_imatrix(imatrix: Any) -> Mapping[str, Any] | None:
    if imatrix is None or isinstance(imatrix, Mapping):
        return imatrix
    return imatrices.read(imatrix)


def refuse_quantized(name: str, fmt: Format, allow_requantize: bool) -> None:
    """Refuse a tensor that is quantized already, unless that is allowed."""
    if fmt.block_size > 1 and not allow_requantize:
        raise PipelineError(
            f"{name!r} is quantized already ({fmt}), and quantizing it again adds a second error; "
            f"start from the F16 or F32 model, or pass allow_requantize=True (--allow-requantize)"
        )


def _columns(importance: Mapping[str, Any], choice: TensorChoice) -> FloatArray | None:
    """Importance of each column, (experts, n) or (1, n); None if there is none for this tensor."""
    if choice.source_name not in importance:
        return None
    values = real_array(importance[choice.source_name], f"importance of {choice.name!r}", ImatrixError)
    experts, n = (choice.shape[0] if len(choice.shape) == 3 else 1), choice.shape[-1]
    if values.size != experts * n:
        if choice.name in ("token_embd.weight", "per_layer_token_embd.weight"):
            return None  # an embedding is looked up, not multiplied: what was measured is the output matrix's input
        raise ImatrixError(
            f"the importance matrix does not fit tensor {shortened(choice.name)}: is it of another model?",
            found=f"{values.size} values",
            expected=f"{experts * n}",
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise ImatrixError(f"the importance of {choice.name!r} holds a negative, NaN or infinite value")
    return values.reshape(experts, n)


def _check(
    choice: TensorChoice, columns: FloatArray | None, recipe: Recipe, with_imatrix: bool, allow_requantize: bool
) -> None:
    """Refuse what cannot be done before an hour has been spent on it."""
    if choice.needs_imatrix and columns is None:
        why = "the one given does not name this tensor" if with_imatrix else "pass imatrix=... (--imatrix)"
        raise PipelineError(
            f"{recipe.name} needs an importance matrix for {choice.name!r}, which becomes {choice.format}: so few bits "
            f"leave nothing of it without; make one with `qviz imatrix MODEL OUT`; {why}"
        )
    if isinstance(choice.source, ForeignFormat):
        raise PipelineError(f"tensor {shortened(choice.name)} cannot be copied: {refusal(choice.source)}")
    if choice.format is choice.source or not choice.n_weights:
        return
    if not (choice.format.can_encode or choice.format.needs_imatrix):
        raise PipelineError(f"{choice.name!r} should become {choice.format}, which can be read here but not written")
    refuse_quantized(choice.name, choice.source, allow_requantize)
    if not choice.source.can_decode:
        raise PipelineError(f"{choice.name!r} is stored in {choice.source}, which cannot be turned into weights")


def output_metadata(
    source: gguf.Metadata,
    recipe: Recipe,
    importance: Mapping[str, Any] | None = None,
    switches: Switches = NO_SWITCHES,
    choices: Sequence[TensorChoice] = (),
) -> gguf.Metadata:
    """The source's keys in their order, then the ones that say what was done.

    Parameters
    ----------
    source : qviz.gguf.Metadata
    recipe : Recipe
    importance : Imatrix or mapping, optional
        The keys say where it came from, if it is an `Imatrix`.
    switches : Switches
        A key that they override gets their value.
    choices : sequence of TensorChoice
        Only needed where layers are pruned: they are counted.

    Returns
    -------
    qviz.gguf.Metadata
    """
    added: dict[str, Any] = {_VERSION_KEY: gguf.U32(QUANTIZATION_VERSION), _TYPE_KEY: gguf.U32(recipe.file_type)}
    for key, value in switches.override_kv.items():
        added.pop(key, None)
        added[key] = _overridden(value)
    if isinstance(importance, imatrices.Imatrix):
        texts = {"file": importance.path, "dataset": importance.datasets[0] if importance.datasets else None}
        added |= {f"quantize.imatrix.{key}": _shortened(text) for key, text in texts.items() if text is not None}
        added["quantize.imatrix.entries_count"] = gguf.U32(len(switches.chosen(importance)))
        if importance.chunk_count > 0:
            added["quantize.imatrix.chunks_count"] = gguf.U32(importance.chunk_count)
    if switches.prune_layers:
        key = f"{source.get('general.architecture', 'llama')}.block_count"
        added.pop(key, None)
        added[key] = gguf.U32(max(recipes.file_order(choice.name)[0] for choice in choices) + 1)
    return source.without(*_SPLIT_KEYS, *added) | added


def _overridden(value: float | bool | str) -> Any:
    """As llama.cpp types it: whole numbers without their sign, in 32 bits."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return gguf.U32(abs(value) & 0xFFFF_FFFF)
    return gguf.F32(value) if isinstance(value, float) else _shortened(value)


def _outputs(
    target: Path, file: ModelFile, choices: list[TensorChoice], switches: Switches
) -> list[tuple[Path, list[TensorChoice]]]:
    """The files to write, each with its tensors."""
    if not switches.keep_split or not isinstance(file, gguf.GGUFFile):
        return [(target, choices)]
    parts = [[c for c in choices if c.source_name in part.tensor_info] for part in file.parts]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    stem = target.name.removesuffix(".gguf")
    if not target.name:
        refuse_no_place(target, PipelineError)  # "", "." and "/" are folders
    return [(target.with_name(f"{stem}-{k + 1:05d}-of-{len(parts):05d}.gguf"), part) for k, part in enumerate(parts)]


def _split_keys(k: int, outputs: list[tuple[Path, list[TensorChoice]]]) -> dict[str, Any]:
    values = gguf.U16(k), gguf.U16(len(outputs)), gguf.I32(sum(len(part) for _, part in outputs))
    return dict(zip(_SPLIT_KEYS, values, strict=True))


def _shortened(text: str) -> str:
    return text.encode("utf-8", "surrogateescape")[:_LONGEST_TEXT].decode("utf-8", "surrogateescape")


# -- the work


class _Rows(NamedTuple):
    """Some rows of a tensor that are to be read, and where to; `nbytes` of the source."""

    choice: TensorChoice
    first: int
    last: int
    nbytes: int
    importance: FloatArray | None
    buffer: bytearray


class _Job:
    """Cuts the tensors, keeps a bounded number of pieces in flight, writes what is ready."""

    def __init__(
        self,
        file: ModelFile,
        choices: list[TensorChoice],
        columns: Mapping[str, FloatArray | None],
        report: Progress,
    ) -> None:
        self._file, self._choices, self._columns = file, choices, columns
        self._report = report
        self._total = sum(choice.source_nbytes for choice in choices)
        self._done = 0
        self._buffers: list[bytearray] = []  # of pieces that are written, for those to come

    def run(self, pool: Pool, streams: Mapping[str, gguf.TensorStream]) -> None:
        """Write each tensor to the stream that has its name."""
        waiting: deque[tuple[_Rows, Result]] = deque()
        # one more than can be worked on, so that nobody waits while the oldest is written
        window = pool.width + 1
        largest = max((choice.n_weights for choice in self._choices), default=1)
        # a piece in flight takes up to 12 bytes a weight: as read, as float32, and as written
        size = min(_PIECE, -(-largest // window))
        self._file.unchanged(header=True)
        for rows in self._rows(size):
            waiting.append((rows, pool.begin(functools.partial(self._read, rows))))
            if len(waiting) == window:
                self._finish(*waiting.popleft(), streams)
        while waiting:
            self._finish(*waiting.popleft(), streams)
        self._file.unchanged(header=True)

    def _rows(self, size: int) -> Iterator[_Rows]:
        for choice in self._choices:
            if not choice.n_weights:
                continue
            n = choice.shape[-1]
            columns = self._columns.get(choice.name)
            slabs = 1 if columns is None else len(columns)  # experts, each with an importance of its own
            rows = choice.n_weights // n // slabs
            step = max(size // n, 1)
            for slab in range(slabs):
                for first in range(slab * rows, (slab + 1) * rows, step):
                    last = min(first + step, (slab + 1) * rows)
                    nbytes = (last - first) * choice.source.row_size(n)
                    buffer = self._buffers.pop() if self._buffers else bytearray()
                    if len(buffer) < nbytes:
                        buffer = bytearray(nbytes)
                    yield _Rows(choice, first, last, nbytes, None if columns is None else columns[slab], buffer)

    def _read(self, rows: _Rows) -> Piece:
        """A piece, read from the file: who looks at a map of a file that somebody cuts dies of it."""
        choice = rows.choice
        part = self._file.read_rows(choice.source_name, rows.first, rows.last, rows.buffer)
        return Piece(choice.name, rows.first, part, choice.format, rows.importance)

    def _finish(self, rows: _Rows, result: Result, streams: Mapping[str, gguf.TensorStream]) -> None:
        blocks = result.result()
        streams[rows.choice.name].append(blocks)
        self._done += rows.nbytes
        self._buffers.append(rows.buffer)
        self._report(rows.choice.name, self._done, self._total)


def converted(tensor: QTensor, choice: TensorChoice) -> Iterator[Blocks]:
    """The blocks of one tensor in its new format, a few rows at a time.

    Parameters
    ----------
    tensor : QTensor
    choice : TensorChoice

    Yields
    ------
    array of ``choice.format.dtype`` (rows, blocks a row)

    Raises
    ------
    PipelineError
        As from `convert`.
    """
    blocks = tensor.blocks.reshape(-1, tensor.blocks.shape[-1])
    step = max(_PIECE // choice.shape[-1], 1)
    for first in range(0, len(blocks), step):
        rows = blocks[first : first + step]
        source = QTensor(tensor.format, rows, (len(rows), choice.shape[-1]))
        yield convert(Piece(choice.name, first, source, choice.format, None))
