"""What a trainer goes on from, on both frameworks: nothing is taken that does not fit; runs that are told to end go on."""
import dataclasses
import json

import numpy as np
import pytest
from told_to_end import Kept, run

from cases import CONFIGS, batch, detector
from wvad_core.errors import InputError, Terminated
from wvad_core.registry import specification
from wvad_core.training.loop import Stop
from wvad_core.training.overrides import resolve
from wvad_core.training.recipe import Recipe
from wvad_core.training.state_checks import check_weights
from wvad_core.training.trainer import Trainer

RECIPE = Recipe(segments=20, videos=3, steps=4, learning_rate=1e-3)
METHODS = {"adplg": 1, "saa": 1, "ar-net": 0}
"""The number of the configuration: with a memory of the past, with a counter, with none."""


def trained(method, framework, recipe=RECIPE, steps=2):
    config = CONFIGS[method][METHODS.get(method, 0)]
    made = detector(method, config, framework)
    trainer = Trainer(made, recipe)
    for step in range(steps):
        trainer.step(batch(method, config, 20, seed=step))
    return made, trainer


def spoiled(state, name, value):
    first = next(key for key in state if key.startswith(name))
    array = np.array(state[first])
    return {**state, first: value(array)}


NAN = np.float32("nan")
SPOILED = {"a moment of another shape": ("moment1.", lambda m: np.zeros((2, *m.shape), np.float32)),
           "an empty moment": ("moment2.", lambda m: m[:0]), "a moment of float64": ("moment1.", np.float64),
           "a moment of NaN": ("moment2.", lambda m: m * NAN), "a negative second moment": ("moment2.", lambda m: m - 1),
           "steps that are none": ("steps", lambda s: np.array(-1)), "other steps": ("steps", lambda s: s + 1),
           "another count": ("updates.", lambda u: u + 7), "a count of its own for each": ("updates.", lambda u: np.array([1, 1]))}


def test_a_state_that_does_not_fit_is_refused_before_any_of_it_is_taken(framework):
    """In PyTorch a moment of another shape would end the process: its fused Adam looks at no shape."""
    made, trainer = trained("adplg", framework)
    before, weights = trainer.state(), made.weights()
    for what, (name, value) in SPOILED.items():
        with pytest.raises(InputError, match="^the state of adplg's training: "):
            trainer.restore(spoiled(before, name, value))
            raise AssertionError(what)
    for missing in ("moment1.", "updates.", "steps"):
        first = next(key for key in before if key.startswith(missing))
        with pytest.raises(InputError, match="has no "):
            trainer.restore({name: value for name, value in before.items() if name != first})
    after = trainer.state()
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)
    assert all(np.array_equal(value, made.weights()[name]) for name, value in weights.items())


@pytest.mark.parametrize("method, name, value", [
    ("saa", "memory.steps", lambda m: np.array(-1)), ("saa", "memory.steps", lambda m: np.array([1, 2])),
    ("adplg", "memory.steps", lambda m: np.array(1.5)), ("adplg", "memory.video.", lambda m: m[0]),
    ("adplg", "memory.video.", lambda m: m * NAN), ("adplg", "memory.video.", lambda m: m + 2),
    ("adplg", "memory.video.", lambda m: np.repeat(m, 9, 0)), ("adplg", "memory.video.", lambda m: m.astype(str))])
def test_a_memory_that_is_none_is_refused(method, name, value):
    """Memories are NumPy's in all backends."""
    memory = specification(method).memory(specification(method).Config(**CONFIGS[method][METHODS[method]]))
    state = {"memory.steps": np.array(3)} | ({"memory.video.4": np.ones((2, 5), np.float32)} if method == "adplg" else {})
    memory.restore({key.removeprefix("memory."): kept for key, kept in state.items()})
    with pytest.raises(InputError, match=r"^memory\."):
        memory.restore({key.removeprefix("memory."): kept for key, kept in spoiled(state, name, value).items()})
    assert memory.state().keys() == {key.removeprefix("memory.") for key in state}


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_what_a_trainer_keeps_is_taken_again(framework, optimiser):
    """Of every optimiser, with groups that begin later or not at all, and the weights of the network beside it."""
    method, config = "bn-wvad", CONFIGS["bn-wvad"][0]
    found = resolve({"segments": 20, "videos": 3, "steps": 9, "optimiser": optimiser, "momentum": 0.9, "groups": (
        {"prefix": "head.", "learning_rate": 1e-2, "warm_up": 1}, {"prefix": "embedding.", "learning_rate": 1e-2, "warm_up": 5})},
        specification(method).Config, config, method)
    made, trainer = trained(method, framework, found.recipe)
    state = trainer.state()
    other = Trainer(detector(method, config, framework), found.recipe)
    other.restore(state)
    assert not any(".embedding." in name for name in state) and other.updates == trainer.updates == [2, 1, 0]
    assert all(np.array_equal(value, other.state()[name]) for name, value in state.items())
    check_weights(made.weights(), specification(method).parameters(made.config), "weights")


@pytest.mark.parametrize("name, method", [
    pytest.param(name, method, marks=pytest.mark.needs(name)) for name, method in
    (("torch", "ur-dmu"), ("torch", "adplg"), ("mindspore", "ur-dmu"))])
def test_a_run_that_is_told_to_end_goes_on_with_the_random_numbers_that_would_come_next(name, method, at=2):
    """Dropout and noise, before a save and behind it. Bit for bit in PyTorch, but for rounding in MindSpore."""
    whole, stop = Kept(), Stop()
    expected = run(method, name, whole)
    first = Kept(stop=stop, at=at)
    with pytest.raises(Terminated, match=f"^training {method}: told to end, after step {at}; all is saved$"):
        run(method, name, first, stop)
    assert stop.heeded and first.kept.position.step == at and len(first.kept.random) == 1
    second, unasked = Kept(first.kept), Stop()
    found = run(method, name, second, unasked)
    assert not unasked.asked and not unasked.heeded
    rounding = 0 if name == "torch" else 1e-3
    for line, other in zip(first.history + second.history, whole.history, strict=True):
        assert line == pytest.approx(other, rel=rounding, abs=rounding)
    weights, others = found.detector.weights(), expected.detector.weights()
    for key, value in weights.items():
        assert np.allclose(value, others[key], rounding, rounding), key
    if name == "torch":  # with other numbers it would end elsewhere
        anew = Kept(dataclasses.replace(first.kept, random=()))
        run(method, name, anew)
        assert abs(anew.history[0]["total"] - second.history[0]["total"]) > 1e-6


NO_RANDOM_STATES = ["", "junk", "[]", "3", '{"seed": "a", "states": {}}', '{"seed": 1, "states": {"cpu": "zz"}}',
                    '{"seed": 1, "states": {"cpu": "00"}}', '{"seed": 1, "states": {"abacus": ""}}', '[{"bit_generator": "MT19937"}]',
                    "[3]", "[" * 10**5]


def test_a_random_state_that_is_none_is_refused(framework):
    _, trainer = trained("ur-dmu", framework, steps=1)
    before = trainer.random_state()
    for text in NO_RANDOM_STATES:
        with pytest.raises(InputError, match="the random state of ur-dmu's training cannot be gone on from"):
            trainer.set_random_state(text)
    trainer.set_random_state(before)
    assert trainer.random_state() == before and json.loads(before)
