"""The methods. A method is a module of this package; finding them is all that happens here.

Such a module offers

    Config                                  its configuration, a frozen dataclass
    parameters(config)                      {canonical tensor name: Parameter}
    forward(features, p, config)            anomaly scores, (B, T, D) or (B, N, T, D) -> (B, T)
    losses(batch, p, config)                {"total": ..., term: ...} of a Batch with the normal half first
    published(config)                       the tensor names of its published checkpoints
    PROBABILITIES                           whether a score is the probability, from 0 to 1, that a snippet is anomalous; where
                                            it is none, no report has what is taken at the score 0.5
    PAPER                                   where it was published, with which results
    RECIPES                                 how it is trained, {dataset: Recipe}: as published, and on the demo set
    DEMO                                    a small configuration, for the demo set

and, where training remembers more than the weights,

    memory(config)                          an object with state() -> {name: array} and restore(state), that `losses` finds
                                            as p.memory

and, where training has stages,

    stages(config)                          the configurations that lead to this one, which is the last
    next_stage(weights, config, seed)       the weights that a stage starts from, made of those that the one before ended with
"""
from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .. import parameters
from ..errors import InputError


@dataclass(frozen=True)
class Published:
    """The tensors of a published checkpoint.

    names: {published name: canonical name}, one to one.
    optional: published names that some releases lack; they then stand for zeros.
    unused: published names that the published network stores and never uses; they are dropped.
    parts: canonical prefixes of parts that are published in files of their own. A part that is absent keeps its fresh
        weights, where another one is there. training_parts: those of them that scores do without.
    """
    names: dict[str, str]
    optional: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()
    training_parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paper:
    """Where a method was published. results: {dataset: {metric: percent}}, the authors' own."""
    title: str
    authors: str
    year: int
    link: str
    results: Mapping[str, Mapping[str, float]]


def names() -> tuple[str, ...]:
    """The names of the methods, as `create` takes them."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.replace("_", "-") for name in found))


def module_name(method: str) -> str:
    """The name of a method's module, the same in every backend: with _ for -."""
    if method not in names():
        raise InputError(f"unknown method {method!r}; the methods are {', '.join(names())}")
    return method.replace("-", "_")


def memory_of(spec: ModuleType, config: Any) -> Any:
    """What training with a method remembers besides the weights; None where that is nothing."""
    return spec.memory(config) if hasattr(spec, "memory") else None


def memory_state(memory: Any) -> dict[str, Any]:
    """The state of a memory, or of None, under names of its own."""
    return {} if memory is None else {f"memory.{name}": value for name, value in memory.state().items()}


def restore_memory(memory: Any, state: Mapping[str, Any]) -> None:
    """Give a memory, or None, what `memory_state` found among other things."""
    if memory is not None:
        memory.restore({name.removeprefix("memory."): v for name, v in state.items() if name.startswith("memory.")})


def stages_of(spec: ModuleType, config: Any) -> tuple[Any, ...]:
    """The configurations that training goes through, one after another, to end with `config`."""
    return spec.stages(config) if hasattr(spec, "stages") else (config,)


def specification(method: str) -> ModuleType:
    """The module that specifies `method`."""
    return importlib.import_module(f"{__name__}.{module_name(method)}")


def first_weights(config: Any, seed: int, given: Mapping[str, np.ndarray] | None) -> Mapping[str, np.ndarray]:
    """What a network of a configuration starts with, {canonical name: array}: fresh weights, or those that are given.

    The configuration's class is of its specification's module. Raises InputError where others are given than it has.
    """
    wanted = sys.modules[type(config).__module__].parameters(config)
    if given is None:
        return parameters.draw(wanted, seed)
    parameters.check(given, wanted, "weights")
    return given
