"""Recipes against the published table, against llama.cpp's own choices, and against examples worked by hand."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from qviz import recipes
from qviz.errors import QvizError, RecipeError
from qviz.formats import get

# Sizes at 7B from the help text of llama.cpp's quantize (ggml-org/llama.cpp#1787), copied from there
K_ROWS = {
    "Q2_K": 2.67,
    "Q3_K_S": 2.75,
    "Q3_K_M": 3.06,
    "Q3_K_L": 3.35,
    "Q4_K_S": 3.56,
    "Q4_K_M": 3.80,
    "Q5_K_S": 4.33,
    "Q5_K_M": 4.45,
    "Q6_K": 5.15,
}
LEGACY_ROWS = {"Q4_0": 3.50, "Q4_1": 3.90, "Q5_0": 4.30, "Q5_1": 4.70, "Q8_0": 6.70}
GIB = 2**30
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "recipes.json").read_text(encoding="utf-8"))


def model(n_layers=32, heads=32, kv_heads=32, architecture="llama", experts=0, width=512, tied=False, ffn_down=512):
    """A model of matrices 512 × 512, as `plan` sees it."""
    matrix = SimpleNamespace(format=get("F16"), shape=(512, width))
    tensors = {"token_embd.weight": matrix}
    if not tied:
        tensors["output.weight"] = matrix
    for i in range(n_layers):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"):
            tensors[f"blk.{i}.{part}.weight"] = matrix
        tensors[f"blk.{i}.ffn_down.weight"] = SimpleNamespace(format=get("F16"), shape=(512, ffn_down))
        tensors[f"blk.{i}.attn_norm.weight"] = SimpleNamespace(format=get("F32"), shape=(512,))
    metadata = {
        "general.architecture": architecture,
        f"{architecture}.block_count": n_layers,
        f"{architecture}.attention.head_count": heads,
        f"{architecture}.attention.head_count_kv": kv_heads,
        f"{architecture}.expert_count": experts,
    }
    return tensors, metadata


def formats(recipe, rules="modern", imatrix=False, **options):
    tensors, metadata = model(**options)
    return {c.name: c.format.name for c in recipes.plan(tensors, metadata, recipe, rules, imatrix=imatrix)}


def layers_with(found, part, format):
    return [int(name.split(".")[1]) for name, fmt in found.items() if f".{part}." in name and fmt == format]


@pytest.mark.parametrize(("recipe", "published"), K_ROWS.items())
def test_k_rows_equal_the_published_sizes_under_the_rules_of_their_day(recipe, published):
    assert round(recipes.model_size("llama-7b", recipe, rules="2023-06") / GIB, 2) == published


@pytest.mark.parametrize(("recipe", "published"), LEGACY_ROWS.items())
def test_legacy_rows_are_uniform_and_rounded_to_one_decimal(recipe, published):
    size = recipes.model_size("llama-7b", recipe, rules="uniform") / GIB
    assert size == pytest.approx(published, rel=0.01)  # stated with three digits
    assert round(size, 1) == published


def test_float_rows_are_rounded_up_to_whole_gib():
    # 6,738,149,376 weights in matrices and 266,240 in norms, which stay float32
    matrices, norms = 6_738_149_376, 266_240
    assert recipes.model_size("llama-7b", "F16") == 2 * matrices + 4 * norms
    assert recipes.model_size("llama-7b", "F32") == 4 * (matrices + norms)
    assert [-(-recipes.model_size("llama-7b", name) // GIB) for name in ("F16", "F32")] == [13, 26]


@pytest.mark.parametrize("name", GOLDEN["bytes"])
def test_modern_sizes_equal_llama_cpps_dry_run_to_the_byte(name):
    sizes = GOLDEN["bytes"][name]
    assert {recipe: recipes.model_size(name, recipe) for recipe in sizes} == sizes
    for recipe in set(recipes.RECIPES) - set(sizes):
        with pytest.raises(RecipeError, match="no format takes its place"):
            recipes.model_size(name, recipe)


def test_size_table_has_the_sixteen_rows_and_explains_each():
    rows = recipes.size_table()
    assert {row.recipe: row.published for row in rows} == {**K_ROWS, **LEGACY_ROWS, "F16": 13.0, "F32": 26.0}
    by_name = {row.recipe: row for row in rows}
    assert by_name["Q2_K"].explanation.startswith("2.6695 GiB under the rules of June 2023")
    assert "ffn_down Q3_K instead of Q4_K" in by_name["Q2_K"].explanation
    assert "Today" not in by_name["Q6_K"].explanation
    assert by_name["F32"].bpw == 32
    assert all(row.explanation for row in rows)


def test_q4_k_m_gives_half_of_the_layers_more_bits():
    # 32 layers: 0-3, 28-31, and every third of 4 … 27 counted from 4: 6, 9, ... 27
    expected = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    found = formats("Q4_K_M")
    assert layers_with(found, "attn_v", "Q6_K") == expected
    assert layers_with(found, "ffn_down", "Q6_K") == expected
    assert {fmt for name, fmt in found.items() if "attn_q" in name or "ffn_up" in name} == {"Q4_K"}
    assert found["output.weight"] == "Q6_K"
    assert found["token_embd.weight"] == "Q4_K"


def test_q4_k_s_and_q3_k_m_favour_the_first_layers():
    small = formats("Q4_K_S")
    assert layers_with(small, "attn_v", "Q5_K") == layers_with(small, "ffn_down", "Q5_K") == [0, 1, 2, 3]
    medium = formats("Q3_K_M")
    assert layers_with(medium, "attn_v", "Q5_K") == layers_with(medium, "ffn_down", "Q5_K") == [0, 1]


def test_a_tied_embedding_is_treated_as_the_output():
    assert formats("Q4_K_M", tied=True)["token_embd.weight"] == "Q6_K"
    assert formats("Q4_K_M", "2023-06", tied=True)["token_embd.weight"] == "Q4_K"
    assert formats("TQ2_0")["token_embd.weight"] == "Q4_K"
    assert formats("TQ2_0", tied=True)["token_embd.weight"] == "Q6_K"


def test_grouped_queries_buy_attn_v_more_bits():
    assert formats("Q2_K")["blk.5.attn_v.weight"] == "Q3_K"
    assert formats("Q2_K", kv_heads=8)["blk.5.attn_v.weight"] == "Q4_K"
    assert formats("Q2_K", kv_heads=11)["blk.5.attn_v.weight"] == "Q3_K"  # 32 // 11 = 2
    assert formats("IQ4_XS", kv_heads=8)["blk.5.attn_v.weight"] == "Q5_K"


def test_the_70b_rule_lifts_three_and_four_bits_to_five():
    seventy = {"n_layers": 80, "heads": 64, "kv_heads": 8}
    for recipe in ("Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q4_K_S", "IQ4_XS"):
        assert layers_with(formats(recipe, **seventy), "attn_v", "Q5_K") == list(range(80)), recipe
    medium = formats("Q4_K_M", **seventy)
    assert len(layers_with(medium, "attn_v", "Q6_K")) + len(layers_with(medium, "attn_v", "Q5_K")) == 80
    # 65B has as many layers, but no groups
    assert not layers_with(formats("Q3_K_S", n_layers=80, heads=64, kv_heads=64), "attn_v", "Q5_K")


def test_a_mixture_of_eight_keeps_attention_precise():
    found = formats("Q4_0", experts=8)
    assert found["blk.1.attn_k.weight"] == found["blk.1.attn_v.weight"] == "Q8_0"
    assert formats("Q4_K_M", experts=8)["blk.1.attn_output.weight"] == "Q5_K"
    assert formats("Q3_K_L", experts=8)["blk.1.attn_output.weight"] == "Q3_K"


def test_experts_of_one_layer_count_once():
    tensors, metadata = model(n_layers=16, experts=2)
    for i in range(16):
        tensors[f"blk.{i}.ffn_down.1.weight"] = tensors[f"blk.{i}.ffn_down.weight"]
    found = {c.name: c.format.name for c in recipes.plan(tensors, metadata, "Q4_K_S")}
    assert sorted(set(layers_with(found, "ffn_down", "Q5_K"))) == [0, 1]
    tensors["blk.99.ffn_down.weight"] = tensors["output.weight"]
    with pytest.raises(RecipeError, match=r"blk\.99\.ffn_down.*expected blk\.0 … blk\.15"):
        recipes.plan(tensors, metadata, "Q4_K_S")


def test_falcon_has_its_own_rules():
    found = formats("Q4_K_M", architecture="falcon")
    assert found["output.weight"] == "Q8_0"
    assert layers_with(found, "ffn_down", "Q6_K") == [0, 1]
    assert layers_with(found, "ffn_down", "Q5_K")[:4] == [2, 3, 6, 9]
    assert formats("Q3_K_L", architecture="falcon")["blk.0.attn_output.weight"] == "Q4_K"


def test_mxfp4_is_for_experts_only():
    tensors, metadata = model(n_layers=1, experts=4)
    tensors["blk.0.ffn_up_exps.weight"] = SimpleNamespace(format=get("F16"), shape=(4, 512, 512))
    found = {c.name: c.format.name for c in recipes.plan(tensors, metadata, "MXFP4")}
    assert found.pop("blk.0.ffn_up_exps.weight") == "MXFP4"
    assert found.pop("blk.0.attn_norm.weight") == "F32"
    assert set(found.values()) == {"Q8_0"}


def test_imatrix_changes_what_some_recipes_choose():
    assert layers_with(formats("Q4_0", imatrix=True), "ffn_down", "Q4_1") == [0, 1, 2, 3]
    assert not layers_with(formats("Q4_0"), "ffn_down", "Q4_1")
    assert layers_with(formats("IQ4_NL"), "ffn_down", "Q5_K") == [0, 1, 2, 3]
    assert not layers_with(formats("IQ4_NL", imatrix=True), "ffn_down", "Q5_K")


@pytest.mark.parametrize(
    ("recipe", "at_96", "at_40"),
    [
        ("Q2_K", "Q4_0", "F16"),
        ("Q4_K_M", "Q8_0", "F16"),  # layer 0 of ffn_down wants Q6_K
        ("Q4_K_S", "Q5_1", "F16"),  # ... Q5_K
        ("Q6_K", "Q8_0", "F16"),
        ("IQ4_XS", "Q5_1", "F16"),
        ("TQ1_0", "Q4_0", "F16"),
        ("Q4_0", "Q4_0", "F16"),
        ("Q8_0", "Q8_0", "F16"),
        ("BF16", "BF16", "BF16"),
    ],
)
def test_rows_that_are_not_whole_blocks_fall_back(recipe, at_96, at_40):
    for row, expected in ((96, at_96), (40, at_40)):
        tensors, metadata = model(n_layers=32, ffn_down=row)
        choice = next(c for c in recipes.plan(tensors, metadata, recipe) if c.name == "blk.0.ffn_down.weight")
        assert choice.format == expected
        if choice.fallback_from is not None:
            assert f"rows of {row} are not whole blocks of" in choice.reason
            assert f"{expected} takes the place of {choice.fallback_from}" in choice.reason


def test_an_output_matrix_with_odd_rows_becomes_q8_0():
    assert formats("Q4_K_M", width=96)["output.weight"] == "Q8_0"
    assert formats("Q4_0", width=96)["output.weight"] == "Q8_0"  # Q6_K falls back


def test_what_is_never_quantized_says_why():
    tensors, metadata = model(n_layers=1)
    matrix = tensors["output.weight"]
    tensors |= {
        "blk.0.ffn_gate_inp.weight": matrix,
        "a.bias": matrix,
        "row.weight": SimpleNamespace(format=get("F16"), shape=(1, 512)),
    }
    kept = {c.name: c for c in recipes.plan(tensors, metadata, "Q4_K_M") if not c.quantized}
    assert set(kept) == {"blk.0.ffn_gate_inp.weight", "a.bias", "row.weight", "blk.0.attn_norm.weight"}
    assert all(c.format is c.source and c.reason for c in kept.values())
    assert kept["row.weight"].shape == (512,)
    assert "router" in kept["blk.0.ffn_gate_inp.weight"].reason


def test_choices_come_in_the_order_of_llama_cpp():
    tensors, metadata = model(n_layers=11)
    names = [c.name for c in recipes.plan(dict(reversed(tensors.items())), metadata, "Q8_0")]
    assert names[:3] == ["output.weight", "token_embd.weight", "blk.0.attn_k.weight"]
    assert names.index("blk.9.ffn_up.weight") < names.index("blk.10.attn_k.weight")


def test_q2_k_s_says_which_tensors_need_an_imatrix():
    tensors, metadata = model(n_layers=8)
    needy = {c.name for c in recipes.plan(tensors, metadata, "Q2_K_S") if c.needs_imatrix}
    assert "blk.3.attn_q.weight" in needy
    assert not needy & {"token_embd.weight", "output.weight", "blk.0.ffn_down.weight"}


@pytest.mark.parametrize("rules", recipes.RULES)
@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_every_choice_has_a_finished_reason(recipe, rules):
    if rules == "2023-06" and not recipes.RECIPES[recipe].in_2023:
        with pytest.raises(RecipeError, match="did not exist in June 2023"):
            recipes.model_plan("llama-7b", recipe, rules)
        return
    for architecture in ("llama-2-70b", "mixtral-8x7b", "llama-7b" if recipe == "Q1_0" else "smollm2-135m"):
        for choice in recipes.model_plan(architecture, recipe, rules):
            assert len(choice.reason) > 10
            assert not {"{", "}"} & set(choice.reason)
            assert choice.shape[-1] % choice.format.block_size == 0


def test_every_row_of_the_rules_is_reachable_and_well_formed():
    roles = {role.role for role in recipes.ROLES} | {"*"}
    for rules in recipes.RULES.values():
        assert rules[-1][:3] == ("*", "*", "")
        for rule in rules:
            assert rule.role in roles
            assert rule.recipes == "*" or set(rule.recipes.split()) <= set(recipes.RECIPES)
            assert all(word in recipes.CONDITIONS for word in rule.when.split(", ") if word)
            assert rule.format == "base" or get(rule.format)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recipes.get_recipe("Q9_Z"), "no recipe 'Q9_Z'; there are F32"),
        (lambda: recipes.get_recipe(7), "no recipe 7"),
        (lambda: recipes.model_size("gpt-5", "Q4_0"), "no shapes of a model 'gpt-5'; there are llama-7b"),
        (lambda: recipes.model_size("llama-7b", "Q4_0", rules="2024"), "no rule set '2024'; there are 'modern'"),
        (
            lambda: recipes.plan({}, {"llama.block_count": "many"}, "Q4_0"),
            "'llama.block_count' is 'many'; expected a whole number",
        ),
    ],
)
def test_errors_name_the_value_and_what_exists(call, message):
    with pytest.raises(QvizError, match=message):
        call()


def test_names_and_aliases_in_any_case():
    assert recipes.get_recipe("q4_k") is recipes.RECIPES["Q4_K_M"]
    assert recipes.get_recipe("MXFP4_MOE").name == "MXFP4"
    assert recipes.get_shapes("LLaMA-30B").layers == 60


def test_parameter_counts_of_the_architectures():
    # published: 6.74, 13.0, 32.5, 65.2 (the LLaMA paper), 69.0, 8.03, 7.24, 46.7 billion, 135 and 362 million
    counts = {name: sum(c.n_weights for c in recipes.model_plan(name, "F32")) for name in GOLDEN["bytes"]}
    assert counts["llama-7b"] == 6_738_415_616
    assert counts["smollm2-135m"] == 134_515_008
    expected = {
        "llama-13b": 13.0e9,
        "llama-33b": 32.5e9,
        "llama-65b": 65.3e9,
        "llama-2-70b": 69.0e9,
        "llama-3-8b": 8.03e9,
        "mistral-7b": 7.24e9,
        "mixtral-8x7b": 46.7e9,
        "tinyllama-1.1b": 1.10e9,
        "smollm2-360m": 0.362e9,
        "smollm2-1.7b": 1.71e9,
    }
    assert {name: counts[name] for name in expected} == pytest.approx(expected, rel=0.005)  # stated with three digits


def test_a_cache_has_the_size_that_others_print():
    """What llama.cpp printed for Llama-3.1-8B at 2048 tokens, keys in Q8_0 (ikawrakow/ik_llama.cpp#92): 68.00 MiB."""
    both = recipes.cache_size("llama-3-8b", 2048, ("Q8_0", "IQ4_NL"))
    assert both / 2**20 == 68 + 36
    assert recipes.cache_size("llama-3-8b", 2048, "Q8_0") / 2**20 == 2 * 68
    with pytest.raises(RecipeError, match="n_ctx is -1"):
        recipes.cache_size("llama-3-8b", -1)
