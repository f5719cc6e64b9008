"""Cut ``whisper-slices.gguf`` out of Whisper tiny.en, byte for byte the same each time.

    python data/make_whisper_slices.py [ggml-tiny.en.bin] [--output data/whisper-slices.gguf]

Without a file it is fetched (`qviz fetch whisper-tiny.en`). Tensors keep their type and their bytes, and whisper.cpp's
names; what was chosen, and why, is in PROVENANCE.md beside this script.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from qviz import gguf, models
from qviz.errors import QvizError

CHOSEN = (
    "decoder.blocks.3.cross_attn.value.weight",
    "encoder.blocks.1.attn.key.weight",
    "encoder.conv1.weight",
    "encoder.ln_post.weight",
    "encoder.ln_post.bias",
)


def cut(source: Path, output: Path) -> Path:
    """Write the slices of `source` to `output`."""
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != models.KNOWN["whisper-tiny.en"].sha256:
        raise QvizError(f"{source} is another file: sha256 {found}")
    model = models.load(source)
    metadata = {
        "general.architecture": "whisper",
        "general.name": "Whisper tiny.en",
        "general.license": "mit",
        "whisper.block_count": gguf.U32(model.metadata["n_audio_layer"]),
        "whisper.embedding_length": gguf.U32(model.metadata["n_audio_state"]),
        "whisper.vocab_size": gguf.U32(model.metadata["n_vocab"]),
        "qviz.slices.model": "whisper-tiny.en",
        "qviz.slices.file": models.KNOWN["whisper-tiny.en"].filename,
        "qviz.slices.sha256": found,
        "qviz.slices.tensor_count": gguf.U32(len(model)),
        "qviz.slices.note": (
            f"{len(CHOSEN)} of the {len(model)} tensors of Whisper tiny.en, bytes and names unchanged. "
            f"GGUF is only what holds them here: whisper.cpp has a format of its own."
        ),
    }
    return gguf.write(output, metadata, {name: model[name] for name in model if name in CHOSEN})


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="?", help="the whole model; fetched if not given")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("whisper-slices.gguf"))
    args = parser.parse_args()
    try:
        output = cut(args.source or models.fetch("whisper-tiny.en"), args.output)
    except (QvizError, OSError) as error:
        sys.exit(f"error: {error}")
    raw = output.read_bytes()
    print(f"{output}: {len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
