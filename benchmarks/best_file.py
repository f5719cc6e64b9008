"""The file of least damage at a size, beside llama.cpp's files with an importance matrix of the same tokens.

    python benchmarks/best_file.py [--recipes Q2_K,Q4_K_M] [--tokens 8192] [--score 10000] [--steps] [--json FILE]
    python benchmarks/best_file.py --model smollm2 --recipes IQ2_XXS,Q2_K --tokens 2048 --score 2000

For each recipe: KL divergence from the unquantized model and perplexity on text that no calibration saw, of the
recipe's file and of ours, which may take no more bytes. With --steps each part of the method is added in turn: GPTQ in
the recipe's formats; the formats chosen under the budget; descent after GPTQ; the unquantized stream as the aim; errors
of outputs together. What did not help on the shipped model is there, too: the drift of the stream in the aim, and
tokens weighted by their gradients.

Models that are fetched are quantized already; both files are made of what they hold, so both lose a second time.
Of SmolLM2-135M in Q4_1 (2,048 tokens of calibration, 1,020 of the held-out text): KLD .502 ± .017 of IQ2_XXS, .279 of
IQ2_M, .182 of IQ3_XXS, .234 of Q2_K and Q3_K_S, .0239 ± .0009 of the best file of the size of IQ2_XXS. Its rows of 576
hold no super-block, so the recipes round most of it to IQ4_NL or Q4_0 and keep the embedding in Q8_0; the best file
leaves 101 of its tensors as they are, and takes the bytes from the embedding.

Seconds are CPU seconds, and memory is the most that this process has held so far.

Lesson 14 shows ``data/best-files.json``: ``--json`` writes its part "files", with ``--steps`` its part "steps".
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import qviz
from qviz import models, transformer
from qviz.calibration.stats import Collector
from qviz.measure.best import BEST, RECIPE, BestRow
from qviz.whole.best import Method, best_file
from qviz.whole.by_layer import calibration_windows, gptq_model

RECIPES = ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_XS", "Q4_K_M", "Q5_K_M", "Q6_K")
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


def importance(model: Any, tokens: int) -> dict[str, Any]:
    """Mean x² of each column of each matrix in the layers, over the tokens that the other files are calibrated on."""
    seen = Collector()
    run = transformer.Transformer(model, activations="float", on_linear_input=seen)
    windows = calibration_windows(run, None, tokens)
    for start in range(0, len(windows), 4):
        run.window_logits(windows[start : start + 4])
    return {name: stats.mean_sq for name, stats in seen.stats.items() if name.startswith("blk.")}


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--score", type=int, default=10000)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = qviz.load(args.model)
    columns, text, rows = importance(model, args.tokens), models.heldout_text(), []
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        for recipe in args.recipes.split(","):
            files, seconds = {}, {}

            def timed(what: str, path: Path, work: Any, files: Any = files, seconds: Any = seconds) -> None:
                start = time.process_time()
                work(path)
                files[what], seconds[what] = path, time.process_time() - start

            timed(
                "imatrix",
                where / f"{recipe}.gguf",
                lambda path, recipe=recipe: qviz.quantize_model(
                    model.path, path, recipe, imatrix=columns, allow_requantize=True
                ),
            )
            size = files["imatrix"].stat().st_size
            if args.steps:
                timed(
                    "GPTQ, same formats",
                    where / f"{recipe}-gptq.gguf",
                    lambda path, recipe=recipe: gptq_model(
                        model, path, recipe, n_tokens=args.tokens, allow_requantize=True
                    ),
                )
            for step, method in STEPS.items() if args.steps else [(USED, STEPS[USED])]:

                def best(path: Path, method: Method = method, size: int = size) -> None:
                    best_file(
                        model,
                        path,
                        size=size,
                        n_tokens=args.tokens,
                        method=method,
                        measurements=where / "measured.npz",
                        allow_requantize=True,
                    )

                timed(step, where / f"{recipe}-{len(files)}.gguf", best)
            scores = transformer.evaluate.compare(
                {what: qviz.load(path) for what, path in files.items()}, text, model, max_tokens=args.score
            )
            theirs = scores["imatrix"].kld
            for what, score in scores.items():
                row = BestRow(
                    recipe,
                    RECIPE if what == "imatrix" else BEST if what == USED and not args.steps else what,
                    files[what].stat().st_size,
                    *(float(f"{x:.5g}") for x in (score.kld, score.kld_se, score.ppl, score.base_ppl)),
                    round(seconds[what]),
                )
                rows.append(asdict(row))
                print(
                    f"{recipe:8} {what:20} {row.nbytes:>10,} bytes  KLD {row.kld:.5f} ± {row.kld_se:.5f} "
                    f"({score.kld / theirs:.3f})  ppl {row.ppl:.3f} (source {row.base_ppl:.3f}) {row.seconds:.0f} s, "
                    f"{_most_memory()} MB",
                    flush=True,
                )
    if args.json:
        stored = json.loads(args.json.read_text("utf-8")) if args.json.exists() else {"files": [], "steps": []}
        about = {
            "model": args.model,
            "calibrated on": f"{args.tokens} tokens of data/tiny-calibration.txt",
            "scored on": f"{args.score} tokens of data/tiny-heldout.txt",
            "measured": time.strftime("%Y-%m-%d"),
        }
        stored = {"about": about} | stored | {"steps" if args.steps else "files": rows}
        args.json.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
