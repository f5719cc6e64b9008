"""A task instead of an average: which of four words comes next.

A language model answers by likelihood: the word to which it gives the highest probability after the text is its
choice. Nothing is generated, so nothing depends on chance or on how an answer is worded. A quantized model is compared
with the unquantized one item by item (`qviz.measure.paired_accuracy`).

The items are those of ``data/cloze.json``, which ``data/make_cloze.py`` made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz._arguments import reporter
from qviz._machine.team import in_parallel
from qviz._types import Progress
from qviz.errors import QvizError, shortened
from qviz.models.known import stored_json
from qviz.transformer import Transformer
from qviz.transformer.kernels import ops

_TOKENS = 512  # that are read at once, by each core
_ROOM = 64 << 20  # bytes of predictions that a core has in hand


@dataclass(frozen=True)
class ClozeItem:
    """A text with a gap at its end.

    Attributes
    ----------
    task : str
        What kind of item it is.
    context : str
        What the model reads.
    choices : tuple of str
        What may follow, the space before it included.
    answer : int
        Which of them is right.
    """

    task: str
    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, eq=False)
class ClozeAnswers:
    """What a model chose.

    Attributes
    ----------
    items : tuple of ClozeItem
    log_p : float64 array (n_items, n_choices)
        Logarithm of the probability of each choice, less what all choices of the item have in common.
    """

    items: tuple[ClozeItem, ...]
    log_p: npt.NDArray[np.float64]

    @property
    def chosen(self) -> npt.NDArray[np.int64]:
        """The likeliest choice of each item, (n_items,)."""
        chosen: npt.NDArray[np.int64] = self.log_p.argmax(axis=1)
        return chosen

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether that is the answer, (n_items,)."""
        return np.equal(self.chosen, [item.answer for item in self.items])

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """Probability of each answer if only the item's choices could come, (n_items,)."""
        shares = np.exp(self.log_p - self.log_p.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        found: npt.NDArray[np.float64] = shares[np.arange(len(self.items)), [item.answer for item in self.items]]
        return found

    def __repr__(self) -> str:
        return f"ClozeAnswers({self.right.sum()} of {len(self.items)} right)"


def cloze_items(task: str | None = None) -> tuple[ClozeItem, ...]:
    """The items that come with the course.

    Parameters
    ----------
    task : str, optional
        ``"words"``, ``"places"``, ``"sums of 1-digit numbers"`` or ``"sums of 2-digit numbers"``; all unless given.

    Raises
    ------
    QvizError
        There is no such task.

    Examples
    --------
    >>> item = cloze_items("places")[0]
    >>> item.context, item.choices[item.answer]
    ('Kabul is a place in', ' Afghanistan')
    """
    stored = {name: rows for name, rows in stored_json("cloze.json").items() if name != "about"}
    if task is not None and (not isinstance(task, str) or task not in stored):
        raise QvizError(f"there is no task {shortened(task)}; there are {', '.join(map(repr, stored))}")
    wanted = stored if task is None else {task: stored[task]}
    return tuple(
        ClozeItem(name, context, tuple(choices), answer)
        for name, rows in wanted.items()
        for context, choices, answer in rows
    )


def answer_cloze(model: Any, items: Sequence[ClozeItem], *, progress: Progress | None = None) -> ClozeAnswers:
    """Let a model choose, by likelihood.

    Parameters
    ----------
    model : Transformer, or what `qviz.load` returns
    items : sequence of ClozeItem
        All with equally many choices.
    progress : callable ``(what, done, total)``, optional

    Returns
    -------
    ClozeAnswers

    Raises
    ------
    QvizError
        No item, choices that are not equally many, or of which one begins with another.
    LlamaError
        A text that is too long for the model.

    Examples
    --------
    >>> from qviz import load
    >>> items = [ClozeItem("", "The President of the United", (" Kingdom", " States"), 1)]
    >>> answer_cloze(load("tiny"), items)
    ClozeAnswers(1 of 1 right)
    """
    run = model if isinstance(model, Transformer) else Transformer(model)
    if len({len(item.choices) for item in items}) != 1:
        raise QvizError(f"{len(items)} items; at least one is needed, and all with equally many choices")
    jobs = [job for k, item in enumerate(items) for job in _jobs(run, k, item)]
    log_p = np.zeros((len(items), len(items[0].choices)))
    batches, report = list(_batches(jobs, run.config.n_vocab)), reporter(progress, QvizError)
    done = 0

    def some(a: int, b: int) -> None:
        nonlocal done
        for batch in batches[a:b]:
            _answer(run, batch, log_p)
            done += 1
            report("answering", done, len(batches))

    in_parallel(len(batches), some, least=1)
    return ClozeAnswers(tuple(items), log_p)


class _ClozeRow(NamedTuple):
    """A row of tokens to read, and which tokens after its beginning belong to which choices."""

    start: int  # tokens that all choices of the item have in common
    row: list[int]
    item: int
    choices: list[tuple[int, list[int]]]  # which choice, and its tokens from `start` on


def _jobs(run: Transformer, k: int, item: ClozeItem) -> Iterator[_ClozeRow]:
    """As few rows as serve all choices of an item: one that is the beginning of another is not read again."""
    whole = [run.tokenizer.encode(item.context + choice, eos=False) for choice in item.choices]
    alike = [len(set(column)) == 1 for column in zip(*whole, strict=False)]
    start = alike.index(False) if False in alike else len(alike)
    if min(map(len, whole)) == start:
        raise QvizError(f"item {k}: one choice begins with another, {', '.join(map(repr, item.choices))}")
    if start == 0:
        raise QvizError(f"item {k}: nothing stands before its choices; a context is needed")
    rows: list[_ClozeRow] = []
    for which in sorted(range(len(whole)), key=lambda i: -len(whole[i])):
        needed, tokens = whole[which][:-1], whole[which][start:]
        for job in rows:
            if job.row[: len(needed)] == needed:
                job.choices.append((which, tokens))
                break
        else:
            rows.append(_ClozeRow(start, needed, k, [(which, tokens)]))
    yield from rows


def _batches(jobs: list[_ClozeRow], n_vocab: int) -> Iterator[list[_ClozeRow]]:
    """Rows that are read together: their choices begin at the same place, and they are about equally long."""
    batch: list[_ClozeRow] = []
    for job in sorted(jobs, key=lambda job: (job.start, len(job.row))):
        n, longest = len(batch) + 1, len(job.row)
        predictions = 4 * n * (longest - job.start + 1) * n_vocab
        if batch and (batch[0].start != job.start or n * longest > _TOKENS or predictions > _ROOM):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


def _answer(run: Transformer, batch: list[_ClozeRow], log_p: npt.NDArray[np.float64]) -> None:
    """Fill in the log-probabilities of the choices that these rows serve."""
    start, longest = batch[0].start, max(len(job.row) for job in batch)
    # what stands behind a row's end changes nothing before it
    windows = np.array([job.row + job.row[-1:] * (longest - len(job.row)) for job in batch])
    predicted = run.window_logits(windows, start - 1, longest)
    ops.log_softmax(predicted.reshape(-1, predicted.shape[-1]))
    for row, job in zip(predicted, batch, strict=True):
        for which, tokens in job.choices:
            log_p[job.item, which] = row[np.arange(len(tokens)), tokens].sum(dtype=np.float64)
