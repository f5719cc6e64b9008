"""Write ``recipes.json``: digests of what llama.cpp makes of the models in ``recipe_models.py``, recipe by recipe.

Beside them, from its dry runs: the bytes of real architectures, of which files without content are enough.

Run ``python tests/golden/make_recipes.py`` where llama-cpp-python is installed (x86-64: it was made with version
0.3.36), after a model or a recipe is added.
"""

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import llamacpp  # noqa: E402
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter  # noqa: E402
from recipe_models import IMATRIX_MODELS, MODELS, importance, write_model  # noqa: E402

from qviz import recipes  # noqa: E402

LINE = re.compile(r"^\[.*\] +(\S+) +- \[ *(.*?)\], type = +(\w+), size = .*?(?:\((\w+)\))?$", re.MULTILINE)
SIZES = {kind.name: size for kind, size in GGML_QUANT_SIZES.items()} | {"Q2_0": (64, 18)}  # newer than gguf-py
REQUANTIZED = ("F32", "Q4_K_M", "Q8_0", "Q4_0", "IQ4_XS")


def hollow(path: Path, architecture: recipes.ModelShapes) -> Path:
    """A file of the right shapes, its tensors a hole."""
    family = architecture.architecture
    writer = GGUFWriter(path, family)
    for key, value in architecture.metadata().items():
        if key != "general.architecture":
            writer.add_uint32(key, value)
    writer.add_uint32(f"{family}.context_length", 2048)
    writer.add_uint32(f"{family}.embedding_length", architecture.width)
    writer.add_uint32(f"{family}.feed_forward_length", architecture.ffn)
    writer.add_uint32(f"{family}.expert_used_count", architecture.experts_used)
    if architecture.head_size:
        writer.add_uint32(f"{family}.attention.key_length", architecture.head_size)
        writer.add_uint32(f"{family}.attention.value_length", architecture.head_size)
    if family == "qwen3moe":
        writer.add_uint32(f"{family}.expert_feed_forward_length", architecture.ffn)
    writer.add_float32(f"{family}.attention.layer_norm_rms_epsilon", 1e-5)
    total = 0
    for name, (fmt, shape) in architecture.tensors().items():
        size = fmt.type_size
        for length in shape:
            size *= length
        kind = GGMLQuantizationType[fmt.name]
        writer.add_tensor_info(name, shape, None, size, raw_dtype=kind)
        total += -(-size // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(-(-path.stat().st_size // 32) * 32 + total)
    return path


def dry_runs(folder: Path) -> dict[str, dict[str, int]]:
    """Architecture -> recipe -> bytes, from what llama.cpp says that it would write."""
    found: dict[str, dict[str, int]] = {}
    for name, architecture in recipes.MODEL_SHAPES.items():
        source = hollow(folder / "hollow.gguf", architecture)
        for recipe in recipes.RECIPES:
            done, said = llamacpp.quantize(source, folder / "none.gguf", recipe, dry_run=True)
            if not done:  # rows that neither the format nor another divides
                assert "no tensor type fallback" in said, said
                continue
            total = count = 0
            for _, dims, before, after in LINE.findall(said):
                block, size = SIZES[(after or before).upper()]
                weights = 1
                for length in dims.split(","):
                    weights *= int(length)
                total, count = total + weights // block * size, count + 1
            assert count == len(architecture.tensors()), said
            found.setdefault(name, {})[recipe] = total
        source.unlink()
    return found


def main() -> None:
    """Quantize everything with llama.cpp only."""
    results: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(title: str, source: Path, recipe: str, **options: object) -> Path:
            out = folder / "out.gguf"
            out.unlink(missing_ok=True)
            done, said = llamacpp.quantize(source, out, recipe, **options)
            digest = hashlib.sha256(out.read_bytes()).hexdigest() if done else "refused"
            results.setdefault(title, {})[recipe] = digest
            if not done:
                print(title, recipe, [line for line in said.splitlines() if "fail" in line][-1:])
            return out

        for model in MODELS:
            source = write_model(folder / "in.gguf", model)
            for recipe in recipes.RECIPES:
                run(model, source, recipe)
                run(f"{model}, uniform", source, recipe, pure=True)
            if model in IMATRIX_MODELS:
                matrix = importance(model)
                means = {key: matrix[key] for key in matrix}
                keys = {
                    "quantize.imatrix.file": matrix.path,
                    "quantize.imatrix.dataset": matrix.datasets[0],
                    "quantize.imatrix.entries_count": len(matrix),
                    "quantize.imatrix.chunks_count": matrix.chunk_count,
                }
                for recipe in recipes.RECIPES:
                    run(f"{model}, imatrix", source, recipe, imatrix=means, overrides=keys)
        source = write_model(folder / "in.gguf", "plain")
        for first in ("Q8_0", "Q4_0"):
            done, _ = llamacpp.quantize(source, folder / "quantized.gguf", first)
            assert done
            for recipe in REQUANTIZED:
                run(f"from {first}", folder / "quantized.gguf", recipe, allow_requantize=True)
        sizes = dry_runs(folder)
    text = json.dumps({"llama-cpp-python": llamacpp.version(), "sha256": results, "bytes": sizes}, indent=1)
    (HERE / "recipes.json").write_text(text + "\n", encoding="utf-8")
    print(sum(map(len, results.values())), "digests,", sum(map(len, sizes.values())), "sizes")


if __name__ == "__main__":
    main()
