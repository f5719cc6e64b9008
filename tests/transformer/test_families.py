"""Every family against a float64 account of its own: at once, one by one in the compiled pass, in windows, by cache."""

import numpy as np
import pytest
from made_models import made, reference_logits

from qviz.architectures import ARCHITECTURES
from qviz.transformer import Transformer

IDS = [1, 5, 7, 7, 30, 2, 274, 11]
# keys and values have 11, 7 and 3 bits beside their sign, over at most seven layers; float32 has 24
BITS = {"F32": 1e-5, "F16": 0.01, "Q8_0": 0.05, "Q4_0": 0.5}


@pytest.mark.parametrize("optional", [(), "all"])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_way_through_a_model(name, optional):
    model = made(name, optional=optional)
    want = reference_logits(model, IDS)
    most = np.abs(want).max()
    run = Transformer(model, activations="float")
    for kind, bound in BITS.items():
        cache = run.new_cache(len(IDS), kind)
        found = np.concatenate([run.logits(IDS[:5], cache), run.logits(IDS[5:], cache)])
        assert np.abs(found - want).max() < bound * most, kind
    cache = run.new_cache(len(IDS))
    one_by_one = np.concatenate([run.logits([token], cache) for token in IDS])
    assert np.abs(one_by_one - want).max() < BITS["F16"] * most
    windows = run.window_logits(np.array([IDS, IDS[::-1]]), 2, 6)
    assert np.abs(windows[0] - want[2:6]).max() < BITS["F16"] * most
