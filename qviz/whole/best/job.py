"""The file of least damage at a size, from a model and a text."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import gguf, models, recipes, transformer
from qviz._arguments import reporter
from qviz._arrays import finite_number, whole_array
from qviz._files import as_path, open_file, read_arrays, refuse_no_place, refuse_source, replacing
from qviz._types import Progress
from qviz._version import __version__
from qviz.errors import PipelineError, QvizError, shortened
from qviz.formats import QTensor, get, quantize
from qviz.gguf.writer import file_size
from qviz.methods.gptq_format import accepts, gptq_format
from qviz.recipes import TensorChoice
from qviz.recipes.allocate import Allocation, Option, allocate
from qviz.transformer.linear import activation_width
from qviz.whole import by_recipe
from qviz.whole.backward import unknown_parts
from qviz.whole.best import costs
from qviz.whole.best.rounding import Method, rounded_layers
from qviz.whole.best.sensitivity import INPUT_WIDTHS, Sensitivity, measure
from qviz.whole.by_layer.source import Source
from qviz.whole.by_layer.steps import calibration_windows

_TOKENS = 24_576  # with fewer, codes suit the calibration's errors rather than the text's
_SENSED_TOKENS = 8192  # whose gradients are taken: more of them change little in what errors cost
_COST_TOKENS = 4096  # and fewer still in what formats cost
_CHECKED_TOKENS = 2048
_MEASURED = 4  # what is measured, and how it is kept


@dataclass(frozen=True)
class BestFile:
    """What `best_file` did.

    Attributes
    ----------
    path : pathlib.Path
    nbytes : int
        Size of the whole file: at most what was asked for.
    bpw : float
        Bits of the file for each weight.
    formats : dict of str to str
        Tensor -> its format.
    predicted : float
        Divergence of the answers that was expected, before rounding was made better than what was measured.
    measured : float or None
        Divergence on text that follows the calibration's; None if there is none left.
    seconds : float
    """

    path: Path
    nbytes: int
    bpw: float
    formats: dict[str, str]
    predicted: float
    measured: float | None
    seconds: float


def best_file(
    src: str | os.PathLike[str] | models.Model,
    dst: str | os.PathLike[str],
    *,
    size: int | None = None,
    bpw: float | None = None,
    calibration: str | Sequence[int] | None = None,
    n_tokens: int | None = None,
    method: Method | None = None,
    measurements: str | os.PathLike[str] | None = None,
    allow_requantize: bool = False,
    progress: Progress | None = None,
) -> BestFile:
    """Write the GGUF file of at most a size that changes a model's answers least.

    First the model is asked how much its answers depend on each matrix, by gradients on the calibration text; then what
    each format would cost each tensor, and what it costs that a processor rounds the activations that meet it; then
    formats are chosen under the budget (`qviz.recipes.allocate`); then the model is rounded layer by layer. What was
    measured is kept beside `dst` until the file is there, so that work that was ended goes on where it was.

    Parameters
    ----------
    src : Model or path-like
        A model in GGUF: Llama, or a family that differs from it by biases, windows or more norms (Qwen, Gemma 3).
    dst : path-like
        The new file; an existing one is replaced, unless it is `src`.
    size : int, optional
        Bytes of the whole file.
    bpw : float, optional
        Instead: bits for each weight of the model, everything in the file counted.
    calibration : str or sequence of int, optional
        Text, or its tokens; the course's calibration text unless given.
    n_tokens : int, optional
        How many tokens of it to calibrate on: 24,576 unless given, but not more than three quarters of the text.
    method : Method, optional
        Parts of the rounding switched off, to see what they buy.
    measurements : path-like, optional
        Keep here what was measured, and use it if it is of this model and text: for files of several sizes. A file of
        another kind is not replaced.
    allow_requantize : bool
        Accept a model that is quantized already. A tensor that stays in its format stays as it is.
    progress : callable ``(what, done, total)``, optional

    Returns
    -------
    BestFile

    Raises
    ------
    PipelineError
        No size, or one that the smallest formats exceed; a model that is quantized already; a model of another family.
    QvizError
        As from `qviz.quantize_model`; nothing is left behind but what was measured.
    """
    started = time.perf_counter()
    model = src if isinstance(src, models.Model) else models.load(src)
    if method is not None and not isinstance(method, Method):
        raise PipelineError(f"method is {shortened(method)}; a Method or None is wanted")
    target = as_path(dst)
    refuse_source(target, model.file.paths, PipelineError)
    refuse_no_place(target, PipelineError)  # said before minutes of measuring
    kept = target.with_name(target.name + ".measured.npz") if measurements is None else as_path(measurements)
    if kept.exists():  # so is this: there would be no place for them
        open_file(kept, error=PipelineError, wanted="a file for the measurements").close()
    if measurements is not None:
        _refuse_foreign(kept, target, model.file.paths)
    job = _BestJob(model, target, kept, calibration, n_tokens, method or Method(), reporter(progress, PipelineError))
    limit = _limit(size, bpw, job.n_weights)
    for choice in job.choices.values():
        if choice.quantized:
            by_recipe.refuse_quantized(choice.name, choice.source, allow_requantize)
    allocation = job.allocate(limit)
    job.write(allocation)
    measured = job.check()
    if measurements is None:
        kept.unlink(missing_ok=True)
    nbytes = target.stat().st_size
    return BestFile(
        target,
        nbytes,
        8 * nbytes / max(job.n_weights, 1),
        {name: choice.format.name for name, choice in job.chosen(allocation).items()},
        allocation.damage,
        measured,
        time.perf_counter() - started,
    )


def _refuse_foreign(kept: Path, target: Path, sources: Sequence[Path]) -> None:
    """Measurements are not kept in a file of another kind: whose it is, nobody knows."""
    refuse_source(kept, sources, PipelineError)
    if kept.resolve() == target.resolve():
        raise PipelineError(f"{kept}: the measurements would be kept in the new file; choose another name")
    try:  # what `_keep` wrote has the digest that `_key` makes
        ours = not kept.exists() or len(str(read_arrays(kept, error=PipelineError).get("key"))) == 64
    except PipelineError:
        ours = False
    if not ours:
        raise PipelineError(f"{kept}: this file holds no measurements; name another, or delete it")


def _limit(size: Any, bpw: Any, n_weights: int) -> int:
    if (size is None) == (bpw is None):
        raise PipelineError("give the size of the file or its bits per weight (--size or --bpw): one of them")
    given = size if bpw is None else bpw
    number = finite_number(given, "size" if bpw is None else "bpw", PipelineError, above=0)
    return int(size) if bpw is None else int(number * n_weights / 8)


class _BestJob:
    def __init__(
        self,
        model: models.Model,
        target: Path,
        kept: Path,
        calibration: Any,
        n_tokens: int | None,
        method: Method,
        progress: Progress,
    ) -> None:
        self.model, self.target, self.kept, self.method, self.progress = model, target, kept, method, progress
        # the recipe only says which tensors are left alone
        self.choices = {c.name: c for c in recipes.plan(model, model.metadata, "Q4_K_M")}
        self.n_weights = sum(choice.n_weights for choice in self.choices.values())
        self.alignment = int(model.metadata.get("general.alignment", 32))
        self.run = transformer.Transformer(model, activations="float")
        self._check_family()
        self.windows, self.unseen = self._windows(calibration, n_tokens)
        # gradients are taken of some windows, spread over the text; of all where each token counts by its own
        self.sensed = self.windows if method.by_tokens else self.windows[:: -(-self.windows.size // _SENSED_TOKENS)]
        self._sensitivity: Sensitivity | None = None

    def _check_family(self) -> None:
        if odd := unknown_parts(self.run):
            raise PipelineError(
                f"{self.run.architecture.name}: gradients of its {odd} are not known here; "
                f"use a recipe with --method gptq"
            )

    def _windows(self, calibration: Any, n_tokens: int | None) -> tuple[npt.NDArray[np.int64], list[int]]:
        text = models.calibration_text() if calibration is None else calibration
        ids = self.run.tokenizer.encode(text) if isinstance(text, str) else text
        most = self.run.config.n_vocab - 1
        ids = whole_array(ids, "calibration", PipelineError, shape=("n_tokens",), least=0, most=most).tolist()
        if n_tokens is None:
            n_tokens = max(1, min(_TOKENS, len(ids) * 3 // 4))  # the rest is for the check
        windows = calibration_windows(self.run, ids, n_tokens)
        return windows, [int(i) for i in ids[windows.size :]]

    # -- what is measured

    def _key(self, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
        """What was measured, on what: other contents are as good as none."""
        digest = hashlib.sha256(f"{__version__} {_MEASURED} {self.alignment}".encode())
        for name, array in sorted(arrays.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(self.sensed.tobytes())
        stat = self.model.path.stat()
        digest.update(f"{self.model.path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
        for name, choice in self.choices.items():
            digest.update(f"{name} {choice.shape} {choice.source}".encode())
        return digest.hexdigest()

    def _known(self) -> dict[str, Any]:
        """What an earlier run measured of the same model with the same text."""
        with contextlib.suppress(QvizError):
            arrays = read_arrays(self.kept, error=PipelineError)
            key = arrays.pop("key", None)
            if str(key) == self._key(arrays):
                return arrays
        return {}

    def _keep(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        with replacing(self.kept, PipelineError) as file:
            np.savez(file, **{"key": np.array(self._key(arrays)), **arrays})  # type: ignore[arg-type]

    def measure(self, small: bool = False) -> dict[str, list[Option]]:
        """How much the answers depend on each matrix, and what formats cost each tensor; `small`: the smallest, too."""
        known = self._known()
        if "reading" in known:
            sensitivity = Sensitivity.from_arrays(known, self.run.config.n_layers)
        else:
            sensitivity = measure(self.model, self.sensed, progress=self.progress)
            known = dict(sensitivity.as_arrays())
            self._keep(known)
        self._sensitivity = sensitivity
        kept = "small options" if small else "options"
        if kept in known:
            read = json.loads(str(known[kept]))
            return {name: [Option(*option) for option in given] for name, given in read.items()}
        options = {}
        for name, roles in self._outer().items():
            w = Source(self.model).tensor(name).dequantize()
            options[name] = costs.outer_options(w, sensitivity, roles, self.alignment, small)
        windows = self.sensed[: max(1, _COST_TOKENS // self.sensed.shape[1])]
        options |= costs.layer_options(self.model, windows, sensitivity, self.alignment, small, self.progress)
        options = {name: self._with_inputs(name, self._or_left_alone(name, given)) for name, given in options.items()}
        self._keep({**known, kept: np.array(json.dumps(options))})
        return options

    def _or_left_alone(self, name: str, options: Sequence[Option]) -> list[Option]:
        """A tensor that is quantized already loses nothing where it stays as it is."""
        choice = self.choices[name]
        if choice.source.is_float:
            return list(options)
        nbytes = costs.padded(math.prod(choice.shape[:-1]) * choice.source.row_size(choice.shape[-1]), self.alignment)
        own = Option(choice.source.name, nbytes, 0.0)
        return [own, *(option for option in options if option.format != own.format)]

    def _with_inputs(self, name: str, options: Sequence[Option]) -> list[Option]:
        """What rounded activations cost comes on top, unless the source's tensor rounds them alike."""
        assert self._sensitivity is not None
        parts = name.split(".")
        if parts[0] == "blk":
            costs_of = self._sensitivity.of(int(parts[1]), parts[2]).inputs
        elif "answer" in self._outer()[name]:
            costs_of = self._sensitivity.answer_inputs
        else:
            return list(options)  # rows that are read meet nothing
        by_width = {0: 0.0, 16: 0.0, **dict(zip(INPUT_WIDTHS, costs_of.tolist(), strict=True))}
        own, with_inputs = activation_width(self.choices[name].source), []
        for option in options:
            width = activation_width(get(option.format))
            added = 0.0 if width == own else by_width[width] + by_width[own]
            with_inputs.append(option._replace(damage=option.damage + added))
        return with_inputs

    def _outer(self) -> dict[str, tuple[str, ...]]:
        """Matrices outside of layers, and what they are for."""
        if "output.weight" in self.choices:
            return {"token_embd.weight": ("read",), "output.weight": ("answer",)}
        return {"token_embd.weight": ("read", "answer")}

    # -- what is chosen

    def allocate(self, limit: int) -> Allocation:
        """Formats under a limit for the whole file; one that nothing fits is refused before anything is measured."""
        for small in (False, True):
            smallest = self._smallest(small)
            whole = file_size(self.metadata(), self._with(smallest))
            if whole <= limit:
                fixed = whole - sum(option.nbytes for option in smallest.values())
                return allocate(self.measure(small), limit - fixed)
        raise PipelineError(
            f"{limit:,} bytes are too few for this model: with the smallest formats it takes {whole:,}; ask for more"
        )

    def _smallest(self, small: bool) -> dict[str, Option]:
        """The option of fewest bytes of each matrix; what it costs is not known yet."""
        smallest = {}
        for name, choice in self.choices.items():
            if len(choice.shape) == 2 and (name.startswith("blk.") or name in self._outer()):
                row, n_rows = choice.shape[-1], choice.shape[0]
                sizes = [(fmt.name, n_rows * fmt.row_size(row)) for fmt in costs.candidates(row, small)]
                options = [Option(fmt, costs.padded(nbytes, self.alignment), 0.0) for fmt, nbytes in sizes]
                smallest[name] = min(self._or_left_alone(name, options), key=lambda option: option.nbytes)
        return smallest

    def _with(self, chosen: Mapping[str, Option]) -> dict[str, TensorChoice]:
        names = sorted(self.choices, key=recipes.file_order)
        changed = {}
        for name in names:
            choice = self.choices[name]
            fmt = get(chosen[name].format) if name in chosen else choice.source
            changed[name] = TensorChoice(name, choice.shape, choice.role, choice.source, fmt, choice.reason)
        return changed

    def chosen(self, allocation: Allocation) -> dict[str, TensorChoice]:
        """Every tensor with its format, in the order of the file."""
        return self._with(allocation.chosen)

    def metadata(self) -> gguf.Metadata:
        """What the new file says of itself."""
        recipe = recipes.get_recipe("Q4_K_M")
        # no recipe made it: without a file type, llama.cpp names the most frequent format
        return by_recipe.output_metadata(self.model.metadata, recipe).without("general.file_type") | {
            "quantize.qviz.method": "formats and codes of least damage at a size",
            "quantize.qviz.tokens": gguf.U32(self.windows.size),
        }

    # -- what is written

    def write(self, allocation: Allocation) -> None:
        """Round everything, and write it."""
        choices, source = self.chosen(allocation), Source(self.model)
        assert self._sensitivity is not None
        made: dict[str, QTensor] = {}
        for name, roles in self._outer().items():
            fmt = choices[name].format
            if fmt is choices[name].source:
                made[name] = source.tensor(name)
                continue
            w = source.tensor(name).dequantize()
            stats, damp = costs.outer_stats(self._sensitivity, roles)
            if accepts(fmt):
                made[name] = gptq_format(w, stats, fmt, damp_percent=damp, sweeps=self.method.sweeps)
            else:
                made[name] = quantize(w, fmt, stats.mean_sq)
        layers = rounded_layers(
            self.model,
            lambda name: choices[name].format,
            self.windows,
            self.method,
            embedding=made["token_embd.weight"],
            sensitivity=self._sensitivity,
            progress=self.progress,
        )
        at = -1
        with gguf.stream(self.target, self.metadata(), choices) as out:
            for name in choices:
                while at < recipes.file_order(name)[0]:
                    made, at = next(layers), at + 1
                out.append(made[name].blocks if name in made else source.tensor(name).blocks)

    def check(self) -> float | None:
        """Divergence from the source, on tokens that no step has seen."""
        n_ctx = self.windows.shape[1]
        if len(self.unseen) < n_ctx:
            return None
        self.progress("measuring what it costs", 0, 1)
        new = models.load(self.target)
        with new.file:
            return transformer.evaluate.perplexity(
                new, self.unseen, self.model, n_ctx=n_ctx, max_tokens=_CHECKED_TOKENS
            ).kld
