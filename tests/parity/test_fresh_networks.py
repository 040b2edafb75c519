"""`Network(config, seed=0)` of a framework starts from the specification's fresh weights, and from nothing else."""
import importlib
import random
import sys

import devices
import numpy as np
import pytest

import wvad_core as wv
from cases import CONFIGS, NETWORKS
from wvad_core.backend import find_backend
from wvad_core.blocks import tensors
from wvad_core.blocks.configuration import configure
from wvad_core.registry import module_name, specification


def network(method: str, config: dict, framework: str, *seed: int):
    made = importlib.import_module(f"wvad_{framework}.methods.{module_name(method)}").Network
    return made(configure(specification(method).Config, config, method), *seed)


def generators() -> list[str]:
    """The states of all global generators there are."""
    states = [random.getstate(), [value.tolist() if hasattr(value, "tolist") else value for value in np.random.get_state()]]
    if "torch" in sys.modules:
        states.append(sys.modules["torch"].get_rng_state().tolist())
    if "mindspore" in sys.modules:
        states += [sys.modules["mindspore"].get_seed(), sys.modules["mindspore"].get_rng_state().asnumpy().tolist()]
    return list(map(repr, states))


@pytest.mark.parametrize("method, config", NETWORKS)
def test_a_native_network_starts_as_create_does(method, config, framework):
    before = generators()
    networks = {seed: network(method, config, framework, *seed) for seed in ((), (0,), (4,))}
    assert generators() == before
    found = {seed: find_backend(framework).weights(made) for seed, made in networks.items()}
    for seed, weights in found.items():
        expected = wv.create(method, backend="numpy", seed=sum(seed), **config).weights()
        assert set(weights) == set(expected)
        for name, value in expected.items():
            assert weights[name].dtype == value.dtype and np.array_equal(weights[name], value), (seed, name)
    assert any(not np.array_equal(found[4,][name], value) for name, value in found[0,].items())


@pytest.mark.parametrize("method", CONFIGS)
def test_given_weights_are_copied_and_none_is_drawn(method, framework, monkeypatch):
    made = wv.create(method, backend="numpy", seed=1, **CONFIGS[method][0])
    given = {name: np.array(value) for name, value in made.weights().items()}
    monkeypatch.setattr(tensors, "draw", None)
    built = find_backend(framework).build(method, made.config, given, devices.of(framework), "float32", 0)
    for value in given.values():
        value += 1
    for name, value in find_backend(framework).weights(built).items():
        assert np.array_equal(value, made.weights()[name]), name


@pytest.mark.parametrize("method", CONFIGS)
@pytest.mark.parametrize("wrong", ("shape", "missing", "unexpected"))
def test_weights_of_another_network_are_refused(method, framework, wrong):
    made = wv.create(method, backend="numpy", **CONFIGS[method][0])
    weights = made.weights()
    name = next(iter(weights))
    if wrong == "unexpected":
        weights["other"] = weights[name]
    else:
        value = weights.pop(name)
        weights |= {name: value[1:]} if wrong == "shape" else {}
    with pytest.raises(wv.InputError, match=f"{wrong if wrong != 'shape' else 'tensor'}.*"):
        find_backend(framework).build(method, made.config, weights, devices.of(framework), "float32", 0)
