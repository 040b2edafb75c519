"""The size of a method: parameters and multiply-accumulates, against a count by hand."""
import numpy as np
import pytest

import wvad_core as wv
from wvad_core.registry import specification
from wvad_core.scoring import cost


@pytest.mark.parametrize("method", wv.list_methods())
def test_parameters_are_those_that_train(method):
    config = specification(method).DEMO
    weights = wv.create(method, **config.as_dict()).weights()
    statistics = ("running_mean", "running_var", "num_batches_tracked", "dictionary")
    assert cost.parameter_count(method, config) == sum(w.size for n, w in weights.items() if not n.endswith(statistics))


@pytest.mark.parametrize("steps", (10, 33))
def test_multiply_accumulates_by_hand(steps):
    d, a, (h1, h2) = 16, 12, (20, 10)
    config = specification("saa").Config(feature_dim=d, attention_dim=a, hidden_dims=(h1, h2))
    q, inner = d // 4, d // 8
    pyramid = sum((3 * steps - 2 * dilation) * d * q for dilation in (1, 2, 4)) + steps * d * q + (3 * steps - 2) * d * d
    non_local = 4 * steps * q * inner + 2 * steps * inner * inner
    attention = (3 * steps - 2) * (d * a + a * a) + steps * a
    head = steps * (d * h1 + h1 * h2 + h2)
    assert cost.multiply_accumulates("saa", config, steps) == pyramid + non_local + attention + head


@pytest.mark.parametrize("method", wv.list_methods())
def test_counting_changes_no_score(method, monkeypatch):
    """The counted arrays compute what plain ones do, and every method has products to count."""
    spec, seen = specification(method), []
    forward = spec.forward
    monkeypatch.setattr(spec, "forward", lambda *given: seen.append(forward(*given)) or seen[0])
    count = cost.multiply_accumulates(method, spec.DEMO, 9)
    assert count > 9 * spec.DEMO.feature_dim
    rows = (1, 1 + spec.DEMO.patches) if spec.DEMO.patches else (1,)
    plain = wv.create(method, **spec.DEMO.as_dict()).network(np.ones((*rows, 9, spec.DEMO.feature_dim), np.float32))
    assert np.array_equal(np.asarray(seen[0]), plain)
