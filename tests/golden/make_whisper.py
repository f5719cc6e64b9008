"""Write ``whisper.json``: digests of what whisper.cpp's own ``quantize`` makes of small models, and of Whisper tiny.en.

Run ``python tests/golden/make_whisper.py SDIST [ggml-tiny.en.bin]`` where g++ and pywhispercpp are. SDIST is the
unpacked source package of the same version (``pip download --no-deps --no-binary pywhispercpp pywhispercpp==1.5.1``):
the tool is compiled from it and linked with the libggml of the wheel. Nothing here is computed by qviz.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import ggml  # noqa: E402
import whisper_models  # noqa: E402


def build(sources: Path, to: Path) -> Path:
    """Compile the tool."""
    libraries = Path(ggml.library()._name).parent
    linked = [next(libraries.glob(pattern)) for pattern in ("libggml-[0-9a-f]*", "libggml-base-*")]
    includes = [f"-I{sources / place}" for place in ("examples", "ggml/include")]
    code = [sources / "examples" / name for name in ("quantize/quantize.cpp", "common-ggml.cpp")]
    options = [f"-Wl,-rpath,{libraries}", "-Wl,--allow-shlib-undefined"]
    subprocess.run(["g++", "-O2", "-std=c++17", *includes, *code, "-o", to, *linked, *options], check=True)
    return to


def digests(tool: Path, source: Path, recipes: list[str], folder: Path) -> dict[str, str]:
    """Of the source, and of what the tool makes of it, recipe by recipe."""
    found = {"source": hashlib.sha256(source.read_bytes()).hexdigest()}
    for recipe in recipes:
        out = folder / "out.bin"
        subprocess.run([tool, source, out, recipe.lower()], check=True, capture_output=True)
        found[recipe] = hashlib.sha256(out.read_bytes()).hexdigest()
    return found


def main() -> None:
    """Quantize everything with whisper.cpp only."""
    sources, given = Path(sys.argv[1]) / "whisper.cpp", [Path(name) for name in sys.argv[2:]]
    plain, all_recipes = [*whisper_models.RECIPES], [*whisper_models.RECIPES, *whisper_models.K_RECIPES]
    before = HERE / "whisper.json"
    results = json.loads(before.read_text(encoding="utf-8")) if before.is_file() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tool = build(sources, folder / "quantize")
        for width, recipes in ((64, plain), (256, all_recipes)):
            for half in (True, False):
                source = folder / "source.bin"
                source.write_bytes(whisper_models.file(width, half=half))
                title = f"{width} wide, {'F16' if half else 'F32'}"
                results[title] = digests(tool, source, recipes, folder)
        for path in given:
            results["tiny.en"] = digests(tool, path, plain, folder)
            readme = (sources / "models" / "README.md").read_text(encoding="utf-8")
            results["tiny.en"]["published sha1"] = re.search(r"\| tiny\.en .*`(\w{40})`", readme)[1]
    before.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
