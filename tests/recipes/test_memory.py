"""Memory of running models: against files that others published, and what llama.cpp says as it loads them."""

import math

import pytest

from qviz import recipes
from qviz.errors import RecipeError

GIB, MIB = 2**30, 2**20

# bytes of Qwen/Qwen3-8B-GGUF's file, which has 5.9 MB of header and vocabulary before its tensors
PUBLISHED_FILES = {("qwen3-8b", "Q4_K_M"): 5_027_783_488}
# published, in billions: Qwen's model cards (qwen3-4b, qwen3-30b-a3b), and llama.cpp's count of qwen3-8b's weights
PARAMETERS = {"qwen3-4b": 4.0, "qwen3-8b": 8.190735360, "qwen3-30b-a3b": 30.5}


@pytest.mark.parametrize(("model", "recipe"), PUBLISHED_FILES)
def test_sizes_are_those_of_published_files(model, recipe):
    header = PUBLISHED_FILES[model, recipe] - recipes.model_size(model, recipe)
    assert 5_000_000 < header < 7_000_000


@pytest.mark.parametrize("model", PARAMETERS)
def test_parameter_counts_of_families_other_than_llama(model):
    weights = sum(choice.n_weights for choice in recipes.model_plan(model, "F16"))
    assert weights / 1e9 == pytest.approx(PARAMETERS[model], rel=0.01)  # stated with two digits
    if model == "qwen3-8b":
        assert weights == 8_190_735_360


def test_cache_and_buffers_are_those_that_llama_cpp_reports():
    # Llama 3 8B: "KV self size = 64.00 MiB" for 512 tokens and 256.00 for 2048, "compute buffer size = 258.50 MiB";
    # Qwen 3 8B: 36 layers of 8 heads of 128 numbers, twice, 2 bytes each
    for n_ctx, cache in ((512, 64), (2048, 256)):
        need = recipes.memory_need("llama-3-8b", "Q4_K_M", n_ctx)
        assert (need.cache, need.buffers) == (cache * MIB, 258.5 * MIB)
    assert recipes.cache_size("qwen3-8b", 1) == 36 * 8 * 128 * 2 * 2
    # its heads are wider than width / heads: 36 layers of 8 heads of 128, not 80
    assert recipes.cache_size("qwen3-4b", 1) == 36 * 8 * 128 * 2 * 2


def test_conversations_share_the_weights():
    one, four = (recipes.memory_need("qwen3-8b", "Q4_K_M", 1000, conversations=n) for n in (1, 4))
    assert (four.weights, four.buffers, four.cache) == (one.weights, one.buffers, 4 * one.cache)
    assert four.total - one.total == 3 * one.cache
    assert four.read == one.read


def test_a_token_reads_a_row_of_the_embedding_and_some_experts():
    # Mixtral: 2 of 8 experts; in F16 by hand: attention, 2 experts, router, norms, one row, output, cache
    width, ffn, layers = 4096, 14336, 32
    layer = 2 * (2 * width * width + 2 * width * 1024 + 2 * 3 * width * ffn) + 4 * (8 * width + 2 * width)
    need = recipes.memory_need("mixtral-8x7b", "F16", 0)
    assert need.read == layers * layer + 2 * width + 4 * width + 2 * 32000 * width
    assert need.read < 0.3 * need.weights
    # tied: the whole embedding is read, as the output matrix
    tied = recipes.memory_need("qwen3-4b", "F16", 0)
    assert tied.read == tied.weights


def test_what_fits_is_sorted_and_honest():
    found = recipes.what_fits(8 * GIB, "qwen3-8b", 8192)
    assert [need.total for need in found] == sorted((need.total for need in found), reverse=True)
    assert all(need.total <= 8 * GIB for need in found)
    smaller = {need.recipe for need in recipes.what_fits(8 * GIB, "qwen3-8b", 8192, conversations=4)}
    assert smaller < {need.recipe for need in found}
    assert {need.recipe for need in recipes.what_fits(8 * GIB, "qwen3-8b", 8192, cache="Q8_0")} >= {
        need.recipe for need in found
    }
    assert recipes.what_fits(GIB, "qwen3-8b") == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recipes.what_fits(0, "qwen3-8b"), "memory is bytes that are free, such as 8 * 2**30; found 0"),
        (lambda: recipes.what_fits(math.nan, "qwen3-8b"), "found nan"),
        (lambda: recipes.what_fits("8 GB", "qwen3-8b"), "found '8 GB'"),
        (lambda: recipes.what_fits(GIB, "qwen3-8b", recipes=["Q4_K_XXL"]), "no recipe 'Q4_K_XXL'; there are"),
        (lambda: recipes.memory_need("gpt-9", "Q4_K_M"), "no shapes of a model 'gpt-9'"),
        (lambda: recipes.memory_need("qwen3-8b", "Q4_K_M", -1), "n_ctx"),
        (lambda: recipes.memory_need("qwen3-8b", "Q4_K_M", conversations=0), "conversations"),
        (lambda: recipes.memory_need("qwen3-8b", "Q4_K_M", batch=0), "batch"),
    ],
)
def test_wrong_calls_end_in_one_sentence(call, message):
    with pytest.raises(RecipeError) as caught:
        call()
    assert message in str(caught.value)
