"""The file of least damage at a size, beside llama.cpp's files with an importance matrix of the same tokens.

    python benchmarks/best_file.py [--recipes Q2_K,Q4_K_M] [--tokens 24576] [--score 10000] [--steps] [--json FILE]
    python benchmarks/best_file.py --texts [--folder FOLDER] [--score 0] [--json FILE]
    python benchmarks/best_file.py --model smollm2 --recipes IQ2_XXS,Q2_K --tokens 2048 --score 2000

For each recipe: KL divergence from the unquantized model and perplexity on text that no calibration saw, of the
recipe's file and of ours, which may take no more bytes. With --steps each part of the method is added in turn: GPTQ in
the recipe's formats; the formats chosen under the budget; descent after GPTQ; the unquantized stream as the aim; errors
of outputs together; three times the tokens. What did not help on the shipped model is there, too: the drift of the
stream in the aim, and tokens weighted by their gradients.

Why less is gained at Q5_K_M and Q6_K, on 6,000 tokens of the held-out text (parts of the recipe's divergence):

- Codes suit the tokens that they were made with. With 8,192 of them .653 ± .013 is left at Q5_K_M and .607 ± .012 at
  Q6_K, with 24,576 .561 ± .010 and .532 ± .011. It takes twice the time.
- Activations are rounded, too, and no rounding of weights changes that. Gradients foretell .00086 for it where they are
  rounded in 256s, as before all of Q6_K, and .00026 in 32s; the recipe's file has .0030. So the choice of formats takes
  those with 32s where activations are largest, as they are in ffn_down.
- Drift in the aim leaves .575 ± .011 at Q5_K_M, tokens weighted by their gradients .563 ± .010: with three times the
  tokens they do not help either.
- Not built: hidden units of the feed-forward part scaled so that they are alike (rows of ffn_up by what columns of
  ffn_down are divided by) would spare a fifth of what rounding the inputs of ffn_down costs, .00008 of .0030.

Models that are fetched are quantized already; both files are made of what they hold, so both lose a second time.
Of SmolLM2-135M in Q4_1 (2,048 tokens of calibration, 1,020 of the held-out text): KLD .502 ± .017 of IQ2_XXS, .279 of
IQ2_M, .182 of IQ3_XXS, .234 of Q2_K and Q3_K_S, .0239 ± .0009 of the best file of the size of IQ2_XXS. Its rows of 576
hold no super-block, so the recipes round most of it to IQ4_NL or Q4_0 and keep the embedding in Q8_0; the best file
leaves 101 of its tensors as they are, and takes the bytes from the embedding. With 24,576 tokens, scored on 2,000: KLD
.249 ± .006 of Q2_K and .0075 ± .0002 of the best file of that size; .180 ± .006 of IQ3_XXS and .0093 ± .0003.

With --texts the ratio of the two divergences is measured, with its paired standard error over windows, on the held-out
text and on text of another kind: Python, which the small model never saw. ``--score 0`` takes the whole of the held-out
text; of the code, as many tokens as --code says. Files that are in --folder already are not made again.
Perplexity says the same on the held-out text at every size. On code it does not: the source itself has 803 there, and
some coarse recipes less than that (607 at IQ2_XXS), so there it does not tell which file is nearer to the source.

Seconds are CPU seconds, and memory is the most that this process has held so far.

Lesson 14 shows ``data/best-files.json``: ``--json`` writes its part "files", with ``--steps`` its part "steps",
with ``--texts`` its part "ratios".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import qviz
from qviz import models, transformer
from qviz.calibration.stats import Collector
from qviz.measure.best import BEST, RECIPE, BestRatio, BestRow, paired_ratio
from qviz.whole.best import Method, best_file
from qviz.whole.by_layer import calibration_windows, gptq_model

RECIPES = (
    *("IQ2_XXS", "IQ2_M", "Q2_K", "IQ3_XXS", "Q3_K_S", "Q3_K_M"),
    *("IQ4_XS", "Q4_K_M", "Q5_K_M", "Q6_K"),
)
PLAIN = Method(sweeps=0, follow=False, drift=False, by_outputs=False, by_tokens=False)
STEPS = {
    "formats allocated": PLAIN,
    "+ descent": Method(3, False, False, False, False),
    "+ aim": Method(3, True, False, False, False),
    "+ outputs together": Method(3, True, False, True, False),
    "+ drift": Method(3, True, True, True, False),
    "+ tokens weighted": Method(3, True, False, True, True),
}
USED = "+ outputs together"
FEW = 8192  # tokens, where steps are added


def importance(model: Any, tokens: int) -> dict[str, Any]:
    """Mean x² of each column of each matrix in the layers, over the tokens that the other files are calibrated on."""
    seen = Collector()
    run = transformer.Transformer(model, activations="float", on_linear_input=seen)
    windows = calibration_windows(run, None, tokens)
    for start in range(0, len(windows), 4):
        run.window_logits(windows[start : start + 4])
    return {name: stats.mean_sq for name, stats in seen.stats.items() if name.startswith("blk.")}


def code_text() -> str:
    """This package's own source: of another kind than what the small model was trained and calibrated on."""
    return "\n".join(path.read_text("utf-8") for path in sorted(Path(qviz.__file__).parent.rglob("*.py")))


class Files:
    """Files of one model in a folder, made where they are missing.

    Attributes
    ----------
    model : Model
    tokens : int
        How many are calibrated on.
    folder : Path
    """

    def __init__(self, model: Any, tokens: int, folder: Path) -> None:
        self.model, self.tokens, self.folder = model, tokens, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._columns: dict[str, Any] | None = None

    def recipe(self, recipe: str) -> Path:
        """llama.cpp's file, with an importance matrix."""
        path = self.folder / f"{recipe}.gguf"
        if not path.exists():
            if self._columns is None:
                self._columns = importance(self.model, self.tokens)
            qviz.quantize_model(self.model.path, path, recipe, imatrix=self._columns, allow_requantize=True)
        return path

    def same_formats(self, recipe: str) -> Path:
        """GPTQ in the recipe's formats."""
        path = self.folder / f"{recipe}-gptq.gguf"
        if not path.exists():
            gptq_model(self.model, path, recipe, n_tokens=self.tokens, allow_requantize=True)
        return path

    def best(self, recipe: str, step: str = USED) -> Path:
        """Ours, of at most the size of the recipe's file."""
        path = self.folder / f"{recipe}-{list(STEPS).index(step)}.gguf"
        if not path.exists():
            best_file(
                self.model,
                path,
                size=self.recipe(recipe).stat().st_size,
                n_tokens=self.tokens,
                method=STEPS[step],
                measurements=self.folder / "measured.npz",
                allow_requantize=True,
            )
        return path


def _timed(work: Any, *args: Any) -> tuple[Path, float]:
    start = time.process_time()
    return work(*args), time.process_time() - start


def _rows(files: Files, recipe: str, few: Files | None, score: int) -> list[dict[str, Any]]:
    """Each file of one recipe's size, on the held-out text; the steps, where `few` are files of fewer tokens."""
    if few is None:
        made = {RECIPE: _timed(files.recipe, recipe), BEST: _timed(files.best, recipe)}
    else:
        made = {RECIPE: _timed(few.recipe, recipe), "GPTQ, same formats": _timed(few.same_formats, recipe)}
        for step in STEPS:
            made[step] = _timed(few.best, recipe, step)
            if step == USED:
                made[f"+ {files.tokens:,} tokens"] = _timed(files.best, recipe)
    opened = {what: qviz.load(path) for what, (path, _) in made.items()}
    scores = transformer.evaluate.compare(opened, models.heldout_text(), files.model, max_tokens=score or None)
    rows = []
    for what, found in scores.items():
        path, seconds = made[what]
        numbers = (float(f"{x:.5g}") for x in (found.kld, found.kld_se, found.ppl, found.base_ppl))
        row = BestRow(recipe, what, path.stat().st_size, *numbers, round(seconds))
        rows.append(asdict(row))
        print(
            f"{recipe:8} {what:20} {row.nbytes:>10,} bytes  KLD {row.kld:.5f} ± {row.kld_se:.5f} "
            f"({found.kld / scores[RECIPE].kld:.3f})  ppl {row.ppl:.3f} (source {row.base_ppl:.3f}) {row.seconds} s, "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB",
            flush=True,
        )
    return rows


def pairs_of(files: Files, recipes: list[str]) -> dict[str, Any]:
    """Both files of each recipe's size, opened."""
    made = {f"{r} {what}": getattr(files, what)(r) for r in recipes for what in ("recipe", "best")}
    return {name: qviz.load(path) for name, path in made.items()}


def ratios(name: str, scores: Mapping[str, transformer.evaluate.TokenScores]) -> list[dict[str, Any]]:
    """All pairs on one text, by the scores of the files in `pairs_of`."""
    rows = []
    for recipe in dict.fromkeys(key.split()[0] for key in scores):
        theirs, ours = scores[f"{recipe} recipe"], scores[f"{recipe} best"]
        a, b = theirs.summary(), ours.summary()
        window = ours.n_ctx - ours.n_ctx // 2 - 1
        ratio = paired_ratio(ours.kld, theirs.kld, window)
        moved = (ours.nll - theirs.nll).reshape(-1, window).mean(axis=1)
        relative = moved.std() / np.sqrt(max(len(moved) - 1, 1))  # to first order that of exp(mean), too
        numbers = (*ratio, b.kld, a.kld, b.ppl, a.ppl, b.base_ppl, b.ppl / a.ppl, relative * b.ppl / a.ppl)
        row = BestRatio(name, b.n_tokens, recipe, *(float(f"{x:.5g}") for x in numbers))
        rows.append(asdict(row))
        print(
            f"{name:8} {recipe:8} {row.ratio:.3f} ± {row.ratio_se:.3f} of {row.recipe_kld:.5f}; ppl {row.ppl:.2f}, "
            f"the recipe's {row.recipe_ppl:.2f} (source {row.base_ppl:.2f})",
            flush=True,
        )
    mean = np.exp(np.mean([np.log(row["ratio"]) for row in rows]))
    print(f"{name:8} geometric mean {mean:.3f}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--tokens", type=int, default=24576)
    parser.add_argument("--score", type=int, default=10000, help="tokens of the held-out text; 0 for all")
    parser.add_argument("--code", type=int, default=8000, help="tokens of the code")
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--texts", action="store_true")
    parser.add_argument("--folder", type=Path, help="where files are kept, and not made again")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    recipes, code = args.recipes.split(","), code_text()
    about = {"model": args.model, "calibrated on": f"{args.tokens} tokens of data/tiny-calibration.txt"}
    with tempfile.TemporaryDirectory() as folder:
        files = Files(qviz.load(args.model), args.tokens, args.folder or Path(folder))
        if args.texts:
            part = "ratios"
            pairs, rows = pairs_of(files, recipes), []
            for name, text, most in (("held-out", models.heldout_text(), args.score), ("code", code, args.code)):
                rows += ratios(
                    name, transformer.evaluate.score_tokens(pairs, text, files.model, max_tokens=most or None)
                )
            about["code"] = f"qviz/**/*.py, sha256 {hashlib.sha256(code.encode()).hexdigest()[:16]}"
        else:
            part = "steps" if args.steps else "files"
            few = None
            if args.steps:
                few = Files(files.model, FEW, files.folder / "few")
                about["steps"] = f"{FEW} tokens where no more are named"
            rows = [row for recipe in recipes for row in _rows(files, recipe, few, args.score)]
            about["scored on"] = f"{args.score} tokens of data/tiny-heldout.txt"
    if args.json:
        stored = json.loads(args.json.read_text("utf-8")) if args.json.exists() else {}
        about = stored.get("about", {}) | about | {"measured": time.strftime("%Y-%m-%d")}
        stored = {"files": [], "steps": [], "ratios": []} | stored | {"about": about, part: rows}
        args.json.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
