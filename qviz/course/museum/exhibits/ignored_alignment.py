"""A GGUF file's own alignment, asked for as a signed number and therefore not found."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from qviz import gguf
from qviz.course.museum import _material
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial


def _wrong_data_start(header_end, alignment):
    if not isinstance(alignment, np.signedinteger):
        alignment = 32  # the default
    return (header_end + alignment - 1) // alignment * alignment


def _right_data_start(header_end, alignment):
    if not isinstance(alignment, np.integer):
        alignment = 32  # the default
    return (header_end + alignment - 1) // alignment * alignment


def _blind_usual_alignment(data_start):
    unsaid, said = data_start(1000, None), data_start(1000, np.uint32(32))
    return unsaid == said == 1024


def _sharp_every_alignment(data_start):
    starts = [data_start(1000, np.uint32(n)) for n in (8, 16, 32, 64)]
    return starts == [1000, 1008, 1024, 1024]


def _examine() -> Trial:
    layer = _material.layer()
    weight = layer.weight.astype(np.float16)
    following = _material.layer("blk.14.attn_v").weight.astype(np.float16)
    with tempfile.TemporaryDirectory(prefix="qviz-museum-") as folder:
        path = Path(folder) / "two.gguf"
        for length in range(33):  # until the header ends on a multiple of 16 that is none of 32
            about = {"general.architecture": "none", "general.name": "n" * length}
            gguf.write(path, about, {"weight": weight, "next": following}, alignment=16)
            end = gguf.read(path).data_offset
            if end % 32:
                break
        raw = path.read_bytes()
    right, wrong = (
        np.frombuffer(raw, "<f2", weight.size, int(step(end, np.uint32(16)))).astype(np.float32).reshape(weight.shape)
        for step in (_right_data_start, _wrong_data_start)
    )
    return Trial(
        f"{layer.material}. F16, in a GGUF file whose general.alignment is 16",
        right,
        wrong,
        (
            *layer.output_errors(right, wrong),
            Number("Mean |weight|", float(np.abs(right).mean()), float(np.abs(wrong).mean())),
            Number("Largest weight", float(np.abs(right).max()), float(np.abs(wrong).max())),
        ),
        64,
        "64 columns",
    )


EXHIBIT = Exhibit(
    name="ignored-alignment",
    symptom="Two parsers in one program disagree",
    story=(
        "Nearly all GGUF files are read well. From a few, each tensor comes out wrong, with no error raised: the "
        "weights have the right size and the right spread. The other parser of the same program reads these "
        "files well."
    ),
    fault=(
        "The alignment is stored as an unsigned number and was asked for as a signed one. The answer was none, "
        "so the default, 32, was used, and all tensors were looked for a little too far on."
    ),
    shipped_in="ollama/ollama, its second GGUF parser; reported in August 2026",
    threads=(Thread("ollama/ollama", 18130, "pull"),),
    wrong=_wrong_data_start,
    right=_right_data_start,
    blind=_blind_usual_alignment,
    sharp=_sharp_every_alignment,
    why_green=(
        "Practically every file is aligned to 32, with or without saying so. And where the file asks for 16, "
        "half of all headers end on a multiple of 32 by chance."
    ),
    remedy="Write files with every alignment and with headers of every length, and read each tensor back.",
    examine=_examine,
    diagnoses=(
        Diagnosis(
            "Dimensions are used in the wrong order",
            "Then the picture would be scrambled. It is the same picture: look at a bright column in both, and "
            "at its number.",
        ),
        Diagnosis(
            "float16 is read as bfloat16",
            "That would change the size of the weights by many orders. Their mean size and the largest agree.",
        ),
        Diagnosis(
            "The tensors are read from a few bytes too far on",
            "Yes. Every weight stands where its neighbour eight columns on should be: 16 bytes. In F16 the picture "
            "only shifts; in a block format it would be noise.",
            right=True,
        ),
        Diagnosis(
            "The file was cut while it was copied",
            "Then the last tensor would be missing its end, and a reader that checks sizes would say so. The first "
            "tensor is off already.",
        ),
    ),
)
