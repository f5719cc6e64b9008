"""Quantization-aware training of the shipped model, step by step, beside the method that it begins with.

    python benchmarks/training.py [--starts rtn,gptq] [--bits 2] [--steps 96] [--tokens 32768] [--json FILE]

Perplexity and KL divergence from the unquantized model on text that no training saw, before the first step and on the
way. Seconds are those of the processor, all cores together. Lesson 16 shows ``data/training-curve.json``: ``--json``
writes it, and keeps the rows of other starts and bits that it has already. A start that is not trained (``--steps 0``)
is measured as it is: so any method can stand beside the trained ones.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import qviz
from qviz import models, transformer
from qviz.measure.training import TrainingRow
from qviz.whole.training import Training

OPTIONS: dict[str, dict[str, Any]] = {"gptq": {"mse": True}}


def measured(training: Training, base: Any, score: int) -> Any:
    run = transformer.Transformer(training.rounded(), activations="float")
    return transformer.compare({"": run}, models.heldout_text(), base, max_tokens=score)[""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", default="rtn,gptq")
    parser.add_argument("--bits", type=int, default=2)
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--score", type=int, default=4000)
    parser.add_argument("--every", type=int, default=16)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = qviz.load("tiny")
    base, rows = transformer.Transformer(model, activations="float"), []
    for start in args.starts.split(","):
        begun, spent = time.process_time(), 0.0
        what = {"n_tokens": args.tokens, "steps": max(args.steps, 1), "batch": args.batch}
        training = Training(model, args.bits, args.group_size, start=start, **what, options=OPTIONS.get(start))
        spent += time.process_time() - begun
        for step in range(0, args.steps + 1, args.every):
            begun = time.process_time()
            if step:
                training.run(args.every)
            spent += time.process_time() - begun
            score = measured(training, base, args.score)
            row = TrainingRow(
                start,
                args.bits,
                args.group_size,
                step,
                step * args.batch * training.windows.shape[1],
                *(float(f"{x:.5g}") for x in (score.kld, score.kld_se, score.ppl, score.base_ppl)),
                round(training.moved(), 4),
                round(spent),
            )
            rows.append(asdict(row))
            print(row, flush=True)
            if args.json:
                keep(args, rows)


def keep(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write what is measured so far, beside what the file has of other starts."""
    stored = json.loads(args.json.read_text("utf-8"))["rows"] if args.json.exists() else []
    mine = {(row["start"], row["bits"]) for row in rows}
    about = {
        "model": "tiny",
        "trained on": f"{args.tokens} tokens of data/tiny-calibration.txt",
        "scored on": f"{args.score} tokens of data/tiny-heldout.txt",
        "measured": time.strftime("%Y-%m-%d"),
    }
    others = [row for row in stored if (row["start"], row["bits"]) not in mine]
    text = json.dumps({"about": about, "rows": others + rows}, indent=1)
    args.json.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
