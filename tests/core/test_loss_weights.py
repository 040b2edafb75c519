"""The weights of a method's loss terms, as pictures of training show them: with them the terms make the total."""
import dataclasses

import numpy as np
import pytest

import wvad_core as wv
from wvad_core.data import demo
from wvad_core.data.companions import read_companions
from wvad_core.registry import specification

CASES = [(method, {}) for method in wv.list_methods()] + [("ar-net", {"variant": "bas"})]


@pytest.mark.parametrize("method, settings", CASES)
def test_weighted_terms_make_the_total(method, settings):
    spec = specification(method)
    config = dataclasses.replace(spec.DEMO, **settings)
    detector = wv.create(method, seed=3, **config.as_dict())
    features = np.random.default_rng(0).random((4, 2 + config.patches, 40, config.feature_dim), np.float32)
    classes = tuple((i,) for i in range(4)) if spec.classes(config) else None
    companions = read_companions(demo.demo_companions(method))
    terms = detector.losses(wv.Batch(features, np.array([0, 0, 1, 1]), classes=classes, companions=companions))
    weights = spec.loss_weights(config)
    assert weights.keys() <= terms.keys() - {"total"} and len(terms) > 1
    total = terms.pop("total")
    assert sum(weights.get(name, 1) * value for name, value in terms.items()) == pytest.approx(total, rel=1e-5)
    if any(weight not in (0, 1) for weight in weights.values()):
        assert sum(terms.values()) != pytest.approx(total, rel=1e-5)
