"""Training on the demo set gets there on every framework, from the same start and on the same batches."""
from itertools import islice

import numpy as np
import pytest

import wvad_core as wv
from compare import OUTPUT, assert_close
from wvad_core.data import Dataset, demo
from wvad_core.registry import specification
from wvad_core.training.loop import Journal, read_training_set, train
from wvad_core.training.overrides import resolve

METHODS = [method for method in wv.list_methods() if "demo" in specification(method).RECIPES]
STEPS = {"adplg": {"steps": 300, "evaluate_every": 20}, "ssrl": {"steps": 60, "evaluate_every": 60},
         "deep-mil": {"steps": 300, "evaluate_every": 100}, "s3r": {"steps": 150, "evaluate_every": 50},
         ("mindspore", "mgfn"): {"steps": 200, "evaluate_every": 50}}
"""Of the methods for which it is not 100: labels come from a branch that has to learn before; there are four stages; one
snippet of a video trains at a time; some categories are found late; with other numbers of dropout, the picks are found later."""

SOONER = {"torch": ("clip-tsa", "deep-mil", "rtfm", "saa"), "mindspore": ("ar-net",)}
"""Those that take seconds; in MindSpore one: steps are the same on both frameworks, as test_training.py shows."""
MOST = 4
"""Videos that a bundled checkpoint scores: of 2100 snippets, of one, and of some."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{layout: folder}."""
    made = tmp_path_factory.mktemp("demo")
    return {layout: demo.demo_features(made / layout, layout) for layout in demo.LAYOUTS}


@pytest.mark.parametrize("method", METHODS)
def test_training_gets_there(method, framework, folders, request):
    if method not in SOONER[framework] and not request.config.getoption("--slow"):
        pytest.skip("takes minutes; docs/training.md has its result, and --slow runs it")
    spec = specification(method)
    steps = STEPS.get((framework, method), STEPS.get(method, {"steps": 100, "evaluate_every": 50}))
    resolved = resolve(spec.RECIPES["demo"], spec.Config, steps, method)
    recipe, options, config = resolved.recipe, resolved.options, resolved.config
    videos, test = (Dataset.open("demo", folders[config.layout], split, companions=demo.demo_companions(method))
                    for split in ("train", "test"))
    fresh = wv.create(method, framework, seed=options.seed, **config.as_dict())
    assert 0.35 < wv.evaluate(fresh, test, replicates=1).metrics["auc"] < 0.65
    journal = Journal()

    def validate(detector):
        """By the test set, as published."""
        return wv.evaluate(detector, test, replicates=1).metrics["auc"]

    trained = train(method, config, read_training_set(videos, recipe, method, config), recipe, framework, validate=validate,
                    journal=journal, options=options)
    losses = [line["total"] for line in journal.history if "total" in line]
    assert len(losses) == recipe.steps * len(spec.stages(config)) and losses[-1] < losses[0]
    assert 0.9 < trained.position.best < 1


@pytest.mark.parametrize("method", METHODS)
def test_the_bundled_checkpoint_scores_alike(method, framework, folders):
    path = demo.demo_checkpoint(method)
    detector, reference = wv.load(path, framework), wv.load(path)
    features = folders[detector.config.layout]
    for item, video in islice(Dataset.open("demo", features).prefetched(), MOST):
        scores = detector.score(video)
        assert scores.dtype == np.float32
        assert_close(scores, reference.score(video), OUTPUT, name=item.video.name)
