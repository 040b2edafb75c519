"""Scores, loss terms and gradients of every method are the same on every backend."""
import copy
import dataclasses

import numpy as np
import pytest

import native
import wvad_core as wv
from cases import LENGTHS_AND_CROPS, NETWORKS, WITHOUT_PUBLISHED_GRADIENTS, batch, detector, video
from compare import OUTPUT, assert_all_close, assert_close, assert_gradients_close


@pytest.mark.parametrize("method, config", NETWORKS)
def test_scores(method, config, framework):
    """Of one network for videos of every length, one after another."""
    specification, network = detector(method, config, "numpy"), detector(method, config, framework)
    for steps, crops in LENGTHS_AND_CROPS:
        features = video(method, config, steps, crops)
        scores = network.score(features)
        assert scores.dtype == np.float32
        assert_close(scores, specification.score(features.astype(np.float64)), OUTPUT, name=f"{steps} steps of {crops}")
    if not network.config.patches:
        assert_close(network.score(features[0]), network.score(features[:1]), 1e-7)


@pytest.mark.parametrize("method, config", NETWORKS)
def test_crops_mean_one_thing(method, config, backend):
    """`score` of a video, the network given the crops as an axis, and the mean over crops scored one by one; or the one crop that
    is scored."""
    made, features = detector(method, config, backend), video(method, config, 9, 3)
    crops, patches = features[:3], features[3:]
    apart = [made.score(np.concatenate([crop[None], patches]), raw=True) for crop in crops]
    alone = apart[made.config.test_crop] if hasattr(made.config, "test_crop") else np.mean(apart, axis=0)
    assert np.ptp(apart, axis=0).max() > 1e-3 * alone.max()
    assert_close(made.score(features, raw=True), alone, OUTPUT)
    assert_close(native.network_scores(made, features[None]), alone[None], OUTPUT)


@pytest.mark.parametrize("method, config", NETWORKS)
@pytest.mark.parametrize("steps, crops", [(1, None), (5, None), (200, None), (20, 5)])
def test_losses_and_running_statistics(method, config, framework, steps, crops):
    specification, network = detector(method, config, "numpy"), detector(method, config, framework)
    for seed in range(2):  # one after another: the statistics of each step enter the next
        given = batch(method, config, steps, crops=crops, seed=seed)
        exact = dataclasses.replace(given, features=given.features.astype(np.float64))
        found = native.training_losses(network, given)
        assert_all_close(found, native.training_losses(specification, exact), OUTPUT, 1e-7)
    assert_all_close(network.weights(), specification.weights(), OUTPUT)


@pytest.mark.needs("torch", "mindspore")
@pytest.mark.parametrize("method, config", NETWORKS)
@pytest.mark.parametrize("steps, crops", [(1, None), (5, 5), (60, None)])
def test_gradients(method, config, steps, crops):
    given = batch(method, config, steps, crops=crops)
    found, expected = (detector(method, config, name).gradients(given, True) for name in ("mindspore", "torch"))
    assert_gradients_close(found, expected)


@pytest.mark.parametrize("method, config", WITHOUT_PUBLISHED_GRADIENTS)
def test_gradients_are_those_of_the_specification(method, config, framework):
    """Against central differences of the float64 specification, where no golden case has gradients."""
    given = batch(method, config, 30)
    exact = dataclasses.replace(given, features=given.features.astype(np.float64))
    made = detector(method, config, framework)
    native.training_losses(made, given)
    start = made.weights()
    gradients = made.gradients(given, True)
    rng = np.random.default_rng(0)

    def total(move: dict, size: float) -> float:
        specification = detector(method, config, "numpy")
        specification.network.weights = {n: w + size * move[n] if n in move else w for n, w in start.items()}
        specification.network.memory = copy.deepcopy(made.network.memory)
        return specification.losses(exact, True)["total"]

    for _ in range(3):
        move = {name: rng.standard_normal(value.shape) * np.linalg.norm(value) for name, value in gradients.items()}
        slope = (total(move, 1e-6) - total(move, -1e-6)) / 2e-6
        assert_close(sum(np.vdot(gradients[name], move[name]) for name in move), slope, 1e-3)


@pytest.mark.parametrize("method, config", NETWORKS)
def test_the_same_seed_means_the_same_fresh_network_everywhere(method, config, framework):
    expected = wv.create(method, backend="numpy", seed=5, **config).weights()
    found = wv.create(method, backend=framework, seed=5, **config).weights()
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and np.array_equal(found[name], value), name
    other = wv.create(method, backend=framework, seed=6, **config).weights()
    assert any(not np.array_equal(other[name], value) for name, value in expected.items())


@pytest.mark.parametrize("method, config", NETWORKS)
def test_saved_weights_load_on_every_backend(method, config, backend, tmp_path, request):
    made = detector(method, config, backend)
    features = video(method, config, 20, 2)
    made.save(tmp_path / "x.safetensors")
    for other in request.config.wvad_versions:
        loaded = wv.load(tmp_path / "x.safetensors", backend=other)
        assert loaded.config == made.config
        assert_close(loaded.score(features), made.score(features), OUTPUT)
        assert all(np.array_equal(loaded.weights()[name], value) for name, value in made.weights().items())


@pytest.mark.parametrize("method, config", NETWORKS)
def test_randomness_is_seeded_and_switched_off_by_deterministic(method, config, backend):
    given = batch(method, config, 30)

    def losses(deterministic: bool) -> dict:
        return wv.create(method, backend=backend, seed=2, **config).losses(given, deterministic)

    def same(found: dict) -> object:  # but for rounding, which MindSpore's CPU kernels do not always do alike
        return pytest.approx(found, rel=1e-5, abs=1e-7)

    assert losses(True) == same(losses(True))
    assert losses(False) == same(losses(False))
    has_dropout = losses(False) != same(losses(True))
    assert has_dropout == ("dropout" in wv.create(method, **config).config.as_dict())
