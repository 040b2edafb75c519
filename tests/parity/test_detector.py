"""A detector as an object: what it says of itself, copies of it, and pickles, for process pools."""
import copy
import pickle
from dataclasses import replace
from pathlib import Path

import devices
import economy
import numpy as np
import pytest

import wvad_core as wv
import wvad_core.detector
from cases import CONFIGS, NETWORKS, batch, detector, video
from compare import OUTPUT, assert_all_close, assert_close
from wvad_core.checkpoints.assumed import Assumed
from wvad_core.methods import rtfm
from wvad_core.registry import memory_state
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer

RECIPE = Recipe(segments=20, videos=3, steps=3, learning_rate=1e-3)
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda made: pickle.loads(pickle.dumps(made))}


def test_it_says_what_it_is(backend):
    made = wv.create("rtfm", backend, devices.of(backend), feature_dim=16, hidden_dims=(12, 6))
    size = sum(value.size for name, value in made.weights().items() if "running" not in name and "num_batches" not in name)
    assert repr(made) == (f"<Detector rtfm on {backend}, {made.backend.device(made.network)}, float32: feature_dim=16, "
                          f"hidden_dims=(12, 6); {size:,} parameters>")
    assert "settings as published;" in repr(replace(made, config=rtfm.Config()))


@pytest.mark.parametrize("method, config", [("rtfm", CONFIGS["rtfm"][0]), ("ssrl", CONFIGS["ssrl"][0])])
def test_of_long_videos_some_crops_are_scored_at_a_time(method, config, backend, monkeypatch):
    """Five crops of 7 snippets, at most 20 at once: 2, 2 and 1 crops; all at once where a method takes them together."""
    made, taken = detector(method, config, backend), []
    features = video(method, config, 7, 5)
    expected, whole = made.score(features), type(made.backend).score
    monkeypatch.setattr(wvad_core.detector, "MOST", 20)
    monkeypatch.setattr(type(made.backend), "score", lambda self, network, part: taken.append(len(part)) or whole(self, network, part))
    scores = made.score(features)
    assert scores.dtype == expected.dtype and taken == ([len(features)] if made.config.crops_together else [2, 2, 1])
    assert_close(scores, expected, OUTPUT)


def test_of_long_videos_classes_are_the_mean_over_crops_too(tagger_installed, monkeypatch):
    made, features = wv.create("tagger", seed=2), np.random.default_rng(0).standard_normal((5, 7, 8)).astype(np.float32)
    expected = made.classify(features)
    monkeypatch.setattr(wvad_core.detector, "MOST", 20)
    assert_close(made.classify(features), expected, OUTPUT)
    scores, classes = made.score_and_classify(features)
    assert_close(classes, expected, OUTPUT)
    assert_close(scores, made.score(features), OUTPUT)


def test_the_type_of_a_detector_of_one_method():
    assert wv.Detector[rtfm.Config].__origin__ is wv.Detector


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("method, config", {method: (method, config) for method, config in NETWORKS}.values())
def test_a_copy_computes_the_same_and_goes_on_alike(method, config, backend, way):
    """Weights to the bit; scores, and losses with dropout and noise after some steps, to rounding, since MindSpore
    rounds in another way where its arrays lie elsewhere in memory."""
    made, features = detector(method, config, backend), video(method, config, 20, 2)
    for seed in range(2):
        move(made, batch(method, config, 20, seed=seed))
    copied = COPIES[way](made)
    assert copied is not made and copied.network is not made.network and repr(copied) == repr(made)
    assert_the_same_state(copied, made)
    assert_all_close({"": copied.score(features)}, {"": made.score(features)}, 1e-6)
    given = batch(method, config, 20, seed=2)
    assert_all_close(copied.losses(given), made.losses(given), OUTPUT, 1e-7)
    before, memory = made.weights(), memory_state(made.network.memory)
    move(copied, given)
    assert all(np.array_equal(value, before[name]) for name, value in made.weights().items())
    assert_all_close(memory_state(made.network.memory), memory, 0.0)


def move(made: wv.Detector, given: wv.Batch) -> None:
    """What a step moves: dropout and noise, running statistics, memory, and weights where the backend trains."""
    if made.backend.TRAINS:
        Trainer(made, RECIPE).step(given)
    else:
        made.network.losses(given)


def assert_the_same_state(ours: wv.Detector, theirs: wv.Detector) -> None:
    found, expected = (x.weights() | memory_state(x.network.memory) for x in (ours, theirs))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(value, expected[name]) for name, value in found.items())


def test_what_a_copy_keeps(backend):
    made = replace(detector("rtfm", CONFIGS["rtfm"][0], backend), later=2, crops=5, assumed=Assumed(zeros=("a",)))
    for make in COPIES.values():
        copied = make(made)
        assert (copied.later, copied.crops, copied.assumed) == (2, 5, Assumed(zeros=("a",)))


def looked_at(made: wv.Detector, features: np.ndarray, given: wv.Batch) -> tuple:
    return made.score(features), made.losses(given), memory_state(made.network.memory)


def test_a_process_of_a_pool_goes_on_alike(backend):
    """By spawn, with what training remembers and the random state: the same scores, and losses with dropout."""
    method, config = "adplg", CONFIGS["adplg"][0]
    made, features = detector(method, config, backend), video(method, config, 30)
    move(made, batch(method, config, 20))
    given = made, features, batch(method, config, 20, seed=1)
    (ours, terms, memory), (scores, others, remembered) = economy.apart(looked_at, *given), looked_at(*given)
    assert_all_close({"": ours}, {"": scores}, 1e-6)
    assert_all_close(terms, others, OUTPUT, 1e-7)
    assert memory and all(np.array_equal(value, memory[name]) for name, value in remembered.items())


def test_a_pickle_of_a_backend_that_is_not_there(monkeypatch):
    given = pickle.dumps(detector("saa", CONFIGS["saa"][0], "numpy"))
    monkeypatch.setattr("wvad_core.backend._entries", dict)
    with pytest.raises(wv.InputError, match="^unknown backend 'numpy'"):
        pickle.loads(given)


def test_the_version():
    text = (Path(__file__).parents[2] / "setup.cfg").read_text()
    assert f"\nversion = {wv.__version__}\n" in text
