"""Names of files and folders as they stood on download pages in 2026; bits per weight worked out by hand."""

import math
import re

import pytest

from qviz import recipes
from qviz.errors import RecipeError

# name, model before it, label, kind, bits of a code, bits per weight (None: the name does not say), lesson
NAMES = [
    ("Q4_K_M", "", "Q4_K_M", "GGUF recipe", 4, 4.84, "05"),
    ("q5_1", "", "q5_1", "GGUF recipe", 5, 6.01, "04"),
    ("Q4_K", "", "Q4_K", "GGUF recipe", 4, 4.84, "05"),
    ("IQ3_M", "", "IQ3_M", "GGUF recipe", 3, 3.70, "14"),
    ("IQ4_XS", "", "IQ4_XS", "GGUF recipe", 4, 4.33, "03"),
    ("fp16", "", "fp16", "GGUF recipe", 16, 16, "04"),
    ("gemma-3-270m-BF16.gguf", "gemma-3-270m", "BF16", "GGUF recipe", 16, 16, "04"),
    ("Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B", "Q4_K_M", "GGUF recipe", 4, 4.84, "05"),
    ("GLM-4.5-Base.i1-IQ4_XS.gguf", "GLM-4.5-Base", "i1-IQ4_XS", "GGUF recipe", 4, 4.33, "03"),
    ("gemma-3-4b-it-qat-q4_0.gguf", "gemma-3-4b-it", "qat-q4_0", "GGUF recipe", 4, 4.54, "04"),
    ("Qwen3-8B-UD-Q4_K_XL.gguf", "Qwen3-8B", "UD-Q4_K_XL", "GGUF, Unsloth Dynamic", 4, None, "05"),
    ("Qwen3.8-Flash-Next-UD-IQ4_XS.gguf", "Qwen3.8-Flash-Next", "UD-IQ4_XS", "GGUF, Unsloth Dynamic", 4, None, "03"),
    ("Qwen2.5-3B-Instruct-Q6_K_L.gguf", "Qwen2.5-3B-Instruct", "Q6_K_L", "GGUF, mixed by hand", 6, None, "05"),
    (
        "Qwen3-30B-A3B-Instruct-2507-IQ3_S-2.69bpw.gguf",
        "Qwen3-30B-A3B-Instruct-2507",
        "IQ3_S-2.69bpw",
        "GGUF recipe",
        3,
        2.69,
        "14",
    ),
    ("granite-3.0-8b-Q4_0_4_4.gguf", "granite-3.0-8b", "Q4_0_4_4", "GGUF, removed format", 4, 4.5, "04"),
    ("DeepSeek-R1-IQ4_KS.gguf", "DeepSeek-R1", "IQ4_KS", "GGUF, format of a fork", 4, None, "14"),
    ("Q4_K_R4", "", "Q4_K_R4", "GGUF, format of a fork", 4, None, "14"),
    ("MXFP4_MOE", "", "MXFP4_MOE", "GGUF recipe", 4, None, "13"),
    ("gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b", "mxfp4", "GGUF recipe", 4, None, "13"),
    ("openai/gpt-oss-20b-MXFP4", "gpt-oss-20b", "MXFP4", "safetensors, MXFP4", 4, 4.25, "13"),
    ("unsloth/Qwen3.8-27B-NVFP4", "Qwen3.8-27B", "NVFP4", "safetensors, NVFP4", 4, 4.5, "13"),
    ("Gemma-4-E2B-it-qat-NVFP4.gguf", "Gemma-4-E2B-it-qat", "NVFP4", "GGUF, NVFP4", 4, 4.5, "13"),
    # 4 bits, and for each group 16 bits of scale and 4 of zero point
    ("AWQ-4bit-g128", "", "AWQ-4bit-g128", "safetensors, AWQ", 4, 4 + 20 / 128, "08"),
    ("Qwen/Qwen3-8B-AWQ", "Qwen3-8B", "AWQ", "safetensors, AWQ", 4, None, "08"),
    ("Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen2.5-7B-Instruct", "GPTQ-Int4", "safetensors, GPTQ", 4, None, "07"),
    ("GPTQ_int3_g64", "", "GPTQ_int3_g64", "safetensors, GPTQ", 3, 3 + 19 / 64, "07"),
    ("W4A16", "", "W4A16", "safetensors, compressed-tensors", 4, None, "13"),
    ("Qwen3-8B-W4A16-G128", "Qwen3-8B", "W4A16-G128", "safetensors, compressed-tensors", 4, 4 + 16 / 128, "13"),
    (
        "RedHatAI/Meta-Llama-3.1-8B-quantized.w8a8",
        "Meta-Llama-3.1-8B",
        "quantized.w8a8",
        "safetensors, compressed-tensors",
        8,
        None,
        "13",
    ),
    ("W8A8-FP8", "", "W8A8-FP8", "safetensors, compressed-tensors", 8, None, "13"),
    (
        "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic",
        "Meta-Llama-3.1-8B-Instruct",
        "FP8-dynamic",
        "safetensors, FP8",
        8,
        8 + 16 / 4096,
        "13",
    ),
    ("unsloth/GLM-5.3-Flash-FP8", "GLM-5.3-Flash", "FP8", "safetensors, FP8", 8, None, "13"),
    # a scale and a shift of 16 bits each
    ("MLX-4bit", "", "MLX-4bit", "safetensors, MLX", 4, 4 + 32 / 64, "02"),
    ("zaydiscold/Qwen2.5-7B-MLX-4bit-gs32", "Qwen2.5-7B", "MLX-4bit-gs32", "safetensors, MLX", 4, 5, "02"),
    ("mlx-community/Qwen3-8B-8bit", "Qwen3-8B", "8bit", "safetensors, MLX", 8, 8.5, "02"),
    ("EXL3 4.0bpw", "", "EXL3-4.0bpw", "safetensors, EXL3", 4, 4, "14"),
    ("Llama-3.1-70B-2.5bpw-exl2", "Llama-3.1-70B", "2.5bpw-exl2", "safetensors, EXL2", 2.5, 2.5, "07"),
    ("turboderp/gemma-4-12B-it-exl3", "gemma-4-12B-it", "exl3", "safetensors, EXL3", None, None, "14"),
    ("unsloth/llama-3-8b-bnb-4bit", "llama-3-8b", "bnb-4bit", "safetensors, bitsandbytes", 4, None, "03"),
    ("Qwen3-8B-unsloth-bnb-4bit", "Qwen3-8B", "unsloth-bnb-4bit", "safetensors, bitsandbytes", 4, None, "03"),
]  # fmt: skip


def same(found, expected):
    if expected is None:
        return math.isnan(found)
    return found == pytest.approx(expected, abs=0.005)  # stated with 2 digits


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row[0])
def test_names_of_download_pages(row):
    name, model, label, kind, bits, bpw, lesson = row
    found = recipes.read_name(name)
    assert (found.name, found.model, found.label, found.kind, found.lesson) == (name, model, label, kind, lesson)
    assert same(found.bits, bits)
    assert same(found.bpw, bpw)
    assert found.promise
    assert found.part is None


def test_what_the_name_says_beside_the_format():
    assert "importance matrix" in recipes.read_name("GLM-4.5-Base.i1-IQ4_XS.gguf").promise
    assert "trained" in recipes.read_name("gemma-3-4b-it-qat-q4_0.gguf").promise
    assert "Q4_K_M, but" not in recipes.read_name("Q4_K_M").promise
    assert recipes.read_name("Q4_K_L").promise.startswith("Q4_K_M, but embedding and output matrix in Q8_0")
    assert recipes.read_name("Q3_K_XL").promise.startswith("Q3_K_L, but")
    assert recipes.read_name("W8A8").inputs == "integers of 8 bits"
    assert recipes.read_name("W8A8-FP8").inputs == recipes.read_name("W4AFP8").inputs == "floats of 8 bits"
    assert recipes.read_name("W4AFP8").runs_on == "GPUs from Hopper on: vLLM"
    assert recipes.read_name("Q4_K_M").inputs == "8-bit integers on CPUs"  # Q8_K blocks, as llama.cpp rounds them
    assert recipes.read_name("Q4_0_4_4").runs_on.startswith("nothing")


def test_parts_of_a_file():
    found = recipes.read_name("DeepSeek-R1-UD-Q2_K_XL-00002-of-00005.gguf")
    assert (found.model, found.label, found.part) == ("DeepSeek-R1", "UD-Q2_K_XL", (2, 5))


def test_every_recipe_can_be_read_and_every_reading_says_where_it_is_from():
    for name in recipes.RECIPES:
        if name != "MXFP4":  # the container decides
            assert recipes.read_name(f"a-{name}.gguf").label == name
    assert all(reading.source for reading in recipes.READINGS)


@pytest.mark.parametrize(
    "name",
    ["ultra-small", "Q4_K_XXL", "Q9_0", "Qwen3-8B-GGUF", "Qwen3-8B-4bit", "", "IQ4", "W4", "UD", "Q4_K_M.gguf.zip"],
)
def test_a_name_that_follows_no_habit_is_refused(name):
    with pytest.raises(RecipeError, match=re.escape(f"cannot read {name!r}")):
        recipes.read_name(name)


def test_a_name_is_a_text():
    with pytest.raises(RecipeError, match="a name is a text such as 'Q4_K_M', not int"):
        recipes.read_name(4)  # type: ignore[arg-type]
