"""What of a saved state has to fit the method and the recipe before a framework gets it: its kernels look at no shape."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..blocks.tensors import COUNTER, Parameter, check, count
from ..errors import InputError, listing, one_line
from .optimisers import NOT_NEGATIVE, slots_of
from .recipe import Recipe

Array = np.ndarray
MEMORY = "memory."
"""What the names of a method's memory begin with in a trainer's state."""


def check_weights(weights: Mapping[str, Array], parameters: Mapping[str, Parameter], source: str) -> None:
    """Raise InputError unless these are the weights of such a network: names, shapes, dtypes, finite values, and no
    variances and counters below 0."""
    try:
        check(weights, parameters, source)
    except InputError as error:
        raise InputError(one_line(error)) from None
    for name, parameter in parameters.items():
        _check_array(weights[name], parameter.shape, parameter.dtype, name.endswith(("running_var", COUNTER)), f"{source}: {name}")


def check_trainer(state: Mapping[str, Array], parameters: Mapping[str, Parameter], frozen: Iterable[str], recipe: Recipe,
                  source: str) -> int:
    """Raise InputError unless this is what a `Trainer` of such a network keeps after some steps; how many they are.

    frozen: the names of modules that are not trained. What a method remembers (`memory.`) it checks itself.
    """
    steps = _count(state, "steps", source)
    trained = [name for name, parameter in parameters.items() if parameter.trained
               and not name.startswith(tuple(f"{f}." for f in frozen))]
    expected = {"steps"}
    for names, begins in zip(recipe.grouped(trained), (0, *(int(group.warm_up) for group in recipe.groups))):
        updates = max(steps - begins, 0)
        for name in names if updates else ():
            expected |= {f"updates.{name}", *(f"{slot}.{name}" for slot in slots_of(recipe))}
            if _count(state, f"updates.{name}", source) != updates:
                raise InputError(f"{source}: updates.{name} is {state[f'updates.{name}']}, expected {updates} after {steps} steps")
            for slot in slots_of(recipe):
                _check_array(_value(state, f"{slot}.{name}", source), parameters[name].shape, parameters[name].dtype,
                             slot in NOT_NEGATIVE, f"{source}: {slot}.{name}")
    unexpected = [name for name in state if name not in expected and not name.startswith(MEMORY)]
    if unexpected:
        raise InputError(f"{source}: unexpected {one_line(listing(unexpected, 3))} after {steps} steps")
    return steps


def _value(state: Mapping[str, Array], name: str, source: str) -> Array:
    if name not in state:
        raise InputError(f"{source}: has no {name}, expected it in the state of a trainer")
    return np.asarray(state[name])


def _count(state: Mapping[str, Array], name: str, source: str) -> int:
    return count(_value(state, name, source), f"{source}: {name}")


def _check_array(value: Array, shape: tuple[int, ...], dtype: type, not_negative: bool, source: str) -> None:
    if value.shape != shape or value.dtype != np.dtype(dtype):
        raise InputError(f"{source} is {value.dtype} {value.shape}, expected {np.dtype(dtype)} {shape}")
    if not np.isfinite(value).all():
        raise InputError(f"{source} has values that are not finite")
    if not_negative and (value < 0).any():
        raise InputError(f"{source} has values below 0")
