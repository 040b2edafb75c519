"""Optimisers: what each one keeps for a parameter, and how it moves it. The backends' updates are held to these.

w is the parameter, g its gradient (clipped already), r the learning rate, d the weight decay, t the number of updates
of the parameter, this one counted. What is kept begins at 0. Every array has the parameter's shape.

    adam     g += d w; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2
             w -= r (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)           Kingma and Ba 2015, with L2 decay
    adamw    w -= r d w, then as adam without decay                            Loshchilov and Hutter 2019, decoupled decay
    adagrad  g += d w; s += g^2; w -= r g / (sqrt(s) + eps)                    Duchi et al. 2011
    sgd      g += d w; u = momentum u + g; w -= r u                            without momentum u is g, and is not kept
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .recipe import Recipe

Array = np.ndarray
Slots = Mapping[str, Array]


@dataclass(frozen=True)
class Optimiser:
    """slots: the names of the arrays that it keeps for a parameter, as a state names them.

    update(w, g, slots, rate, count, recipe) -> (w, slots), new arrays, as above.
    """
    slots: tuple[str, ...]
    update: Callable[[Array, Array, Slots, float, int, Recipe], tuple[Array, dict[str, Array]]]


def adam(w: Array, g: Array, slots: Slots, rate: float, count: int, recipe: Recipe) -> tuple[Array, dict[str, Array]]:
    return _adam(w, g + recipe.weight_decay * w, slots, rate, count, recipe)


def adamw(w: Array, g: Array, slots: Slots, rate: float, count: int, recipe: Recipe) -> tuple[Array, dict[str, Array]]:
    return _adam(w - rate * recipe.weight_decay * w, g, slots, rate, count, recipe)


def _adam(w: Array, g: Array, slots: Slots, rate: float, count: int, recipe: Recipe) -> tuple[Array, dict[str, Array]]:
    beta1, beta2 = recipe.betas
    first = beta1 * slots["moment1"] + (1 - beta1) * g
    second = beta2 * slots["moment2"] + (1 - beta2) * g**2
    mean, square = first / (1 - beta1**count), second / (1 - beta2**count)
    return w - rate * mean / (np.sqrt(square) + recipe.eps), {"moment1": first, "moment2": second}


def adagrad(w: Array, g: Array, slots: Slots, rate: float, count: int, recipe: Recipe) -> tuple[Array, dict[str, Array]]:
    g = g + recipe.weight_decay * w
    squares = slots["squares"] + g**2
    return w - rate * g / (np.sqrt(squares) + recipe.eps), {"squares": squares}


def sgd(w: Array, g: Array, slots: Slots, rate: float, count: int, recipe: Recipe) -> tuple[Array, dict[str, Array]]:
    g = g + recipe.weight_decay * w
    if not recipe.momentum:
        return w - rate * g, {}
    velocity = recipe.momentum * slots["velocity"] + g
    return w - rate * velocity, {"velocity": velocity}


OPTIMISERS = {"adam": Optimiser(("moment1", "moment2"), adam), "adamw": Optimiser(("moment1", "moment2"), adamw),
              "adagrad": Optimiser(("squares",), adagrad), "sgd": Optimiser(("velocity",), sgd)}
"""By the names that recipes have."""
NOT_NEGATIVE = ("moment2", "squares")
"""The slots that hold sums of squares."""


def slots_of(recipe: Recipe) -> tuple[str, ...]:
    """The names of what a recipe's optimiser keeps for a parameter."""
    if recipe.optimiser == "sgd" and not recipe.momentum:
        return ()
    return OPTIMISERS[recipe.optimiser].slots
