"""Calls of ``llama-quantize`` with its switches, on the small models of ``recipe_models.py``."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from recipe_models import importance, write_model

from qviz import gguf
from qviz.calibration import imatrix


@dataclass(frozen=True)
class Case:
    """One call: a model, a recipe, the arguments, and whether there is an importance matrix."""

    model: str
    recipe: str
    arguments: tuple[str, ...]
    imatrix: bool = False
    split: int = 0


TIED = "groups of four, tied, F16"
CASES = {
    "pure": Case("plain", "Q4_K_M", ("--pure",)),
    "pure with types": Case(
        "plain", "Q4_K_M", ("--pure", "--output-tensor-type", "q8_0", "--tensor-type", "attn_v=q6_K")
    ),
    "leave the output": Case("plain", "Q4_K_M", ("--leave-output-tensor",)),
    "output type": Case("plain", "Q2_K", ("--output-tensor-type", "Q5_K")),
    "output type of a tied model": Case(TIED, "Q4_K_M", ("--output-tensor-type", "q8_0")),
    "output type of a tied model, pure": Case(TIED, "Q4_K_M", ("--output-tensor-type", "q8_0", "--pure")),
    "embedding type": Case("plain", "Q3_K_M", ("--token-embedding-type", "q6_k")),
    "embedding type under F16": Case(
        "plain", "F16", ("--token-embedding-type", "q8_0", "--output-tensor-type", "bf16")
    ),
    "tensor types, first one wins": Case(
        "32 layers, BF16",
        "Q4_K_M",
        (
            "--tensor-type",
            "blk\\.(1|3)\\.attn_v=q8_0",
            "--tensor-type",
            "attn_v=q5_k",
            "--tensor-type",
            "FFN_UP=iq4_xs",
        ),
    ),
    "named tensors are not counted": Case(
        "32 layers, BF16", "Q4_K_S", ("--tensor-type", "blk\\.[0-2]\\.(attn_v|ffn_down)=q4_k")
    ),
    "tensor type of odd rows": Case(
        "rows of 96 and 288, groups of two", "Q8_0", ("--tensor-type", "attn=iq3_s", "--tensor-type", "ffn_down=q6_k")
    ),
    "tensor type under F16": Case("plain", "F16", ("--tensor-type", "attn_v=q8_0")),
    "only some weights": Case("plain", "Q4_K_M", ("--include-weights", "attn"), imatrix=True),
    "all but some weights": Case(
        "plain", "IQ4_XS", ("--exclude-weights", "ffn_down", "--exclude-weights", "blk.2"), imatrix=True
    ),
    "no weights left": Case("plain", "IQ4_XS", ("--include-weights", "nothing"), imatrix=True),
    "pruned": Case("32 layers, BF16", "Q4_K_M", ("--prune-layers", "3,4,17,31")),
    "pruned with an imatrix": Case(TIED, "IQ2_M", ("--prune-layers", "5,0"), imatrix=True),
    "metadata": Case(
        "plain",
        "Q5_K_M",
        (
            *(
                "--override-kv",
                "a.new=str:text",
                "--override-kv",
                "a.small=int:-7",
                "--override-kv",
                "a.double=float:2.5",
            ),
            *("--override-kv", "tokenizer.ggml.add_bos_token=bool:false"),
        ),
    ),
    "metadata that the rules ask for": Case("plain", "Q2_K", ("--override-kv", "llama.attention.head_count_kv=int:1")),
    "metadata with an imatrix": Case("plain", "IQ3_M", ("--override-kv", "a.new=int:5"), imatrix=True),
    "kept split": Case("eight experts", "Q4_K_M", ("--keep-split",), split=20),
    "kept split of one": Case("plain", "Q4_K_S", ("--keep-split",)),
    "kept split, pruned, with types": Case(
        "32 layers, BF16",
        "Q4_K_S",
        ("--keep-split", "--prune-layers", "2", "--tensor-type", "attn_q=q8_0"),
        split=100,
    ),
    "not kept": Case("eight experts", "Q4_K_M", (), split=20),
}


def prepare(folder: Path, case: Case) -> tuple[Path, Path | None]:
    """The source of a case, and its importance matrix."""
    source = write_model(folder / "in.gguf", case.model)
    if case.split:
        source = gguf.split(source, folder / "part", max_tensors=case.split)[0]
    if not case.imatrix:
        return source, None
    # written for the expected values of the importances, and read back as llama.cpp reads it
    return source, imatrix.write(folder / "small.imatrix.gguf", importance(case.model))


def digests(folder: Path) -> dict[str, str]:
    """Name -> digest of each file in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
