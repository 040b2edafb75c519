"""What every layer computes, in NumPy.

These functions are the reference that the PyTorch and MindSpore layers are tested against, and the NumPy backend
runs on them. Sequences are channel-last, `(..., T, C)`: T snippets of C channels. Weights have PyTorch's shapes.
Everything computes in the dtype it is given; memory grows linearly in T, never with its square.

Layers with weights take a `Scope`, the weights below one name: `linear(x, **scope.at("fc1"))`.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.special import erf, expit

Array = np.ndarray

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1  # PyTorch's sense: the share of the new value
LAYER_NORM_EPS = 1e-5


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


def one_crop_each(features: Array) -> tuple[Array, int]:
    """(B, T, D) or (B, N, T, D) -> (B * N, T, D), every crop an item of its own; and N. Takes any framework's tensors."""
    return features.reshape((-1,) + features.shape[-2:]), features.shape[1] if features.ndim == 4 else 1


def in_blocks(function: Callable[[Array], Array], x: Array, axis: int, size: int) -> Array:
    """function(x), of `size` entries of an axis at a time, which it must treat apart: what it holds stays small."""
    parts = np.split(x, range(size, x.shape[axis], size), axis)
    return np.concatenate([function(part) for part in parts], axis)


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = x W^T + b. x (..., I), weight (O, I), bias (O,) -> (..., O)."""
    y = (x.reshape(-1, x.shape[-1]) @ weight.T).reshape(*x.shape[:-1], len(weight))
    return y if bias is None else y + bias


def conv1d(x: Array, weight: Array, bias: Array | None = None, dilation: int = 1) -> Array:
    """Convolution over time that keeps the length: y_t = b + sum_k W_k x_(t + (k - K // 2) * dilation), zeros outside.

    x (..., T, I), weight (O, I, K) with K odd, bias (O,) -> (..., T, O).
    """
    steps, taps = x.shape[-2], weight.shape[-1]
    by_tap = np.ascontiguousarray(np.moveaxis(weight, -1, 0))  # NumPy multiplies strided matrices without BLAS
    y = linear(x, by_tap[taps // 2], bias)
    for k in range(taps):
        shift = (k - taps // 2) * dilation
        if 0 < abs(shift) < steps:
            target, source = shifted(steps, shift)
            y[..., target, :] += linear(x[..., source, :], by_tap[k])
    return y


def conv2d(x: Array, weight: Array, bias: Array | None = None, padding: int = 0) -> Array:
    """Convolution of a grid with `padding` rows and columns of zeros around it, y_rc = b + sum_ij W_ij x_(r + i, c + j).

    x (..., R, C, I), weight (O, I, K, K), bias (O,) -> (..., R', C', O), R' = R + 2 padding - K + 1.
    """
    around = [(0, 0)] * (x.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)]
    x, kernel = np.pad(x, around), weight.shape[-1]
    rows, columns = (size - kernel + 1 for size in x.shape[-3:-1])
    by_tap = np.ascontiguousarray(np.moveaxis(weight, (-2, -1), (0, 1)))
    y = 0 if bias is None else bias
    for i, j in np.ndindex(kernel, kernel):
        y = y + linear(x[..., i:i + rows, j:j + columns, :], by_tap[i, j])
    return y


def shifted(steps: int, shift: int) -> tuple[slice, slice]:
    """The positions t, and t + shift, for which both lie within 0 .. steps - 1."""
    return slice(max(0, -shift), steps - max(0, shift)), slice(max(0, shift), steps - max(0, -shift))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def leaky_relu(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, x * slope)


def gelu(x: Array) -> Array:
    """x * Phi(x) with the exact normal distribution function (Hendrycks and Gimpel 2016), not the tanh formula."""
    return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))


def sigmoid(x: Array) -> Array:
    return expit(x)


def softmax(x: Array) -> Array:
    """exp(x) / sum exp(x) over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def dropout(x: Array, p: float, rng: np.random.Generator | None) -> Array:
    """Zero each entry with probability p and scale the rest by 1 / (1 - p); the identity without a generator."""
    if rng is None or p == 0:
        return x
    return x * ((rng.random(x.shape) >= p) / (1 - p)).astype(x.dtype)


def noise(shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator | None) -> Array:
    """Standard normal numbers; zeros without a generator."""
    return (np.zeros(shape) if rng is None else rng.standard_normal(shape)).astype(dtype)


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    """(x - mean) / sqrt(var + 1e-5) * weight + bias over the last axis (Ba et al. 2016)."""
    centred = x - x.mean(-1, keepdims=True)
    variance = np.einsum("...c,...c->...", centred, centred)[..., None] / x.shape[-1]
    return centred / np.sqrt(variance + LAYER_NORM_EPS) * weight + bias


def batch_norm(x: Array, p: Scope) -> Array:
    """(x - mean) / sqrt(var + 1e-5) * weight + bias per channel, x (..., C) (Ioffe and Szegedy 2015).

    In evaluation mean and var are the running statistics. In training they are those of all positions of `x`, and
    the running ones move a tenth of the way towards them, with the unbiased variance, as PyTorch's do.
    """
    mean, variance = p["running_mean"], p["running_var"].astype(x.dtype)
    if p.training:
        flat = x.reshape(-1, x.shape[-1])
        mean, variance = flat.mean(0), flat.var(0)
        unbiased = variance * (len(flat) / max(len(flat) - 1, 1))
        for name, new in (("running_mean", mean), ("running_var", unbiased)):
            p.record(name, p[name] + BATCH_NORM_MOMENTUM * (new - p[name]))
        p.record("num_batches_tracked", p["num_batches_tracked"] + 1)
    return (x - mean) / np.sqrt(variance + BATCH_NORM_EPS) * p["weight"] + p["bias"]


def score_head(x: Array, p: Scope, drop: float) -> Array:
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid: the anomaly score. x (..., C) -> (...)."""
    for name in ("fc1", "fc2"):
        x = dropout(relu(linear(x, **p.at(name))), drop, p.rng)
    return sigmoid(linear(x, **p.at("fc3")))[..., 0]
