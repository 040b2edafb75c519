"""The optimiser steps of any method on any backend: groups, rates, clipping, counters, and the state they resume from.

What is a framework's own, gradients and the update of parameters, is a backend's session (`backend.TrainingSession`).
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.batches import Batch
from ..errors import InputError, one_line
from ..registry import memory_state, restore_memory, specification
from .optimisers import slots_of
from .options import Options
from .recipe import Recipe
from .state_checks import check_trainer

if TYPE_CHECKING:
    from ..detector import Detector

Array = np.ndarray


class Trainer:
    """Trains a detector's network by a recipe, a batch a step. Frozen parameters are left alone.

    A group's rate is the recipe's at the step; a group that has not begun is not moved, and its optimiser does not count.
    Raises InputError for a backend that does not train, and for a precision that its device has not.
    """

    def __init__(self, detector: Detector, recipe: Recipe, options: Options = Options()) -> None:
        self.method, self.config = detector.method, detector.config
        self.recipe, self.memory = recipe, getattr(detector.network, "memory", None)
        self.session = detector.backend.training_session(detector.network, recipe, options)
        self.groups, self.slots = self.session.groups, slots_of(recipe)
        self.steps, self.updates = 0, [0] * len(self.groups)

    def step(self, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """One optimiser step; gives the loss terms before it. With several processes, each takes its share of the batch.

        deterministic: without dropout and sampling noise.
        """
        self.steps += 1
        terms = self.session.differentiate(batch, deterministic)
        if self.recipe.clip_norm is not None and (factor := clipping(self.session.norm(), self.recipe.clip_norm)) < 1:
            self.session.scale(factor)
        for i, (names, rate) in enumerate(zip(self.groups, self.recipe.rates(self.steps))):
            if rate is not None and names:
                self.updates[i] += 1
                self.session.update(i, rate, self.updates[i])
        return {name: float(value) for name, value in terms.items()}

    def state(self) -> dict[str, Array]:
        """All but the weights that the next step depends on, as arrays by name; random numbers aside (see `reseed`).

        steps; for each parameter that has been moved updates.NAME, how often, and SLOT.NAME, what its optimiser keeps;
        memory.NAME, what the method remembers.
        """
        state = {"steps": np.array(self.steps)}
        for names, updates in zip(self.groups, self.updates):
            for name in names if updates else ():
                kept = zip(self.slots, self.session.slots(name))
                state |= {f"updates.{name}": np.array(updates)} | {f"{slot}.{name}": value for slot, value in kept}
        return state | memory_state(self.memory)

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from what `state` gave. Raises InputError, before anything is taken, for what does not fit the network and
        the recipe: a name, a shape, a dtype, a value out of its range, a count that the steps do not make."""
        parameters = specification(self.method).parameters(self.config)
        steps = check_trainer(state, parameters, self.config.frozen, self.recipe, f"the state of {self.method}'s training")
        restore_memory(self.memory, state)
        self.steps = steps
        for i, names in enumerate(self.groups):
            for name in names:
                if f"updates.{name}" in state:
                    self.updates[i] = int(state[f"updates.{name}"])
                    self.session.restore(name, [state[f"{slot}.{name}"] for slot in self.slots], self.updates[i])

    def take(self, weights: Mapping[str, Array]) -> None:
        """Go on from these weights, where optimiser, counters and memory stand as they do."""
        self.session.take(weights)

    def reseed(self, seed: int) -> None:
        """Begin dropout and noise anew from a seed."""
        self.session.reseed(seed)

    def random_state(self) -> str:
        """What dropout and noise of this process are drawn from next, as a text in JSON."""
        return json.dumps(self.session.random_state())

    def set_random_state(self, text: str) -> None:
        """Go on from what `random_state` gave. Raises InputError for what it has not given."""
        try:
            self.session.set_random_state(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RuntimeError, RecursionError) as error:
            raise InputError(f"the random state of {self.method}'s training cannot be gone on from ({one_line(error, 100)})") from error


def clipping(norm: Any, most: float) -> float:
    """What gradients of a norm are multiplied by, so that theirs is `most` where it was larger; float32, as they are.

    The 1e-6 is that of the frameworks' own clipping. A norm that is not finite gives a factor that is none.
    """
    with np.errstate(all="ignore"):
        return float(np.minimum(np.float32(1), np.float32(most) * (np.float32(1) / (np.float32(norm) + np.float32(1e-6)))))
