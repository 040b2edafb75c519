"""The methods. A method is a module of this package; finding them is all that happens here.

Such a module offers

    Config                                  its configuration, a frozen dataclass
    parameters(config)                      {canonical tensor name: Parameter}
    forward(features, p, config)            anomaly scores, (B, T, D) or (B, N, T, D) -> (B, T)
    losses(features, p, config)             {"total": ..., term: ...}; features (2B, T, D) or (2B, N, T, D), normal first
    published(config)                       the tensor names of its published checkpoints
    RECIPES                                 its training settings, {dataset: Recipe}: those published, and the demo's
    DEMO                                    a small configuration, for the demo set
"""
from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from types import ModuleType

from ..errors import InputError


@dataclass(frozen=True)
class Published:
    """The tensors of a published checkpoint.

    names: {published name: canonical name}, one to one. optional: published names that some releases lack; they
    then stand for zeros.
    """
    names: dict[str, str]
    optional: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Recipe:
    """How a method was trained: Adam with L2 weight decay on batches of `videos` normal + `videos` abnormal videos."""
    segments: int
    videos: int
    steps: int
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-5
    clip_norm: float | None = None
    seed: int = 0


def names() -> tuple[str, ...]:
    """The names of the methods, as `create` takes them."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.replace("_", "-") for name in found))


def module_name(method: str) -> str:
    """The name of a method's module, the same in every backend: "bn-wvad" -> "bn_wvad"."""
    if method not in names():
        raise InputError(f"unknown method {method!r}; the methods are {', '.join(names())}")
    return method.replace("-", "_")


def specification(method: str) -> ModuleType:
    """The module that specifies `method`."""
    return importlib.import_module(f"{__name__}.{module_name(method)}")
