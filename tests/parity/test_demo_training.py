"""Training on the demo set gets there on every framework, from the same start and on the same batches."""
import dataclasses

import numpy as np
import pytest

import wvad_core as wv
from compare import OUTPUT, assert_close
from wvad_core.data import Dataset, TrainingSet, demo
from wvad_core.methods import specification
from wvad_core.training import fit

METHODS = [method for method in wv.methods() if "demo" in specification(method).RECIPES]
STEPS = 100
"""A third of what the bundled checkpoints took."""


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return demo.demo_features(tmp_path_factory.mktemp("demo") / "features")


@pytest.mark.parametrize("method", METHODS)
def test_training_gets_there(method, framework, features):
    spec = specification(method)
    recipe = dataclasses.replace(spec.RECIPES["demo"], steps=STEPS)
    detector = wv.create(method, framework, seed=recipe.seed, **spec.DEMO.as_dict())
    test = Dataset.open("demo", features)
    assert 0.35 < wv.evaluate(detector, test, replicates=1).metrics["auc"] < 0.65
    history = fit(detector, TrainingSet(Dataset.open("demo", features, "train"), recipe.segments), recipe)
    assert len(history) == STEPS and history[-1]["total"] < history[0]["total"]
    assert 0.9 < wv.evaluate(detector, test, replicates=1).metrics["auc"] < 1


@pytest.mark.parametrize("method", METHODS)
def test_the_bundled_checkpoint_scores_alike(method, framework, features):
    path = demo.demo_checkpoint(method)
    detector, reference = wv.load(path, framework), wv.load(path)
    for item, video in Dataset.open("demo", features).prefetched():
        scores = detector.score(video)
        assert scores.dtype == np.float32
        assert_close(scores, reference.score(video), OUTPUT, name=item.video.name)
