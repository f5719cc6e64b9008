"""The sixteen recipes of lesson 10's table on three models: sizes, perplexity, KL divergence, right answers.

    python benchmarks/models_table.py --work FOLDER [--models tiny,smollm2] [--rounds 10] [--json FILE]

With ``--rounds 0`` nothing is measured, and the table is written from what FOLDER holds.

Every model is compared with its file *as it was published*, which runs with activations in float32. That file is F16
for the course's small model, Q4_1 for SmolLM2-135M-Instruct and Q4_K_M for Gemma 3 270M: both were quantized before.

The held-out text is scored in rounds of four windows, which lie spread over the text; each round adds 508 tokens to a
row. F32 and F16, which change nothing, are scored on one round. After each piece of work the table is written anew, and
what FOLDER already holds is not measured again: a run may be stopped at any time, and gone on with later. Models that
are not asked for keep their rows in the JSON file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import qviz
from qviz import measure, models, transformer
from qviz.measure.tables import TABLE_RECIPES

N_CTX, ROUNDS, WINDOWS = 256, 20, 4  # tokens of a window; rounds that the text is dealt out to; windows of a round
PUBLISHED = "as published"
SAME = ("F32", "F16")
ROUNDED = tuple(recipe for recipe in TABLE_RECIPES if recipe not in SAME)
FIRST = ("Q2_K", "Q4_K_M", "Q3_K_S", "Q4_0", "Q8_0", "Q3_K_M", "Q6_K")  # of which the answers are wanted most
PARTS = ("nll", "base_nll", "kld", "same")


class Measured:
    """One model, its files, and what was measured of them so far, in a folder."""

    def __init__(self, name: str, work: Path) -> None:
        self.name, self.folder = name, work / name
        self.folder.mkdir(parents=True, exist_ok=True)
        if name in models.KNOWN:
            models.fetch(name)
        self.base = transformer.Transformer(qviz.load(name), activations="float")
        self.runs: dict[str, transformer.Transformer] = {}
        self.sizes: dict[str, dict[str, Any]] = {}

    def write(self) -> None:
        """The file of each recipe."""
        for recipe in TABLE_RECIPES:
            path = self.folder / f"{recipe}.gguf"
            if not path.exists():
                part = path.with_suffix(".part.gguf")
                qviz.quantize_model(self.base.model.path, part, recipe, allow_requantize=True)
                part.rename(path)
            run = self.runs[recipe] = transformer.Transformer(qviz.load(path))
            run._tokenizer = self.base.tokenizer  # it is the same, and takes long to make
            self.sizes[recipe] = contents(run.model, path.with_suffix(".json"))

    def score(self, turn: int, recipes: tuple[str, ...]) -> None:
        """One round of windows, for some files."""
        kept = self.folder / f"round-{turn}-{recipes[0]}.npz"
        if kept.exists():
            return
        text = models.heldout_text()
        windows = transformer.evaluate.windows_of(self.base, text, N_CTX, (N_CTX // 2 - 1) * WINDOWS * ROUNDS)
        runs = {recipe: self.runs[recipe] for recipe in recipes}
        found = transformer.score_tokens(runs, windows[turn::ROUNDS].ravel().tolist(), self.base, n_ctx=N_CTX)
        arrays = {f"{recipe}.{part}": getattr(scores, part) for recipe, scores in found.items() for part in PARTS}
        np.savez_compressed(kept.with_suffix(".part.npz"), **arrays)
        kept.with_suffix(".part.npz").rename(kept)

    def answer(self, recipe: str, part: int) -> None:
        """Every second question, for one file, or for the published one."""
        kept = self.folder / f"answers-{recipe}-{part}.json"
        if not kept.exists():
            run = self.base if recipe == PUBLISHED else self.runs[recipe]
            answers = measure.answer_cloze(run, measure.cloze_items()[part::2])
            kept.write_text(json.dumps(answers.log_p.round(5).tolist()), encoding="utf-8")

    def rows(self) -> list[dict[str, Any]]:
        """What is known, for the table."""
        rounds = [np.load(path) for path in sorted(self.folder.glob("round-*-*.npz")) if ".part" not in path.name]
        known = {name.rpartition(".")[0] for kept in rounds for name in kept.files}
        return [self._row(recipe, rounds) for recipe in TABLE_RECIPES if recipe in known & set(self.sizes)]

    def _row(self, recipe: str, rounds: list[Any]) -> dict[str, Any]:
        held = [kept for kept in rounds if f"{recipe}.nll" in kept.files]
        nll, base_nll, kld, same = (np.concatenate([kept[f"{recipe}.{part}"] for kept in held]) for part in PARTS)
        quality = transformer.TokenScores(nll, N_CTX, base_nll, kld, same).summary()
        tails = measure.tails(kld)
        return {
            "model": self.name,
            "recipe": recipe,
            **self.sizes[recipe],
            "quality": {k: short(v) for k, v in quality.as_dict().items()},
            "kld_tails": [short(x) for x in (tails.median, tails.high, tails.most)],
            **self._answers(recipe),
        }

    def _answers(self, recipe: str) -> dict[str, Any]:
        """Right answers of both files by task, and by how much the right choice lost probability."""
        tasks: dict[str, list[int]] = {}
        faded: dict[str, list[float]] = {}
        for part in range(2):
            paths = [self.folder / f"answers-{which}-{part}.json" for which in (PUBLISHED, recipe)]
            if not all(path.exists() for path in paths):
                continue
            items = measure.cloze_items()[part::2]
            before, after = (measure.ClozeAnswers(items, np.array(json.loads(path.read_text()))) for path in paths)
            kinds = np.array([item.task for item in items])
            for task in dict.fromkeys(kinds.tolist()):
                pair = measure.paired_accuracy(before.right[kinds == task], after.right[kinds == task])
                counts = pair.both, pair.lost, pair.won, pair.neither
                tasks[task] = [a + b for a, b in zip(tasks.get(task, (0, 0, 0, 0)), counts, strict=True)]
                less = np.log(before.confidence / after.confidence)[kinds == task]
                faded.setdefault(task, []).extend(less.tolist())
        errors = {task: np.std(less) / math.sqrt(len(less) - 1) for task, less in faded.items()}
        means = {task: [short(float(np.mean(less))), short(float(errors[task]))] for task, less in faded.items()}
        return {"tasks": tasks, "faded": means}


def contents(model: Any, kept: Path) -> dict[str, Any]:
    """Bytes of a file, its bits per weight, which share of its weights has which format, and a hash of its tensors."""
    if kept.exists():
        known: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return known
    bits, weights = 0, Counter[str]()
    for info in model.tensor_info.values():
        bits += 8 * info.nbytes
        weights[info.format.name] += math.prod(info.shape)
    total = weights.total()
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(model.tensor_info):
        digest.update(np.ascontiguousarray(model[name].blocks).reshape(-1).view(np.uint8))
    found = {
        "nbytes": model.path.stat().st_size,
        "bpw": round(bits / total, 4),
        "formats": {name: short(n / total) for name, n in weights.most_common()},
        "tensors": digest.hexdigest(),
    }
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def about(m: Measured) -> dict[str, Any]:
    """What the lesson says of a model."""
    weights = sum(math.prod(info.shape) for info in m.base.model.tensor_info.values())
    embedding = math.prod(m.base.model.tensor_info["token_embd.weight"].shape)
    return {
        "title": m.base.name,
        "file": m.base.model.path.name,
        "weights": weights,
        "row": m.base.config.n_embd,
        "vocabulary": m.base.config.n_vocab,
        "embedding": short(embedding / weights),
        **contents(m.base.model, m.folder / "published.json"),
    }


def short(x: Any) -> Any:
    """Five digits are more than any error bar leaves."""
    return float(f"{x:.5g}") if isinstance(x, float) else x


def table(measured: list[Measured], known: dict[str, Any]) -> dict[str, Any]:
    """All that is known, as it is stored; of other models, what was known before."""
    names = [m.name for m in measured]
    kept = [row for row in known["rows"] if row["model"] not in names]
    said = {
        "models": known["about"]["models"] | {m.name: about(m) for m in measured},
        "against": "each model's file as it was published, activations in float32",
        "scored on": f"data/tiny-heldout.txt, in windows of {N_CTX} tokens, the second half of each",
        "questions": f"data/cloze.json, {len(measure.cloze_items())} items",
        "measured": time.strftime("%Y-%m-%d"),
    }
    rows = [row for m in measured for row in m.rows()] + kept
    order = [*said["models"]]
    return {"about": said, "rows": sorted(rows, key=lambda row: order.index(row["model"]))}


def steps(measured: list[Measured], rounds: int) -> Iterator[str]:
    """Do one piece of work after the other, what matters most first, and say what was done."""

    def score(turn: int, recipes: tuple[str, ...]) -> Iterator[str]:
        for m in measured:
            m.score(turn, recipes)
            yield f"{m.name}: round {turn + 1}"

    def answer(recipes: tuple[str, ...], part: int) -> Iterator[str]:
        for recipe in recipes:
            for m in measured:
                m.answer(recipe, part)
                yield f"{m.name}: questions, {recipe}, half {part + 1}"

    for m in measured:
        m.write()
        yield f"{m.name}: files are written"
    rest = tuple(recipe for recipe in (*ROUNDED, *SAME) if recipe not in FIRST)
    after = {0: (PUBLISHED, *FIRST[:2]), 1: FIRST[2:4], 3: FIRST[4:], 9: rest}  # a round: the files to be asked then
    for turn in range(rounds):
        yield from score(turn, ROUNDED)
        yield from answer(after.get(turn, ()), 0)
        if turn == 4:
            yield from score(0, SAME)
    if rounds:
        yield from answer((PUBLISHED, *FIRST, *rest), 1)


def main() -> None:
    """Measure, piece by piece."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the files and for what was measured")
    parser.add_argument("--models", default="tiny,smollm2,gemma3-270m")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began = time.perf_counter()
    known: dict[str, Any] = {"about": {"models": {}}, "rows": []}
    if options.json and options.json.exists():
        known = json.loads(options.json.read_text("utf-8"))
    measured = [Measured(name, options.work) for name in options.models.split(",")]
    for done in steps(measured, options.rounds):
        print(f"{time.perf_counter() - began:6.0f} s  {done}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(table(measured, known), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
