"""The tensors of a network: their canonical names, shapes and fresh values.

A method lists its tensors as nested dictionaries whose paths are the canonical names; `flatten` joins the paths.
Every backend starts from the same fresh values, drawn here: a seed means one network, not one for each framework.
Blocks with weights take a `Scope`, the weights below one name: `linear(x, **scope.at("fc1"))`.
"""
from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, listing, one_line

Array = np.ndarray


class Scope(Mapping):
    """The weights below one name of a network, and the mode that it runs in.

    `training` makes BatchNorm use (and record) batch statistics, except below the names in `frozen`; `rng`, where
    given, drives dropout and noise; `memory` is what the method's training remembers besides the weights.
    """

    def __init__(self, weights: dict[str, Array], prefix: str = "", training: bool = False,
                 rng: np.random.Generator | None = None, frozen: tuple[str, ...] = (), memory: Any = None):
        self.weights, self.prefix, self.rng, self.frozen, self.memory = weights, prefix, rng, frozen, memory
        self.training = training and not prefix.startswith(tuple(f"{name}." for name in frozen))

    def at(self, name: object) -> Scope:
        return Scope(self.weights, f"{self.prefix}{name}.", self.training, self.rng, self.frozen, self.memory)

    def __getitem__(self, name: str) -> Array:
        return self.weights[self.prefix + name]

    def record(self, name: str, value: Array) -> None:
        self.weights[self.prefix + name] = value

    def __iter__(self) -> Iterator[str]:
        return (n[len(self.prefix):] for n in self.weights if n.startswith(self.prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Parameter:
    """A tensor's shape and fresh value: uniform in [-bound, bound] where bound > 0, normal of the standard deviation
    `deviation` where that is > 0, else the constant `value`.

    trained: whether it has a gradient; running statistics, and what a dataset brings, have none.
    """
    shape: tuple[int, ...]
    bound: float = 0.0
    value: float = 0.0
    dtype: type = np.float32
    deviation: float = 0.0
    trained: bool = True

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if self.bound:
            return rng.uniform(-self.bound, self.bound, self.shape).astype(self.dtype)
        if self.deviation:
            return rng.normal(0, self.deviation, self.shape).astype(self.dtype)
        return np.full(self.shape, self.value, self.dtype)


def xavier_bound(shape: tuple[int, ...]) -> float:
    """Of Xavier-uniform weights (O, I, ...): sqrt(6 / (taps (I + O))) (Glorot and Bengio 2010)."""
    return math.sqrt(6 / (math.prod(shape[2:]) * (shape[0] + shape[1])))


def affine(shape: tuple[int, ...], bias: bool, xavier: float | None = None) -> dict:
    default = 1 / math.sqrt(math.prod(shape[1:]))
    weight = {"weight": Parameter(shape, xavier or default)}
    return weight | ({"bias": Parameter(shape[:1], 0 if xavier else default)} if bias else {})


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Parameter]:
    """{"a": {"weight": P}} -> {"a.weight": P}."""
    flat = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def draw(parameters: Mapping[str, Parameter], seed: int) -> dict[str, np.ndarray]:
    """Fresh weights. Each tensor has a stream of its own, so another tensor more or less changes no other."""
    return {name: p.draw(np.random.default_rng([seed, zlib.crc32(name.encode())])) for name, p in parameters.items()}


def learned(parameters: Mapping[str, Parameter]) -> int:
    """How many numbers training learns."""
    return sum(math.prod(p.shape) for p in parameters.values() if p.trained)


def check(weights: Mapping[str, np.ndarray], parameters: Mapping[str, Parameter], source: str) -> None:
    """Raise InputError unless `weights` are exactly these tensors in these shapes."""
    problems = [f"missing tensor {n} {p.shape}" for n, p in parameters.items() if n not in weights]
    problems += [f"unexpected tensor {n} {np.shape(w)}" for n, w in weights.items() if n not in parameters]
    problems += [f"tensor {n} has shape {np.shape(weights[n])}, expected {p.shape}"
                 for n, p in parameters.items() if n in weights and np.shape(weights[n]) != p.shape]
    if problems:
        raise InputError(f"{source}: {listing(problems)}")


def count(value: np.ndarray, name: str) -> int:
    """The number in an array of a saved state. Raises InputError unless it is one whole number from 0."""
    value = np.asarray(value)
    if value.shape or value.dtype.kind not in "iu" or value < 0:
        raise InputError(f"{name} is {one_line(value, 80)} ({value.dtype} {value.shape}), expected a whole number from 0")
    return int(value)


def published_by_module(modules: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """{published name: canonical name} of the tensors `names`, whose own names are the same in both."""
    parts = (name.rpartition(".") for name in names)
    return {f"{modules[module]}.{tensor}": f"{module}.{tensor}" for module, _, tensor in parts}
