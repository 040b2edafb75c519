"""Optimisers of the specification: by hand, and against PyTorch's own in float64."""
import dataclasses

import numpy as np
import pytest

from wvad_core.training.optimisers import OPTIMISERS, slots_of
from wvad_core.training.recipe import CHOICES, Recipe
from wvad_core.training.trainer import clipping

RECIPE = Recipe(segments=1, videos=1, steps=1, weight_decay=0.5, eps=0.1)


def moved(recipe: Recipe, gradients: list, rate: float = 0.1, start: float = 2.0) -> list[float]:
    """A weight after each of some gradients."""
    weight, slots, found = np.array(start), {slot: np.array(0.0) for slot in slots_of(recipe)}, []
    for count, gradient in enumerate(gradients, 1):
        weight, slots = OPTIMISERS[recipe.optimiser].update(weight, np.array(gradient), slots, rate, count, recipe)
        assert set(slots) == set(slots_of(recipe))
        found.append(float(weight))
    return found


@pytest.mark.parametrize("values, expected", [
    # g = 1 + 0.5 * 2 = 2: m / (1 - b1) = 2, v / (1 - b2) = 4, w = 2 - 0.1 * 2 / (2 + 0.1)
    ({"optimiser": "adam"}, 2 - 0.2 / 2.1),
    # 2 - 0.1 * 0.5 * 2 = 1.9, then g = 1: 1.9 - 0.1 * 1 / (1 + 0.1)
    ({"optimiser": "adamw"}, 1.9 - 0.1 / 1.1),
    ({"optimiser": "adagrad"}, 2 - 0.1 * 2 / (2 + 0.1)),
    ({"optimiser": "sgd"}, 2 - 0.1 * 2), ({"optimiser": "sgd", "momentum": 0.9}, 2 - 0.1 * 2)])
def test_the_first_step_by_hand(values, expected):
    assert moved(dataclasses.replace(RECIPE, **values), [1.0]) == [pytest.approx(expected)]


@pytest.mark.parametrize("values, expected", [
    # m = 0.5 * 0.5 * 1 + 0.5 * 3 = 1.75, / 0.75; v = 0.5 * 0.5 * 1 + 0.5 * 9 = 4.75, / 0.75
    ({"optimiser": "adam"}, [2 - 0.1 / 1.1, 2 - 0.1 / 1.1 - 0.1 * (1.75 / 0.75) / (np.sqrt(4.75 / 0.75) + 0.1)]),
    ({"optimiser": "adagrad"}, [2 - 0.1 / 1.1, 2 - 0.1 / 1.1 - 0.3 / (np.sqrt(10) + 0.1)]),
    ({"optimiser": "sgd", "momentum": 0.5}, [1.9, 1.9 - 0.1 * (0.5 * 1 + 3)]), ({"optimiser": "sgd"}, [1.9, 1.6])])
def test_two_steps_by_hand_without_decay(values, expected):
    recipe = dataclasses.replace(RECIPE, weight_decay=0.0, betas=(0.5, 0.5), **values)
    assert moved(recipe, [1.0, 3.0]) == pytest.approx(expected)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("values", [{"optimiser": name} for name in OPTIMISERS] + [{"optimiser": "sgd", "momentum": 0.9}])
def test_twenty_steps_are_pytorchs(values):
    import torch

    recipe = dataclasses.replace(RECIPE, weight_decay=0.05, eps=1e-3, betas=(0.8, 0.95), **values)
    settings = {"adam": {"betas": recipe.betas, "eps": recipe.eps}, "adamw": {"betas": recipe.betas, "eps": recipe.eps},
                "adagrad": {"eps": recipe.eps}, "sgd": {"momentum": recipe.momentum}}[recipe.optimiser]
    kind = {"adam": "Adam", "adamw": "AdamW", "adagrad": "Adagrad", "sgd": "SGD"}[recipe.optimiser]
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    optimiser = getattr(torch.optim, kind)([weight], lr=0.1, weight_decay=recipe.weight_decay, **settings)
    gradients, expected = np.random.default_rng(0).normal(size=20).tolist(), []
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
        expected.append(weight.item())
    assert moved(recipe, gradients) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("norm, most, expected", [(0.5, 1.0, 1.0), (4.0, 1.0, 0.25), (0.0, 1.0, 1.0), (10.0, 2.0, 0.2)])
def test_clipping(norm, most, expected):
    assert clipping(norm, most) == pytest.approx(expected, rel=1e-6)
    assert not clipping(float("nan"), most) < 1


def test_recipes_may_name_these():
    assert CHOICES["optimiser"] == tuple(OPTIMISERS)
