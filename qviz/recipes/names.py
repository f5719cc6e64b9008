"""Names on download pages: what a name such as ``Qwen3-8B-UD-Q4_K_XL.gguf`` promises, and which program runs it.

A name is a habit, not a standard. `READINGS` holds the habits of 2026, each with its source; what follows none of them
is refused. What a file really holds, only the file says: ``qviz inspect``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from qviz.errors import RecipeError, shortened
from qviz.formats import get
from qviz.grids import MXFP4, NVFP4
from qviz.grids.affine import AffineGrid
from qviz.recipes.rules import ALIASES, RECIPES
from qviz.recipes.sizes import model_plan

_MATRIX = (4096, 4096)  # the matrix whose bits per weight are counted, where nothing else is known
_LLAMA_CPP = "CPUs and GPUs: llama.cpp, Ollama, LM Studio"
_GPU = "GPUs: vLLM, Transformers; 4 bits also on x86 CPUs"
_EIGHT = "8-bit integers on CPUs"


@dataclass(frozen=True)
class Download:
    """What a name on a download page says.

    Attributes
    ----------
    name : str
        As it was given.
    model : str
        What stands before the part that was read.
    label : str
        The part that was read.
    kind : str
        Container and method.
    bits : float
        Bits of a code; NaN if the name does not say.
    inputs : str
        What the inputs of a matrix are rounded to while it runs.
    bpw : float
        Bits per weight, everything counted: of a whole LLaMA-7B for recipes, of one matrix for the others; NaN if the
        name does not say enough.
    promise : str
        What the name promises, in a sentence.
    runs_on : str
        Hardware, and programs.
    lesson : str
        Where it is taught.
    part : (int, int) or None
        Which of how many files, counted from 1.
    """

    name: str
    model: str
    label: str
    kind: str
    bits: float
    inputs: str
    bpw: float
    promise: str
    runs_on: str
    lesson: str
    part: tuple[int, int] | None = None


class Said(NamedTuple):
    """What a reading makes of its part of the name; fields as in `Download`."""

    kind: str
    bits: float
    inputs: str
    bpw: float
    promise: str
    runs_on: str
    lesson: str


class Reading(NamedTuple):
    """One habit of naming: what such names look like, what they say, and where that is written down."""

    pattern: re.Pattern[str]
    read: Callable[[re.Match[str], str], Said]
    source: str


def _recipe(found: re.Match[str], model: str) -> Said:
    name = found["recipe"].upper()
    recipe = RECIPES[ALIASES.get(name, "F16" if name == "FP16" else name)]
    base = get(recipe.base)
    digits = re.search(r"\d+", base.name)
    plan = model_plan(model, recipe)
    bpw = 8 * sum(choice.nbytes for choice in plan) / sum(choice.n_weights for choice in plan)
    lesson = "05" if "_K" in base.name else "04"
    if base.name.startswith(("IQ", "MX", "TQ")):
        lesson = "03" if base.name.startswith("IQ4") else "13" if base.name == "MXFP4" else "14"
    inputs = {"F32": "as they are", "F16": "16 bits", "BF16": "16 bits"}.get(base.name, _EIGHT)
    said = Said("GGUF recipe", float(digits[0]) if digits else math.nan, inputs, bpw, recipe.about, _LLAMA_CPP, lesson)
    if found["weighted"]:
        said = said._replace(promise=f"{said.promise}; made with an importance matrix")
    if found["trained"]:
        said = said._replace(promise=f"{said.promise}; the model was trained on for such rounding")
    if found["dynamic"]:
        said = _dynamic_of(said, name)
    if found["bpw"]:
        promise = f"{said.promise}; its maker mixed formats down to the bits per weight that the name gives"
        said = said._replace(promise=promise, bpw=float(found["bpw"]))
    return said


def _dynamic_of(said: Said, base: str) -> Said:
    promise = (
        f"about as many bits as {base}, but Unsloth chose formats tensor by tensor for this model, with an importance "
        f"matrix; the name does not say which"
    )
    return said._replace(kind="GGUF, Unsloth Dynamic", bpw=math.nan, promise=promise)


def _dynamic(found: re.Match[str], model: str) -> Said:
    bits = float(found["bits"])
    return _dynamic_of(Said("", bits, _EIGHT, math.nan, "", _LLAMA_CPP, "05"), f"Q{found['bits']}_K")


def _larger_ends(found: re.Match[str], model: str) -> Said:
    base = {"Q2_K_L": "Q2_K", "Q3_K_XL": "Q3_K_L"}.get(found[1].upper(), f"{found[1][:4].upper()}_M")
    base = "Q6_K" if base == "Q6_K_M" else base
    promise = f"{base}, but embedding and output matrix in Q8_0: a name of uploaders, which llama.cpp does not know"
    return Said("GGUF, mixed by hand", float(found[1][1]), _EIGHT, math.nan, promise, _LLAMA_CPP, "05")


def _gone(found: re.Match[str], model: str) -> Said:
    promise = "Q4_0 with its blocks rearranged for one kind of processor; llama.cpp now rearranges Q4_0 as it loads"
    runs_on = "nothing today: llama.cpp removed it in 2024; use Q4_0"
    return Said("GGUF, removed format", 4.0, _EIGHT, get("Q4_0").bpw, promise, runs_on, "04")


def _fork(found: re.Match[str], model: str) -> Said:
    digits = re.search(r"\d", found[0])
    promise = "a format of a fork of llama.cpp, which llama.cpp itself does not read"
    bits = float(digits[0]) if digits else math.nan
    return Said("GGUF, format of a fork", bits, _EIGHT, math.nan, promise, "CPUs and GPUs: ik_llama.cpp only", "14")


def _packed(found: re.Match[str], model: str) -> Said:
    method, group = found["method"].upper(), found["group"]
    bits = float(found["bits"]) if found["bits"] else 4.0 if method == "AWQ" else math.nan
    known = bool(group) and not math.isnan(bits)
    bpw = AffineGrid(int(bits), int(group)).bpw(_MATRIX) if known else math.nan
    promise = f"matrices of the layers rounded by {method}, " + (
        f"{group} weights share a scale" if group else "config.json says how many weights share a scale"
    )
    lesson = {"AWQ": "08", "GPTQ": "07"}[method]
    return Said(f"safetensors, {method}", bits, "16 bits", bpw, promise, _GPU, lesson)


def _both_sides(found: re.Match[str], model: str) -> Said:
    weights, inputs, group = found["weights"], found["inputs"].upper(), found["group"]
    floats = "FP" in inputs or (found["kind"] or "").upper() == "FP8"
    number = re.sub(r"\D", "", inputs)
    rounded = "16 bits" if number == "16" else f"{'floats' if floats else 'integers'} of {number} bits"
    bpw = AffineGrid(int(weights), int(group), sym=True).bpw(_MATRIX) if group else math.nan
    what = "FP8" if floats and weights == "8" else f"{weights}-bit integers"
    promise = f"weights as {what}, inputs as {rounded}"
    runs_on = {
        ("8", "8", True): "GPUs from Ada and CDNA 3 on: vLLM",
        ("8", "8", False): "GPUs from Turing on, x86 and Arm CPUs: vLLM",
        ("4", "8", True): "GPUs from Hopper on: vLLM",
        ("4", "8", False): "Arm CPUs: vLLM",
    }.get((weights, number, floats), _GPU if number == "16" else "few programs: experimental")
    return Said("safetensors, compressed-tensors", float(weights), rounded, bpw, promise, runs_on, "13")


def _fp8(found: re.Match[str], model: str) -> Said:
    how = (found["how"] or "").lower()
    promise = "weights and inputs as 8-bit floats; " + {
        "dynamic": "a scale for each output of a matrix, and one for each token, found while it runs",
        "block": "a scale for 128 × 128 weights, and one for 128 inputs, found while it runs",
        "static": "one scale for a matrix, and one for its inputs, fixed by calibration",
    }.get(how, "config.json says who shares a scale")
    runs_on = "GPUs from Ada and CDNA 3 on: vLLM; on older ones only the weights are 8 bits"
    bpw = 8 + 16 / _MATRIX[1] if how == "dynamic" else math.nan
    return Said("safetensors, FP8", 8.0, "floats of 8 bits", bpw, promise, runs_on, "13")


def _nvfp4(found: re.Match[str], model: str) -> Said:
    promise = "weights and inputs as 4-bit floats, an FP8 scale for 16 of them and a float for the matrix"
    if found["gguf"]:
        runs_on = "CPUs and GPUs: llama.cpp of March 2026 and later"
        return Said("GGUF, NVFP4", 4.0, _EIGHT, get("NVFP4").bpw, promise, runs_on, "13")
    runs_on = "GPUs: vLLM; 4-bit products from Blackwell on, only the weights are 4 bits on older ones"
    return Said("safetensors, NVFP4", 4.0, "floats of 4 bits", NVFP4.bpw(_MATRIX), promise, runs_on, "13")


def _mxfp4(found: re.Match[str], model: str) -> Said:
    if found["moe"] or found["gguf"]:
        promise = "experts as 4-bit floats, a power of two as the scale of 32; all else in Q8_0"
        return Said("GGUF recipe", 4.0, _EIGHT, math.nan, promise, _LLAMA_CPP, "13")
    promise = "4-bit floats, a power of two as the scale of 32 (gpt-oss: its experts only)"
    runs_on = "GPUs: vLLM, Transformers"
    return Said("safetensors, MXFP4", 4.0, "config.json says", MXFP4.bpw(_MATRIX), promise, runs_on, "13")


def _mlx(found: re.Match[str], model: str) -> Said:
    bits, group = float(found["bits"]), float(found["group"] or 64)
    promise = f"{group:.0f} weights share a scale and a shift" + (
        "" if found["group"] else ", unless config.json differs"
    )
    runs_on = "Apple's machines: MLX LM, LM Studio"
    return Said("safetensors, MLX", bits, "16 bits", bits + 32 / group, promise, runs_on, "02")


def _exl(found: re.Match[str], model: str) -> Said:
    version = (found["first"] or found["last"])[-1]
    said = found["after"] or found["before"]
    bpw = float(said) if said else math.nan
    promise = {
        "3": "a trellis code after a rotation: each weight is computed from sixteen bits that it shares with others",
        "2": "GPTQ with several numbers of bits mixed within a matrix",
    }[version] + "; the number is bits per weight in the layers"
    runs_on = f"GPUs: ExLlamaV{version}"
    return Said(f"safetensors, EXL{version}", bpw, "16 bits", bpw, promise, runs_on, "14" if version == "3" else "07")


def _bnb(found: re.Match[str], model: str) -> Said:
    bits = float(found["bits"])
    promise = {
        4.0: "a code into NF4's or FP4's sixteen levels, a scale for 64 weights; config.json says which",
        8.0: "8-bit integers, but input channels with outliers stay in 16 bits",
    }[bits]
    if found["chosen"]:
        promise += "; Unsloth left some matrices in 16 bits"
    lesson = "03" if bits == 4 else "13"
    inputs = "16 bits" if bits == 4 else "8-bit integers, outliers 16 bits"
    runs_on = "GPUs: Transformers, vLLM; CPUs: Transformers"
    return Said("safetensors, bitsandbytes", bits, inputs, math.nan, promise, runs_on, lesson)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|[-_./])(?:{text})$", re.IGNORECASE)


_RECIPES = "|".join(sorted([*RECIPES, *ALIASES, "FP16"], key=len, reverse=True))
READINGS = (
    # the first that fits
    Reading(_pattern(r"(?:Q4_0_4_4|Q4_0_4_8|Q4_0_8_8|IQ4_NL_4_4)(?:\.gguf)?"), _gone, "ggml-org/llama.cpp#10446"),
    Reading(_pattern(r"MXFP4(?P<moe>_MOE)?(?P<gguf>\.gguf)?"), _mxfp4, "ggml-org/llama.cpp#15091; OCP MX 1.0"),
    Reading(_pattern(r"NVFP4(?P<gguf>\.gguf)?"), _nvfp4, "ggml-org/llama.cpp#19769; docs.vllm.ai, compression schemes"),
    Reading(
        _pattern(
            rf"(?P<trained>qat[-_])?(?P<dynamic>UD[-_])?(?P<weighted>i1[-_])?(?P<recipe>{_RECIPES})"
            rf"(?:-(?P<bpw>\d+\.\d+)bpw)?(?:\.gguf)?"
        ),
        _recipe,
        "llama.cpp, tools/quantize; huggingface.co/mradermacher: i1 is with an importance matrix",
    ),
    Reading(_pattern(r"UD[-_]Q(?P<bits>[2-8])_K_XL(?:\.gguf)?"), _dynamic, "unsloth.ai/docs, Dynamic 2.0"),
    Reading(_pattern(r"(Q[2456]_K_L|Q3_K_XL)(?:\.gguf)?"), _larger_ends, "huggingface.co/bartowski, tables of files"),
    Reading(
        _pattern(r"(?:IQ[1-6]_K(?:SS|S|L|T)?(?:_R[48])?|I?Q\d_(?:0|K|XS|XXS)_R[48]|Q6_0|Q8_KV)(?:\.gguf)?"),
        _fork,
        "ikawrakow/ik_llama.cpp",
    ),
    Reading(
        _pattern(r"(?P<method>AWQ|GPTQ)(?:[-_]?(?:INT|W)?(?P<bits>\d)(?:[-_]?BITS?|A16)?)?(?:[-_]?G(?P<group>\d+))?"),
        _packed,
        "docs.vllm.ai, quantization",
    ),
    Reading(
        _pattern(
            r"(?:quantized\.)?W(?P<weights>[2-8])A(?P<inputs>(?:FP|INT)?(?:4|8|16))(?:[-_](?P<kind>INT8|FP8))?"
            r"(?:[-_]?G(?P<group>\d+))?"
        ),
        _both_sides,
        "docs.vllm.ai, compression schemes",
    ),
    Reading(_pattern(r"FP8(?:[-_](?P<how>dynamic|block|static))?"), _fp8, "docs.vllm.ai, compression schemes"),
    Reading(
        _pattern(r"(?:MLX[-_]|mlx-community/.*-(?=\d))(?P<bits>[2-8])[-_]?bits?(?:[-_]gs(?P<group>32|64|128))?"),
        _mlx,
        "ml-explore.github.io, mlx.core.quantize",
    ),
    Reading(
        _pattern(
            r"(?P<first>EXL[23])(?:[-_](?P<after>\d(?:\.\d+)?)(?:bpw)?)?|(?P<before>\d(?:\.\d+)?)bpw[-_](?P<last>EXL[23])"
        ),
        _exl,
        "turboderp-org/exllamav3, doc/exl3.md",
    ),
    Reading(_pattern(r"(?P<chosen>unsloth-)?bnb-(?P<bits>[48])bit"), _bnb, "huggingface.co/docs, bitsandbytes"),
)
"""The habits of naming, tried in this order."""

_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=(?:\.gguf|\.safetensors)?$)")
_TAIL = re.compile(r"(?:\.safetensors|[-_.](?:imat|imatrix)(?=(?:\.gguf)?$))", re.IGNORECASE)


def read_name(name: str, model: str = "llama-7b") -> Download:
    """Read the name of a file or folder as download pages write it.

    Parameters
    ----------
    name : str
        With or without a model before it and ``.gguf`` behind it: ``"Q4_K_M"``, ``"Qwen3-8B-UD-Q4_K_XL.gguf"``,
        ``"AWQ-4bit-g128"``, ``"FP8-dynamic"``, ``"EXL3 4.0bpw"``.
    model : str
        Whose bits per weight are computed, where the name is that of a recipe.

    Returns
    -------
    Download

    Raises
    ------
    RecipeError
        A name that follows none of the habits.

    Examples
    --------
    >>> found = read_name("Qwen3-8B-UD-Q4_K_XL.gguf")
    >>> found.model, found.label, found.kind
    ('Qwen3-8B', 'UD-Q4_K_XL', 'GGUF, Unsloth Dynamic')
    >>> round(read_name("Q4_K_M").bpw, 2), read_name("AWQ-4bit-g128").bpw, read_name("GPTQ-Int4").bpw
    (4.84, 4.15625, nan)
    >>> read_name("Q4_0_4_4").runs_on
    'nothing today: llama.cpp removed it in 2024; use Q4_0'
    """
    if not isinstance(name, str):
        raise RecipeError(f"a name is a text such as 'Q4_K_M', not {type(name).__name__}")
    stem = "-".join(name.split())
    parts = _PART.search(stem)
    stem = _TAIL.sub("", _PART.sub("", stem))
    for reading in READINGS:
        if found := reading.pattern.search(stem):
            said = reading.read(found, model)
            before, label = _split(stem, found)
            whole = Download(name, before, label, *said)
            return replace(whole, part=(int(parts[1]), int(parts[2]))) if parts else whole
    raise RecipeError(
        f"cannot read {shortened(name)}; names end like Q4_K_M, UD-Q4_K_XL, IQ4_XS, AWQ-4bit-g128, GPTQ-Int4, W8A8, "
        f"FP8-dynamic, NVFP4, MLX-4bit, EXL3-4.0bpw, bnb-4bit; for a file at hand, ask the file: qviz inspect"
    )


def _split(stem: str, found: re.Match[str]) -> tuple[str, str]:
    """The model's name, and the part behind it that was read; an owner is left out."""
    model, label = stem[: found.start()], re.sub(r"^[-_./]|\.gguf$", "", found[0], flags=re.IGNORECASE)
    if "/" in label:  # mlx-community/Qwen3-8B-4bit: the owner says as much as the last word
        model, _, label = label.rpartition("-")
    return model.rpartition("/")[2], label
