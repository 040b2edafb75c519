"""The tensors of a network: their canonical names, shapes and fresh values.

A method lists its tensors as nested dictionaries whose paths are the canonical names; `flatten` joins the paths.
Every backend starts from the same fresh values, drawn here: a seed means one network, not one for each framework.
"""
from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import InputError, listing

COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Parameter:
    """A tensor's shape and fresh value: uniform in [-bound, bound] where bound > 0, else the constant `value`."""
    shape: tuple[int, ...]
    bound: float = 0.0
    value: float = 0.0
    dtype: type = np.float32

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if self.bound:
            return rng.uniform(-self.bound, self.bound, self.shape).astype(self.dtype)
        return np.full(self.shape, self.value, self.dtype)


def linear(inputs: int, outputs: int, bias: bool = True, xavier: bool = False) -> dict:
    """PyTorch's default start, uniform within 1 / sqrt(inputs); or Xavier-uniform weights and a zero bias."""
    return _affine((outputs, inputs), bias, math.sqrt(6 / (inputs + outputs)) if xavier else None)


def conv1d(inputs: int, outputs: int, kernel: int, bias: bool = True) -> dict:
    return _affine((outputs, inputs, kernel), bias)


def conv2d(inputs: int, outputs: int, kernel: int) -> dict:
    return _affine((outputs, inputs, kernel, kernel), True)


def _affine(shape: tuple[int, ...], bias: bool, xavier: float | None = None) -> dict:
    default = 1 / math.sqrt(math.prod(shape[1:]))
    weight = {"weight": Parameter(shape, xavier or default)}
    return weight | ({"bias": Parameter(shape[:1], 0 if xavier else default)} if bias else {})


def layer_norm(channels: int) -> dict:
    return {"weight": Parameter((channels,), value=1), "bias": Parameter((channels,))}


def batch_norm(channels: int, scale: float = 1) -> dict:
    return {"weight": Parameter((channels,), value=scale), "bias": Parameter((channels,)),
            "running_mean": Parameter((channels,)), "running_var": Parameter((channels,), value=1),
            COUNTER: Parameter((), dtype=np.int64)}


def local_attention(channels: int, heads: int, head_dim: int) -> dict:
    inner = heads * head_dim
    return {"norm": layer_norm(channels), "qkv": linear(channels, 3 * inner, bias=False),
            "out": linear(inner, channels, bias=False)}


def transformer(channels: int, depth: int, heads: int, head_dim: int, feed_forward: int, local: bool = True) -> dict:
    inner = heads * head_dim
    parts = {"qkvt": linear(channels, 4 * inner, bias=False), "out": linear(2 * inner, channels)} if local else {
        "qkv": linear(channels, 3 * inner, bias=False), "out": linear(inner, channels)}
    layer = {"attention": {"norm": layer_norm(channels)} | parts,
             "feed_forward": {"norm": layer_norm(channels), "linear1": linear(channels, feed_forward),
                              "linear2": linear(feed_forward, channels)}}
    return {"layers": {str(i): layer for i in range(depth)}}


def non_local(channels: int) -> dict:
    """The block starts as the identity: its BatchNorm's scale is zero."""
    inner = channels // 2
    return {name: conv1d(channels, inner, 1) for name in ("g", "theta", "phi")} | {
        "out": conv1d(inner, channels, 1), "norm": batch_norm(channels, scale=0)}


def pyramid_aggregation(channels: int, dilations: tuple[int, ...]) -> dict:
    quarter = channels // 4
    scale = {"conv": conv1d(channels, quarter, 3), "norm": batch_norm(quarter)}
    return {f"scale{d}": scale for d in dilations} | {
        "reduce": conv1d(channels, quarter, 1, bias=False), "non_local": non_local(quarter),
        "merge": {"conv": conv1d(channels, channels, 3, bias=False), "norm": batch_norm(channels)}}


def score_head(inputs: int, hidden: tuple[int, int]) -> dict:
    sizes = (inputs, *hidden, 1)
    return {f"fc{i + 1}": linear(sizes[i], sizes[i + 1], xavier=True) for i in range(3)}


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Parameter]:
    """{"a": {"weight": P}} -> {"a.weight": P}."""
    flat = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def draw(parameters: Mapping[str, Parameter], seed: int) -> dict[str, np.ndarray]:
    """Fresh weights. Each tensor has a stream of its own, so another tensor more or less changes no other."""
    return {name: p.draw(np.random.default_rng([seed, zlib.crc32(name.encode())])) for name, p in parameters.items()}


def check(weights: Mapping[str, np.ndarray], parameters: Mapping[str, Parameter], source: str) -> None:
    """Raise InputError unless `weights` are exactly these tensors in these shapes."""
    problems = [f"missing tensor {n} {p.shape}" for n, p in parameters.items() if n not in weights]
    problems += [f"unexpected tensor {n} {np.shape(w)}" for n, w in weights.items() if n not in parameters]
    problems += [f"tensor {n} has shape {np.shape(weights[n])}, expected {p.shape}"
                 for n, p in parameters.items() if n in weights and np.shape(weights[n]) != p.shape]
    if problems:
        raise InputError(f"{source}: {listing(problems)}")
