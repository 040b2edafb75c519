"""Ten optimiser steps from equal weights on equal batches leave equal weights."""
import copy
import dataclasses
from functools import partial

import devices
import numpy as np
import pytest
from bf16 import bf16_or_refusal

import wvad_core as wv
from cases import CONFIGS, NETWORKS, batch, detector
from compare import OUTPUT, TRAINED, assert_all_close, error
from wvad_core.registry import specification
from wvad_core.training.overrides import resolve
from wvad_core.training.optimisers import OPTIMISERS, slots_of
from wvad_core.training.options import Options
from wvad_core.training.recipe import Group, Recipe
from wvad_core.training.trainer import Trainer, clipping

RECIPES = {"clipped": Recipe(segments=20, videos=3, steps=10, learning_rate=1e-3, weight_decay=5e-3, clip_norm=1.0),
           "unclipped": Recipe(segments=20, videos=3, steps=10, learning_rate=1e-3, weight_decay=5e-3)}


IN_REDUCED_PRECISION = ("adplg", "ar-net", "pel4vad", "rtfm", "ssrl", "ur-dmu", "vadclip")
"""Of the methods, those that MindSpore trains so without --slow."""


@pytest.mark.needs("torch", "mindspore")
@pytest.mark.parametrize("kind, method, config", [("clipped", *case) for case in NETWORKS]
                         + [("unclipped", method, CONFIGS[method][0]) for method in ("bn-wvad", "rtfm")])
def test_ten_steps_leave_equal_weights(kind, method, config):
    """Of a method's further configurations three steps; without clipping, which is the trainer's, of two methods."""
    recipe, trained, steps = RECIPES[kind], {}, 10 if config is CONFIGS[method][0] else 3
    for name in ("torch", "mindspore"):
        made = detector(method, config, name)
        start = made.weights()
        trainer = Trainer(made, recipe)
        history = [trainer.step(batch(method, config, 20, seed=step), deterministic=True) for step in range(steps)]
        trained[name] = made.weights()
        frozen = tuple(f"{prefix}." for prefix in made.config.frozen)
        moved = {n for n, w in start.items() if not np.array_equal(trained[name][n], w)}
        assert moved == {n for n in start if not n.startswith(frozen) and n != "dictionary"}, "every tensor moves that is not frozen"
    assert_all_close(trained["mindspore"], trained["torch"], TRAINED)
    assert history[0]["total"] != history[-1]["total"]


def test_weights_are_taken_and_the_optimiser_goes_on(framework):
    """As a network with these weights from the beginning whose optimiser was given the same state."""
    method, config = "bn-wvad", CONFIGS["bn-wvad"][0]
    first, others = detector(method, config, framework), detector(method, config, framework, seed=4).weights()
    trainer = Trainer(first, RECIPES["unclipped"])
    trainer.step(batch(method, config, 20), deterministic=True)
    state = trainer.state()
    trainer.take(others)
    assert all(np.array_equal(value, others[name]) for name, value in first.weights().items())
    second = detector(method, config, framework, seed=4)
    expected = Trainer(second, RECIPES["unclipped"])
    expected.restore(state)
    for one in (trainer, expected):
        one.step(batch(method, config, 20, seed=1), deterministic=True)
    assert_all_close(first.weights(), second.weights(), 1e-7)
    assert not np.array_equal(others["embedding.weight"], first.weights()["embedding.weight"])


@pytest.mark.parametrize("method, config", NETWORKS)
def test_a_step_is_adam_as_published(method, config, framework):
    """The first step of Adam with L2 weight decay, by hand: w - lr g / (|g| + eps), g the clipped gradient + decay."""
    recipe, given = dataclasses.replace(RECIPES["clipped"], learning_rate=1e-2, clip_norm=0.05), batch(method, config, 20)
    made = detector(method, config, framework)
    weights, trainable = made.weights(), made.network.trainable()
    gradients = {n: g for n, g in made.gradients(given, True).items() if n in trainable}
    norm = np.sqrt(sum(np.square(g.astype(np.float64)).sum() for g in gradients.values()))
    expected = {}
    for name, gradient in gradients.items():
        g = gradient.astype(np.float64) * min(1, recipe.clip_norm / (norm + 1e-6)) + recipe.weight_decay * weights[name]
        expected[name] = weights[name] - recipe.learning_rate * g / (np.abs(g) + 1e-8)
    made = detector(method, config, framework)
    Trainer(made, recipe).step(given, deterministic=True)
    found = made.weights()
    assert norm > recipe.clip_norm
    assert_all_close({name: found[name] for name in expected}, expected, OUTPUT)


def test_the_second_step_has_the_recipes_betas(framework):
    """By hand: m and v are running means of g and g^2, both corrected for their start; other betas than the default."""
    method, config = "ur-dmu", CONFIGS["ur-dmu"][1]
    recipe = dataclasses.replace(RECIPES["unclipped"], learning_rate=1e-2, betas=(0.5, 0.8), weight_decay=0.1)
    first, second = batch(method, config, 20), batch(method, config, 20, seed=1)
    made = detector(method, config, framework)
    weights = [made.weights()]
    trainer = Trainer(made, recipe)
    for given in (first, second):
        trainer.step(given, deterministic=True)
        weights.append(made.weights())
    before = detector(method, config, framework)
    network = before.backend.build(method, before.config, weights[1], devices.of(framework), "float32", 0)
    gradients = before.gradients(first, True), dataclasses.replace(before, network=network).gradients(second, True)
    expected = {}
    for name in gradients[0]:
        g1, g2 = (g[name].astype(np.float64) + 0.1 * w[name] for g, w in zip(gradients, weights))
        m, v = (0.5 * 0.5 * g1 + 0.5 * g2) / (1 - 0.5**2), (0.8 * 0.2 * g1**2 + 0.2 * g2**2) / (1 - 0.8**2)
        expected[name] = weights[1][name] - 1e-2 * m / (np.sqrt(v) + 1e-8)
    assert_all_close({name: weights[2][name] for name in expected}, expected, OUTPUT)


@pytest.mark.parametrize("values", [{"optimiser": "adam"}, {"optimiser": "adamw"}, {"optimiser": "adagrad"},
                                    {"optimiser": "sgd"}, {"optimiser": "sgd", "momentum": 0.9}])
def test_ten_steps_are_those_of_the_optimisers_specification(values, framework):
    """Each step in float64, from the weights before it and their gradients; schedule, warm-up and clipping are in it."""
    method, config = "ur-dmu", CONFIGS["ur-dmu"][1]
    recipe = dataclasses.replace(RECIPES["clipped"], learning_rate=1e-2, weight_decay=0.1, eps=1e-4, schedule="step", decay=0.5,
                                 decay_steps=4, warm_up_steps=3, **values)
    made = detector(method, config, framework)
    trainer, kept = Trainer(made, recipe), {}
    names = trainer.groups[0]
    for step in range(10):
        given = batch(method, config, 20, seed=step)
        before = made.weights()
        gradients = {name: g.astype(np.float64) for name, g in made.gradients(given, True).items() if name in names}
        factor = clipping(np.sqrt(sum(np.square(g).sum() for g in gradients.values())), recipe.clip_norm)
        expected = {}
        for name, gradient in gradients.items():
            slots = kept.get(name, dict.fromkeys(slots_of(recipe), 0.0))
            expected[name], kept[name] = OPTIMISERS[recipe.optimiser].update(
                before[name].astype(np.float64), factor * gradient, slots, recipe.rates(step + 1)[0], step + 1, recipe)
        trainer.step(given, deterministic=True)
        found = made.weights()
        assert_all_close({name: found[name] for name in names}, expected, OUTPUT)
        moves = (np.concatenate([(after[name] - before[name]).ravel() for name in names]) for after in (found, expected))
        assert error(*moves) < 1e-3, step
    state = trainer.state()
    assert {name.partition(".")[0] for name in state} == {"steps", "updates", *slots_of(recipe)}
    for slot in slots_of(recipe):
        assert_all_close({n: state[f"{slot}.{n}"] for n in names}, {n: kept[n][slot] for n in names}, TRAINED)


@pytest.mark.parametrize("values", [{"optimiser": "adamw"}, {"optimiser": "adagrad"}, {"optimiser": "sgd", "momentum": 0.9},
                                    {"optimiser": "sgd"}])
def test_every_optimiser_goes_on_from_its_state(values, framework):
    """Restored after three of six steps, from arrays alone: the same weights, in PyTorch bit for bit."""
    method, config = "ur-dmu", CONFIGS["ur-dmu"][1]
    recipe = dataclasses.replace(RECIPES["clipped"], **values)
    made = detector(method, config, framework)
    trainer = Trainer(made, recipe)
    for step in range(6):
        if step == 3:
            weights, state = made.weights(), {name: np.array(value) for name, value in trainer.state().items()}
        trainer.step(batch(method, config, 20, seed=step), deterministic=True)
    network = made.backend.build(method, made.config, weights, devices.of(framework), "float32", 9)
    again = dataclasses.replace(made, network=network)
    restored = Trainer(again, recipe)
    restored.restore(state)
    for step in (3, 4, 5):
        restored.step(batch(method, config, 20, seed=step), deterministic=True)
    assert_all_close(again.weights(), made.weights(), 0.0 if framework == "torch" else OUTPUT)


GROUPED = Recipe(segments=20, videos=3, steps=8, learning_rate=1e-3, weight_decay=5e-3,
                 groups=(Group("head.", 1e-2, decay=0.5, decay_steps=2, warm_up=2),))


def test_the_rates_of_a_group():
    assert [GROUPED.rates(step) for step in (1, 2, 3, 4, 5, 7)] == [
        [1e-3, None], [1e-3, None], [1e-3, 1e-2], [1e-3, 1e-2], [1e-3, 5e-3], [1e-3, 2.5e-3]]
    assert GROUPED.grouped(["a", "head.b", "c.head.d"]) == [["a", "c.head.d"], ["head.b"]]


@pytest.mark.needs("torch", "mindspore")
def test_a_group_waits_for_its_warm_up_and_then_trains_alike():
    method, config = next(case for case in NETWORKS if any(name.startswith("head.") for name in wv.create(case[0]).weights()))
    trained = {}
    for name in ("torch", "mindspore"):
        made = detector(method, config, name)
        trainer, start = Trainer(made, GROUPED), made.weights()
        for step in range(GROUPED.steps):
            trainer.step(batch(method, config, 20, seed=step), deterministic=True)
            if step == 1:
                waiting = {n for n in made.network.trainable() if np.array_equal(made.weights()[n], start[n])}
                assert waiting == {n for n in made.network.trainable() if n.startswith("head.")}
        trained[name] = made.weights()
    assert_all_close(trained["mindspore"], trained["torch"], TRAINED)


@pytest.mark.parametrize("method", CONFIGS)
def test_a_trainer_with_a_restored_state_goes_on_as_the_first_one(method, framework):
    """Momentum, its corrections, waiting groups and what a method remembers: the same weights.

    Not asked for bit by bit: the last bit of MindSpore's sums has been seen to differ between two equal calls.
    """
    config = CONFIGS[method][0]
    groups = tuple(Group(name, 1e-2, decay=0.5, decay_steps=2, warm_up=warm_up)
                   for name, warm_up in (("head.", 3), ("snippet.", 1), ("classifier.", 0)))
    recipe = dataclasses.replace(RECIPES["clipped"], groups=groups)
    made = detector(method, config, framework)
    trainer = Trainer(made, recipe)
    given, terms = [batch(method, config, 20, seed=i % 2) for i in range(6)], []
    for number, one in enumerate(given):
        if number == 3:
            weights, state = made.weights(), {name: np.array(value) for name, value in trainer.state().items()}
        terms.append(trainer.step(one, deterministic=True))
    network = made.backend.build(method, made.config, weights, devices.of(framework), "float32", 9)
    again = dataclasses.replace(made, network=network)
    restored = Trainer(again, recipe)
    restored.restore(state)
    for one, expected in zip(given[3:], terms[3:]):
        assert_all_close(restored.step(one, deterministic=True), expected, OUTPUT)
    assert_all_close(again.weights(), made.weights(), OUTPUT)
    assert any(error(weights[name], value) > 100 * OUTPUT for name, value in made.weights().items())


def test_a_group_moves_by_its_own_rate(framework):
    """Adam's first update of a tensor is its rate, times the sign of the gradient: 1e-3 in step 1, 1e-2 in step 3."""
    method, config = "bn-wvad", CONFIGS["bn-wvad"][0]
    made = detector(method, config, framework)
    trainer, weights = Trainer(made, GROUPED), [made.weights()]
    for step in range(3):
        trainer.step(batch(method, config, 20, seed=step), deterministic=True)
        weights.append(made.weights())
    for name in made.network.trainable():
        moves = [np.abs(after[name] - before[name]).max() for before, after in zip(weights, weights[1:])]
        first = [0, 0, 1e-2] if name.startswith("head.") else [1e-3]
        assert moves[:len(first)] == pytest.approx(first, rel=1e-2), name


@pytest.mark.needs("torch", "mindspore")
@pytest.mark.parametrize("method", CONFIGS)
@pytest.mark.parametrize("steps", (12, pytest.param(50, marks=pytest.mark.slow)))
def test_steps_of_the_published_recipe_have_the_same_losses(steps, method):
    """The first dozen have its optimiser, groups, schedule and settings; in more of them only rounding grows."""
    spec, settings = specification(method), CONFIGS[method][0]
    recipe = resolve(next(iter(spec.RECIPES.values())), spec.Config, settings, method).recipe
    histories = []
    for name in ("torch", "mindspore"):
        made = detector(method, settings, name)
        trainer = Trainer(made, recipe)
        batches = (batch(method, settings, 20, seed=step) for step in range(steps))
        histories.append([trainer.step(given, deterministic=True) for given in batches])
    for step, (ours, theirs) in enumerate(zip(*histories)):
        assert ours.keys() == theirs.keys()
        for term, value in ours.items():
            assert theirs[term] == pytest.approx(value, rel=1e-3, abs=1e-6), (step, term)
    assert histories[0][0]["total"] != histories[0][-1]["total"]


@pytest.mark.needs("torch")
@pytest.mark.parametrize("method", CONFIGS)
def test_a_step_in_bfloat16_is_nearly_that_in_float32(method):
    def terms(precision: str) -> list[dict]:
        made = detector(method, CONFIGS[method][0], "torch")
        trainer = Trainer(made, RECIPES["unclipped"], Options(precision=precision))
        found = [trainer.step(batch(method, CONFIGS[method][0], 20), deterministic=True) for _ in range(2)]
        assert all(value.dtype != np.float16 for value in made.weights().values()), "weights stay in full precision"
        return found

    with bf16_or_refusal():
        for ours, theirs in zip(terms("bf16"), terms("float32"), strict=True):
            assert ours["total"] != theirs["total"] and ours["total"] == pytest.approx(theirs["total"], rel=0.05)


@pytest.mark.needs("mindspore")
@pytest.mark.parametrize("method", [pytest.param(method, marks=[] if method in IN_REDUCED_PRECISION else pytest.mark.slow)
                                    for method in CONFIGS])
def test_mindspore_trains_in_reduced_precision(method, monkeypatch):
    """In float16, which the CPU has, since it has no bfloat16."""
    import mindspore as ms

    from wvad_mindspore import training

    terms = []
    for dtype in (None, ms.float16):
        monkeypatch.setitem(training.REDUCED, "bf16", dtype)
        made = detector(method, CONFIGS[method][0], "mindspore")
        trainer = Trainer(made, RECIPES["unclipped"], Options(precision="bf16"))
        terms.append([trainer.step(batch(method, CONFIGS[method][0], 20), deterministic=True)["total"] for _ in range(2)])
        assert all(np.isfinite(value).all() and value.dtype != np.float16 for value in made.weights().values())
    assert terms[0] != terms[1] and terms[1] == pytest.approx(terms[0], rel=0.05)


@pytest.mark.needs("mindspore")
def test_mindspore_has_no_bfloat16_on_the_cpu():
    made = detector("rtfm", CONFIGS["rtfm"][0], "mindspore")
    with pytest.raises(wv.InputError, match="precision 'bf16': MindSpore has no bfloat16 on the CPU, expected float32"):
        Trainer(made, RECIPES["clipped"], Options(precision="bf16"))


def test_a_compiled_step_leaves_nothing_with_the_network(framework, monkeypatch):
    """What is compiled is bound to the network: a copy that took it along would compute with the other's weights."""
    if framework == "torch":
        import torch

        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    method, config = next(case for case in NETWORKS if case[1].get("variant") == "mean")
    given, made, plain = batch(method, config, 20), detector(method, config, framework), detector(method, config, framework)
    trainers = [Trainer(x, RECIPES["unclipped"], Options(compile=compiled)) for x, compiled in ((made, True), (plain, False))]
    for _ in range(2):
        found, expected = (trainer.step(given, deterministic=True) for trainer in trainers)
        assert_all_close(found, expected, OUTPUT, 1e-7)
    assert not set(made.network.graphs) & set(vars(made.network))
    copied = dataclasses.replace(made, network=copy.deepcopy(made.network))
    Trainer(copied, RECIPES["unclipped"]).step(given, deterministic=True)
    saved = made.backend.build(method, made.config, copied.weights(), devices.of(made.backend_name), "float32", 0)
    expected = dataclasses.replace(made, network=saved).losses(given, True)
    expected = pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert copied.losses(given, True) == expected and made.losses(given, True) != expected
