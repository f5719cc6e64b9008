"""Capture what three layers of SmolLM2-135M-Instruct receive on real text: ``smollm2-inputs.gguf``.

    python data/make_inputs.py [--output data/smollm2-inputs.gguf]

Needs the whole model (`qviz fetch smollm2`). The model runs as its file has it, with activations in float32. What was
chosen, and why the inputs are stored as Q8_0, is in PROVENANCE.md beside this script.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

from qviz import gguf, load, models, quantize, transformer
from qviz.errors import QvizError

WINDOW = 64  # tokens in a row, from the beginning of a paragraph
WINDOWS = {"calibration": 18, "heldout": 7}
# a layer's inputs, and the matrices of smollm2-slices.gguf that they are multiplied by
CHOSEN = {
    "blk.14.attn_q": ("blk.14.attn_q.weight", "blk.14.attn_k.weight", "blk.14.attn_v.weight"),
    "blk.14.attn_output": ("blk.14.attn_output.weight",),
    "blk.27.ffn_gate": ("blk.27.ffn_gate.weight",),
}


def windows(tokenizer: transformer.Tokenizer, text: str, count: int) -> np.ndarray:
    """`count` windows spread evenly over the text, each at the first paragraph after its place."""
    found = []
    for place in np.arange(count) * (len(text) // count):
        start = text.index("\n\n", int(place)) + 2
        found.append(tokenizer.encode(text[start : start + 8 * WINDOW])[:WINDOW])
    return np.array(found)


def capture(output: Path) -> Path:
    """Run the model on both texts and write what the chosen layers received."""
    seen: dict[str, np.ndarray] = {}
    run = transformer.Transformer(
        load("smollm2"), activations="float", on_linear_input=lambda name, x: seen.update({name: x.copy()})
    )
    tensors = {}
    for part, text in (("calibration", models.calibration_text()), ("heldout", models.heldout_text())):
        run.window_logits(windows(run.tokenizer, text, WINDOWS[part]), WINDOW - 2, WINDOW - 1)
        for layer in CHOSEN:
            x = seen[f"{layer}.weight"].reshape(-1, run.config.n_embd)
            # channels as rows: the 32 values that share a scale then are of one channel, so outliers hurt no others
            tensors[f"{layer}.{part}"] = quantize(np.ascontiguousarray(x.T), "Q8_0")
    metadata = {
        "general.architecture": "none",
        "general.name": "Inputs of three layers of SmolLM2-135M-Instruct",
        "general.license": "apache-2.0",
        "qviz.inputs.model": "smollm2",
        "qviz.inputs.sha256": models.KNOWN["smollm2"].sha256,
        "qviz.inputs.window": WINDOW,
        **{f"qviz.inputs.{layer}": gguf.Array(names, "str") for layer, names in CHOSEN.items()},
    }
    return gguf.write(output, metadata, tensors)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("smollm2-inputs.gguf"))
    try:
        output = capture(parser.parse_args().output)
    except (QvizError, OSError) as error:
        sys.exit(f"error: {error}")
    raw = output.read_bytes()
    print(f"{output}: {len(raw):,} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
