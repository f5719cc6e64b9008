"""Write ``recipes.json``: digests of what llama.cpp makes of the models in ``recipe_models.py``, recipe by recipe.

Run ``python tests/golden/make_recipes.py`` where llama-cpp-python is installed (x86-64: it was made with version
0.3.36), after a model or a recipe is added.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import llamacpp  # noqa: E402
from recipe_models import IMATRIX_MODELS, MODELS, importance, write_model  # noqa: E402

from qviz import gguf, recipes  # noqa: E402

REQUANTIZED = ("F32", "Q4_K_M", "Q8_0", "Q4_0", "IQ4_XS")


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
    text = json.dumps({"llama-cpp-python": llamacpp.version(), "sha256": results}, indent=1)
    (HERE / "recipes.json").write_text(text + "\n", encoding="utf-8")
    print(sum(map(len, results.values())), "digests", gguf.__name__)


if __name__ == "__main__":
    main()
