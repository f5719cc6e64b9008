"""Entries of a codebook: the search against trying all of them in float64, and blocks written from numbers."""

import numpy as np
import pytest
from bounds import U as ULP

import qviz
from qviz.formats import get
from qviz.methods.lattice import book_of, eight_levels, entry_for, lattice_columns, scratch
from qviz.methods.numbers import EntryNumbers

NAMES = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]


def factor(n, rng):
    """An upper triangle as GPTQ has it: inputs that have much in common."""
    x = rng.standard_normal((4 * n, n)) + 2 * rng.standard_normal((4 * n, 1))
    inverse = np.linalg.inv(x.T @ x / len(x))
    return np.ascontiguousarray(np.linalg.cholesky(inverse).T, dtype=np.float32)


def parts_of(U):
    """What an error moves the other weights by, and what its square costs."""
    diagonal = np.diagonal(U)
    return np.ascontiguousarray(U / diagonal[:, None]), np.ascontiguousarray(diagonal**-2)


def losses(x, U, scale, entries, signs):
    """What each entry costs, in float64: column by column, errors passed on; signs as given, or as weights are."""
    now = np.repeat(x[None].astype(np.float64), len(entries), axis=0)
    total = np.zeros(len(entries))
    for i in range(entries.shape[1]):
        sign = signs[i] if signs[i] else np.where(now[:, i] >= 0, 1, -1)
        e = (now[:, i] - sign * entries[:, i].astype(np.float64) * scale) / U[i, i]
        total += e**2
        now[:, i + 1 :] -= e[:, None] * U[i, i + 1 : entries.shape[1]]
    return total


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_search_finds_the_best_of_all_entries(name, forced):
    rng, book = np.random.default_rng(1), book_of(name)
    entries = get(name).lattice.grid
    room, stack = np.empty((8, 9 + book.values.size), np.float32), np.empty(8, np.int32)
    for scale in (0.02, 0.05, 0.3):
        U = factor(8, rng)
        x = rng.standard_normal(8).astype(np.float32)
        signs = rng.choice([-1, 1], 8).astype(np.float32) if forced else np.zeros(8, np.float32)
        for first in range(0, 8, book.group):
            part, square = slice(first, first + book.group), U[first:, first:]
            scale = np.float32(scale)
            pull, prices = parts_of(U)
            got = entry_for(
                x[part], pull, prices, first, scale, book.values, book.tree, book.group, signs[part], room, stack
            )
            every = losses(x[part], square, scale, entries, signs[part])
            # float32: each of `group` errors is a sum of at most `group` products, and is squared
            assert every[got] <= every.min() * (1 + 4 * book.group * (book.group + 3) * ULP)


@pytest.mark.parametrize("name", NAMES)
def test_levels_are_entries_with_signs_that_can_be_stored(name):
    rng, book = np.random.default_rng(2), book_of(name)
    known = {tuple(entry) for entry in get(name).lattice.grid.tolist()}
    U = factor(16, rng)
    for _ in range(50):
        x, levels = rng.standard_normal(16).astype(np.float32), np.zeros(16, np.int16)
        before = x.copy()
        for at in (0, 8):
            eight_levels(
                x, at, *parts_of(U), np.float32(0.05), book.entries, book.values, book.tree, book.group, book.even,
                levels, scratch(book.values.size),
            )  # fmt: skip
        assert np.array_equal(x, before)
        assert all(tuple(part) in known for part in np.abs(levels).reshape(-1, book.group).tolist())
        if book.even:
            assert ((levels.reshape(2, 8) < 0).sum(1) % 2 == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_passed_on(name):
    """What is left of each row is what it has moved the others by: w − rounded = errors · pull."""
    rng, book = np.random.default_rng(3), book_of(name)
    w = rng.standard_normal((3, 256)).astype(np.float32)
    tensor = qviz.quantize(w, name, imatrix=np.ones(256, np.float32))
    (pull, prices), state = parts_of(factor(256, rng)), EntryNumbers(tensor)
    errors = np.empty_like(w)
    lattice_columns(
        w.copy(), pull, prices, state.d * state.scales, book.entries, book.values, book.tree, book.group, book.even,
        errors, state.codes,
    )  # fmt: skip
    off = w - state.tensor().dequantize()
    most = np.abs(errors.astype(np.float64)) @ np.abs(pull) + np.abs(w)
    assert (np.abs(off - errors.astype(np.float64) @ pull) <= 2 * 256 * ULP * most).all()


@pytest.mark.parametrize("name", NAMES)
def test_numbers_taken_out_and_put_in_again_are_the_same_bytes(name):
    w = np.random.default_rng(4).standard_normal((5, 512)).astype(np.float32)
    tensor = qviz.quantize(w, name, imatrix=np.ones(512, np.float32))
    assert EntryNumbers(tensor).tensor().tobytes() == tensor.tobytes()


def test_a_sub_block_of_zeros_moves_no_other():
    """As ggml's encoder writes it, IQ3_S has entries of later sub-blocks in the wrong place; written anew they stay."""
    w = np.random.default_rng(5).standard_normal((1, 256)).astype(np.float32)
    w[0, 32:64] = 0
    tensor = qviz.quantize(w, "IQ3_S")
    again = EntryNumbers(tensor).tensor()
    assert np.array_equal(again.dequantize(), tensor.dequantize())
