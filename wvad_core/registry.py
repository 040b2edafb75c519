"""Finds the methods, in this package and in others."""
from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from . import methods
from .blocks import tensors
from .errors import InputError


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


def list_methods() -> tuple[str, ...]:
    """The names of the methods, as `create` takes them."""
    found = (module.name for module in pkgutil.iter_modules(methods.__path__))
    return tuple(sorted(name.replace("_", "-") for name in found))


def module_name(method: str) -> str:
    """The name of a method's module, the same in every backend: with _ for -."""
    if method not in list_methods():
        raise InputError(f"unknown method {method!r}; the methods are {', '.join(list_methods())}")
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


def classes_of(config: Any) -> tuple[str, ...] | None:
    """The categories that a method of this configuration tells apart, as tables name them; None where it has none.

    The configuration's class is of its specification's module, as it is for `first_weights`.
    """
    spec = sys.modules[type(config).__module__]
    return tuple(spec.classes(config)) if hasattr(spec, "classes") else None


def specification(method: str) -> ModuleType:
    """The module that specifies `method`."""
    return importlib.import_module(f"{methods.__name__}.{module_name(method)}")


def first_weights(config: Any, seed: int, given: Mapping[str, np.ndarray] | None) -> Mapping[str, np.ndarray]:
    """What a network of a configuration starts with, {canonical name: array}: fresh weights, or those that are given.

    The configuration's class is of its specification's module. Raises InputError where others are given than it has.
    """
    wanted = sys.modules[type(config).__module__].parameters(config)
    if given is None:
        return tensors.draw(wanted, seed)
    tensors.check(given, wanted, "weights")
    return given
