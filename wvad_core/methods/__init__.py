"""The methods. A method is a module of this package; finding them is all that happens here.

Such a module offers

    Config                                  its configuration, a frozen dataclass
    parameters(config)                      {canonical tensor name: Parameter}
    forward(features, p, config)            anomaly scores, (B, T, D) or (B, N, T, D) -> (B, T)
    losses(batch, p, config)                {"total": ..., term: ...} of a Batch with the normal half first
    published(config)                       the tensor names of its published checkpoints
    PAPER                                   where it was published, with which results
    RECIPES                                 its training settings, {dataset: Recipe}: those published, and the demo's
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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class Published:
    """The tensors of a published checkpoint.

    names: {published name: canonical name}, one to one.
    optional: published names that some releases lack; they then stand for zeros.
    unused: published names that the published network stores and never uses; they are dropped.
    parts: canonical prefixes of parts that are published in files of their own. A part that is absent keeps its fresh
        weights, where another one is there.
    """
    names: dict[str, str]
    optional: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paper:
    """Where a method was published. results: {dataset: {metric: percent}}, the authors' own."""
    title: str
    authors: str
    year: int
    link: str
    results: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Group:
    """Parameters that train by a rate of their own: those whose canonical names begin with `prefix`.

    The rate is multiplied by `decay` every `decay_steps` steps. The group starts after `warm_up` steps: until then
    nothing moves it, its optimiser included.
    """
    prefix: str
    learning_rate: float
    decay: float = 1.0
    decay_steps: int = 1
    warm_up: int = 0


@dataclass(frozen=True)
class Recipe:
    """How a method was trained: Adam with L2 weight decay on batches of `videos` normal + `videos` abnormal videos.

    steps: of each stage. segments: snippets of a training video. sampling: how it comes to them, "segments" (averaged) or "snippets" (at
    most so many are drawn, shorter videos are padded). crops: "random", one of each video, or "all".
    groups: parameters with rates of their own. settings: the configuration where it is not the default.
    """
    segments: int
    videos: int
    steps: int
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-5
    clip_norm: float | None = None
    seed: int = 0
    crops: str = "random"
    sampling: str = "segments"
    groups: tuple[Group, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def grouped(self, names: Iterable[str]) -> list[list[str]]:
        """`names` by group: those of no group first, then those of each group."""
        members: list[list[str]] = [[] for _ in (None, *self.groups)]
        for name in names:
            found = (i for i, group in enumerate(self.groups, 1) if name.startswith(group.prefix))
            members[next(found, 0)].append(name)
        return members

    def rates(self, step: int) -> list[float | None]:
        """The learning rates of these lists at a step, counted from 1; None where the group has not begun."""
        return [self.learning_rate] + [
            None if step <= g.warm_up else g.learning_rate * g.decay ** ((step - 1 - g.warm_up) // g.decay_steps)
            for g in self.groups]


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


def stages_of(spec: ModuleType, config: Any) -> tuple[Any, ...]:
    """The configurations that training goes through, one after another, to end with `config`."""
    return spec.stages(config) if hasattr(spec, "stages") else (config,)


def specification(method: str) -> ModuleType:
    """The module that specifies `method`."""
    return importlib.import_module(f"{__name__}.{module_name(method)}")
