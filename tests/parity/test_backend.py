"""What every backend does alike, each held to the specification, and to nothing but the protocol and the specification:

    pytest tests/parity/test_backend.py --backends NAME

A backend that passes is one on which everything that knows no framework works: scoring, losses, training, copies, pickles.
"""
import dataclasses
import inspect
import math
import pickle
import warnings
from importlib.metadata import entry_points

import devices
import numpy as np
import pytest

import wvad_core as wv
from cases import CONFIGS, batch, detector, perturbed, video
from compare import OUTPUT, TRAINED, assert_all_close, assert_close
from wvad_core.backend import Backend
from wvad_core.backend import find_backend
from wvad_core.backend import EXPORTS
from wvad_core.registry import memory_state
from wvad_core.training.optimisers import OPTIMISERS, slots_of
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer, clipping

METHODS = {method: configs[0] for method, configs in CONFIGS.items()}
DIFFERENTIABLE = [method for method in METHODS if method not in ("adplg", "bn-wvad", "saa")]
"""Without those whose losses have targets or statistics that carry no gradient, which is then not the slope of the loss."""
LENGTHS_AND_CROPS = [(1, 1), (1, 5), (7, 10), (40, 2)]
RECIPE = Recipe(segments=20, videos=3, steps=3, learning_rate=1e-2, weight_decay=0.01, clip_norm=0.05, eps=1e-4)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
NOT_TRAINED = (*STATISTICS, "dictionary")

every_method = pytest.mark.parametrize("method", METHODS)


def made(method: str, backend: str, seed: int = 0) -> wv.Detector:
    """A detector with random values in every tensor. seed: of dropout and noise."""
    found = detector(method, METHODS[method], "numpy")
    chosen = find_backend(backend)
    network = chosen.build(method, found.config, found.weights(), devices.of(backend), "float32", seed)
    return wv.Detector(method, found.config, backend, chosen, network)


def in_float64(given: wv.Batch) -> wv.Batch:
    return dataclasses.replace(given, features=given.features.astype(np.float64))


def given_to(method: str, steps: int = 20, crops: int | None = None, seed: int = 0) -> wv.Batch:
    return batch(method, METHODS[method], steps, crops=crops, seed=seed)


def refusal(function, *given) -> str:
    """The line of the InputError that a call raises."""
    with pytest.raises(wv.InputError) as raised:
        function(*given)
    assert str(raised.value) and "\n" not in str(raised.value)
    return str(raised.value)


def state(made: wv.Detector) -> dict[str, np.ndarray]:
    return made.weights() | memory_state(made.network.memory)


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """The same names, dtypes and values, bit for bit."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype and np.array_equal(value, theirs[name]), name


def test_it_has_the_functions_of_the_protocol(backend):
    found = find_backend(backend)
    assert isinstance(found, Backend) and found.name == backend
    for name, function in inspect.getmembers(Backend, inspect.isfunction):
        if not name.startswith("_"):
            expected = list(inspect.signature(function).parameters)[1:]
            assert list(inspect.signature(getattr(found, name)).parameters) == expected, name
    versions = found.versions()
    assert versions and all(isinstance(name, str) and version for name, version in versions.items())


@every_method
def test_weights_come_out_as_they_went_in_as_copies(method, backend):
    rng = np.random.default_rng(1)
    fresh = wv.create(method, **METHODS[method])
    expected = {name: perturbed(name, value, rng) for name, value in fresh.weights().items()}
    found = find_backend(backend)
    given = {name: value.copy() for name, value in expected.items()}
    network = found.build(method, fresh.config, given, devices.of(backend), "float32", 0)
    weights = found.weights(network)
    assert_equal(weights, expected)
    for value in weights.values():
        value[...] = 1
    assert_equal(found.weights(network), expected)
    assert memory_state(network.memory).keys() == memory_state(fresh.network.memory).keys()


@every_method
@pytest.mark.parametrize("steps, crops", LENGTHS_AND_CROPS)
def test_scores(method, backend, steps, crops):
    found, features = made(method, backend), video(method, METHODS[method], steps, crops)
    features.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = found.backend.score(found.network, features)
    assert scores.dtype == np.float32 and scores.shape == (steps,)
    expected = detector(method, METHODS[method], "numpy").score(features.astype(np.float64), raw=True)
    assert_close(scores, expected, OUTPUT)


@every_method
@pytest.mark.parametrize("steps, crops", [(1, None), (20, None), (20, 5)])
def test_losses(method, backend, steps, crops):
    given = given_to(method, steps, crops)
    found = made(method, backend).losses(given, True)
    assert all(type(value) is float for value in found.values())
    assert_all_close(found, detector(method, METHODS[method], "numpy").losses(in_float64(given), True), OUTPUT, 1e-7)


@every_method
def test_looking_at_a_network_leaves_it_as_it_is(method, backend):
    found, given = made(method, backend), given_to(method)
    before, random = state(found), pickle.dumps(found.backend.random_state(found.network))
    terms = found.losses(given)
    for deterministic in (False, True):
        found.losses(given, deterministic)
        if found.backend.TRAINS:
            found.gradients(given, deterministic)
    found.score(video(method, METHODS[method], 20))
    assert_equal(state(found), before)
    assert pickle.dumps(found.backend.random_state(found.network)) == random
    assert found.losses(given) == pytest.approx(terms, rel=OUTPUT, abs=1e-7)


@every_method
def test_dropout_and_noise_come_from_the_seed_and_go_on_from_a_state(method, backend):
    given, (first, second, other) = given_to(method), (made(method, backend, seed) for seed in (4, 4, 5))

    def close(terms):
        return pytest.approx(terms, rel=OUTPUT, abs=1e-7)

    assert first.losses(given) == close(second.losses(given))
    differ = made(method, "numpy", 4).losses(given) != close(made(method, "numpy", 5).losses(given))
    assert (first.losses(given) != close(other.losses(given))) == differ
    state = pickle.loads(pickle.dumps(first.backend.random_state(first.network)))
    other.backend.set_random_state(other.network, state)
    assert first.losses(given) == close(other.losses(given))


@pytest.mark.parametrize("method", DIFFERENTIABLE)
def test_gradients_are_slopes_of_the_specification(method, backend):
    """Central differences in float64, in random directions. A backend without gradients says so in a line."""
    found, given = made(method, backend), given_to(method)
    if not found.backend.TRAINS:
        assert f"the {backend} backend has no gradients" in refusal(found.gradients, given)
        return
    gradients, start = found.gradients(given, True), detector(method, METHODS[method], "numpy").weights()
    assert gradients.keys() == {name for name in start if not name.endswith(NOT_TRAINED)}
    assert all(value.shape == start[name].shape and value.dtype == np.float32 for name, value in gradients.items())
    rng = np.random.default_rng(0)

    def total(move: dict, size: float) -> float:
        specification = detector(method, METHODS[method], "numpy")
        specification.network.weights = {n: w + size * move[n] if n in move else w for n, w in start.items()}
        return specification.losses(in_float64(given), True)["total"]

    for _ in range(2):
        move = {name: rng.standard_normal(value.shape) * np.linalg.norm(value) for name, value in gradients.items()}
        slope = (total(move, 1e-6) - total(move, -1e-6)) / 2e-6
        assert_close(sum(np.vdot(gradients[name], move[name]) for name in move), slope, 1e-3)


@pytest.mark.parametrize("values", [{"optimiser": name} for name in OPTIMISERS] + [{"optimiser": "sgd", "momentum": 0.9}])
def test_steps_are_those_of_the_optimisers_specification(values, backend):
    """Weights by the backend's own gradients and `training.optimisers`, running statistics by the method's specification;
    the third step after a state that was saved. A backend that does not train says so in a line."""
    method, recipe = "saa", dataclasses.replace(RECIPE, **values)
    found = made(method, backend)
    if not found.backend.TRAINS:
        assert f"the {backend} backend does not train" in refusal(Trainer, found, recipe)
        return
    trainer, kept = Trainer(found, recipe), {}
    for step in range(3):
        if step == 2:
            saved, found = trainer.state(), rebuilt(found)
            trainer = Trainer(found, recipe)
            trainer.restore(saved)
        given = given_to(method, seed=step)
        expected = expected_step(found, given, trainer.groups[0], recipe, kept, step + 1)
        terms = found.losses(given, True)
        assert trainer.step(given, True) == pytest.approx(terms, rel=OUTPUT, abs=1e-7)
        assert_all_close({name: found.weights()[name] for name in expected}, expected, OUTPUT)


def rebuilt(found: wv.Detector) -> wv.Detector:
    network = found.backend.build(found.method, found.config, found.weights(), devices.of(found.backend_name), "float32", 0)
    return dataclasses.replace(found, network=network)


def expected_step(found: wv.Detector, given: wv.Batch, names: list[str], recipe: Recipe, kept: dict, count: int) -> dict:
    """{name: the parameter after the step}; what the optimiser keeps goes on in `kept`."""
    before, gradients = found.weights(), found.gradients(given, True)
    gradients = {name: gradients[name].astype(np.float64) for name in names}
    factor = clipping(math.sqrt(sum(np.square(g).sum() for g in gradients.values())), recipe.clip_norm)
    assert factor < 1
    expected = {}
    for name, gradient in gradients.items():
        slots = kept.get(name, dict.fromkeys(slots_of(recipe), 0.0))
        expected[name], kept[name] = OPTIMISERS[recipe.optimiser].update(
            before[name].astype(np.float64), factor * gradient, slots, recipe.rates(count)[0], count, recipe)
    return expected


@every_method
def test_a_step_moves_what_the_specification_moves(method, backend):
    """Running statistics and memory as the specification's, and every parameter that is not frozen."""
    found, specification, given = made(method, backend), detector(method, METHODS[method], "numpy"), given_to(method)
    if not found.backend.TRAINS:
        return
    before = found.weights()
    Trainer(found, RECIPE).step(given, True)
    specification.network.losses(in_float64(given), deterministic=True)
    after, expected = found.weights(), specification.weights()
    moving = [name for name in after if name.endswith(STATISTICS)]
    assert_all_close({name: after[name] for name in moving}, {name: expected[name] for name in moving}, OUTPUT)
    ours, theirs = (memory_state(x.network.memory) for x in (found, specification))
    assert_all_close(ours, theirs, TRAINED)
    frozen = tuple(f"{name}." for name in found.config.frozen)
    assert {n for n in after if not np.array_equal(after[n], before[n])} == {
        n for n in after if not n.startswith(frozen) and n not in NOT_TRAINED}


def test_devices_and_precisions(backend):
    found = made("saa", backend)
    kind = found.backend.device(found.network).partition(":")[0]
    assert kind == devices.of(backend).partition(":")[0]
    spec = (found.method, found.config, found.weights())
    assert "'abacus'" in refusal(found.backend.build, *spec, "abacus", "float32", 0)
    assert "'abacus'" in refusal(found.backend.join, "abacus")
    assert "'int3'" in refusal(found.backend.build, *spec, devices.of(backend), "int3", 0)


def test_alone_it_is_the_first_of_one_process(backend):
    found, array = find_backend(backend), np.arange(3, dtype=np.float32)
    assert found.processes() == (0, 1)
    gathered = found.gather(array)
    assert len(gathered) == 1 and gathered[0].dtype == np.float32 and np.array_equal(gathered[0], array)


def test_it_exports_or_says_that_it_does_not(backend, tmp_path):
    found = made("saa", backend)
    (own,) = entry_points(group="wvad.backends", name=backend)
    suffixes = [entry.name for entry in entry_points(group=EXPORTS) if entry.value == own.value]
    for suffix in suffixes:
        path = tmp_path / f"x.{suffix}"
        found.backend.export(found.network, path, {"method": "saa"})
        assert path.stat().st_size > sum(value.nbytes for value in found.weights().values()) / 2
    if not suffixes:
        with pytest.raises(NotImplementedError, match="^[^\n]+$"):
            found.backend.export(found.network, tmp_path / "x", {})


