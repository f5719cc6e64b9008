"""Counts and bounds by hand; of what is timed only that it is sane, never how long it took."""

import math
from fractions import Fraction

import numpy as np
import pytest

import qviz
from qviz.errors import FormatError, NotEncodableError, RecipeError, ShapeError
from qviz.measure import machine

MACHINE = machine.Machine(bandwidth=10e9, float_peak=40e9, integer_peak=100e9, threads=2, nbytes=1 << 28)


def test_a_roof_by_hand():
    assert dict(MACHINE.ridges) == {"integers": 10, "float32": 4}
    assert [MACHINE.bound(x) / 1e9 for x in (0.5, 9.9, 10, 1000)] == pytest.approx([5, 99, 100, 100])
    assert MACHINE.bound(8, "float32") == 40e9


@pytest.mark.parametrize(
    ("fmt", "expected"), [("F32", Fraction(1, 2)), ("Q4_0", Fraction(32, 9)), ("Q8_0", Fraction(32, 17))]
)
def test_intensity_is_operations_over_bytes(fmt, expected):
    weights, nbytes = 1024, qviz.formats.get(fmt).row_size(1024)
    assert Fraction(2 * weights, nbytes) == expected
    assert machine.intensity(qviz.formats.get(fmt).bpw) == pytest.approx(float(expected))
    assert machine.intensity(qviz.formats.get(fmt).bpw, 7) == pytest.approx(float(7 * expected))


def test_the_machine_is_measured():
    said = []
    found = machine.measure_machine(megabytes=1, seconds=0.001, progress=lambda *news: said.append(news))
    assert found.nbytes == 1 << 20
    assert found.threads >= 1
    assert all(math.isfinite(x) and x > 0 for x in (found.bandwidth, *found.peaks.values()))
    assert [done for _, done, _ in said] == [0, 1, 2, 3, 4]
    assert {total for *_, total in said} == {4}


def test_the_kernels_do_what_is_counted():
    """A peak of arithmetic that was left out would be no peak."""
    rng = np.random.default_rng(1)
    sums = np.zeros(2, np.uint64)
    words = rng.integers(0, 1 << 62, 1000, np.uint64)
    machine._read(words, sums, 1)
    assert sums.tolist() == [0, int(words.sum())]

    out = np.zeros(3, np.float32)
    rows, x = rng.integers(-9, 9, (2, 64)).astype(np.float32), rng.integers(-9, 9, 64).astype(np.float32)
    machine._float_dots(rows, x, out, 3)
    assert out.tolist() == [rows[0] @ x, rows[1] @ x, rows[0] @ x]

    codes = rng.integers(-127, 128, 64, np.int8)
    signs = np.array([-1, 1])  # `less` turns the sum around at each step
    out[:] = 0
    rows = rng.integers(-127, 128, (2, 2, 32), np.int8)
    machine._byte_dots(rows, codes, out, 2)
    parts = (rows.astype(int) * codes.astype(int).reshape(2, 32)).sum(2)
    assert out[:2].tolist() == (parts @ signs).tolist()

    out[:] = 0
    packed = rng.integers(0, 256, (2, 2, 16), np.uint8)
    machine._nibble_dots(packed, codes, out, 2)
    nibbles = np.concatenate([packed & 15, packed >> 4], axis=2).astype(int)
    assert out[:2].tolist() == ((nibbles * codes.astype(int).reshape(2, 32)).sum(2) @ signs).tolist()


@pytest.mark.parametrize("tokens", [1, 3, 6])
def test_formats_are_measured(tokens, monkeypatch):
    monkeypatch.setattr(machine, "_BEYOND_CACHE", 1 << 16)
    said = []
    found = machine.measure_formats(
        ["F32", "Q4_0", "Q4_K"], shape=(40, 256), tokens=tokens, seconds=0.001, progress=lambda *n: said.append(n)
    )
    assert [s.format for s in found] == ["F32", "Q4_0", "Q4_K"]
    assert [s.nbytes for s in found] == [40960, 5760, 5760]
    assert [s.bpw for s in found] == [32, 4.5, 4.5]
    for s in found:
        assert 0 < s.fastest <= s.seconds <= s.slowest
        assert s.repeats >= 3
        assert s.operations == pytest.approx(s.intensity * s.bandwidth)
        assert s.weights * s.bpw / 8 == pytest.approx(s.bandwidth)
    assert [name for name, *_ in said] == ["F32", "Q4_0", "Q4_K", "formats"]


def test_copies_outgrow_the_cache_and_hold_the_same_matrix(monkeypatch):
    monkeypatch.setattr(machine, "_BEYOND_CACHE", 10_000)
    few = qviz.quantize(np.random.default_rng(0).standard_normal((32, 64), np.float32), "Q4_0")
    copies = machine._copies(few, 50)
    assert sum(copy.weight.blocks.nbytes for copy in copies) >= 10_000
    expected = few.dequantize()[np.arange(50) % 32]
    first = (50 * np.arange(len(copies))) % 32  # the few rows go on where the copy before has ended
    for start, copy in zip(first, copies, strict=True):
        assert (copy.weight.dequantize() == few.dequantize()[(start + np.arange(50)) % 32]).all()
    assert (copies[0].weight.dequantize() == expected).all()


@pytest.mark.parametrize(
    ("formats", "options", "error", "says"),
    [
        (["Q4_K"], {"shape": (8, 100)}, ShapeError, "multiple of Q4_K block size"),
        (["Q4_0"], {"shape": (0, 64)}, ShapeError, "outputs is 0"),
        (["Q4_0"], {"tokens": 0}, ShapeError, "tokens is 0"),
        (["IQ2_XXS"], {}, NotEncodableError, "choose others"),
        (["Q9"], {}, FormatError, "Q9"),
    ],
)
def test_what_cannot_be_measured(formats, options, error, says):
    with pytest.raises(error, match=says):
        machine.measure_formats(formats, **options)


def one(name, nbytes, seconds):
    return machine.FormatSpeed(name, (8, 256), 1, nbytes, seconds, seconds, seconds, 3)


def test_surprises():
    a, b, c, d = one("a", 100, 4), one("b", 90, 2), one("c", 50, 3), one("d", 40, 1)
    assert machine.surprises([a, b, c, d]) == [(c, b)]
    assert machine.surprises([a, b]) == []
    assert machine.surprises([one("a", 100, 1), one("b", 90, 1.04)]) == []


# -- a model


@pytest.mark.parametrize("model", ["llama-7b", "smollm2-135m", "mistral-7b"])
def test_traffic_is_the_file_without_the_embedding(model):
    """Against the sizes of whole models, which are compared with llama.cpp elsewhere."""
    choices = qviz.recipes.model_plan(model, "Q8_0", rules="uniform")
    tied = not any(choice.name == "output.weight" for choice in choices)
    read = [c for c in choices if tied or c.name != "token_embd.weight"]
    row = 0 if tied else qviz.formats.get("Q8_0").row_size(choices[0].shape[-1])
    traffic = machine.token_traffic(model, "Q8_0")
    assert traffic.nbytes == traffic.weight_bytes == sum(c.nbytes for c in read) + row


def test_cache_of_llama_7b_by_hand():
    # keys and values, 32 layers, 4096 numbers of two bytes each
    assert machine.token_traffic("llama-7b", "Q4_0", 10).cache_bytes == 2 * 32 * 4096 * 2 * 10
    # of Mistral's 32 heads, groups of four share keys and values
    assert machine.token_traffic("mistral-7b", "Q4_0", 10).cache_bytes == 2 * 32 * 1024 * 2 * 10


def test_a_bound_is_bandwidth_over_bytes():
    traffic = machine.token_traffic("llama-7b", "F16", 100)
    assert traffic.bound(traffic.nbytes * 3.0) == 3
    assert traffic.intensity == pytest.approx(1, rel=1e-3)  # stated: two operations for two bytes; norms are float32
    assert traffic.context == 100


def test_models_that_do_not_fit():
    with pytest.raises(ShapeError, match="576"):
        machine.token_traffic("smollm2-135m", "Q4_K")
    with pytest.raises(RecipeError, match="llama-7b"):
        machine.token_traffic("gpt-5", "Q4_K")


# -- energy


def test_energy_by_hand():
    """Horowitz 2014: 1.3 to 2.6 nJ for 64 bits; 3.7 and 0.9 pJ in float32, 0.2 in int8, 0.1 to add 32 bits."""
    low, high, product = machine.ENERGY_45NM.weight(32, "float32")
    assert (low, high) == (650, 1300)
    assert product == pytest.approx(4.6)
    assert machine.ENERGY_45NM.weight(4, "int8") == pytest.approx((81.25, 162.5, 0.3))
    assert machine.ENERGY_45NM.weight(16, "float16")[2] == pytest.approx(1.5)
    assert "ISSCC 2014" in machine.ENERGY_45NM.source
    with pytest.raises(FormatError, match="int8, float16, float32"):
        machine.ENERGY_45NM.weight(4, "int4")
