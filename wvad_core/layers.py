"""What every layer computes, in NumPy.

These functions are the reference that the PyTorch and MindSpore layers are tested against, and the NumPy backend
runs on them. Sequences are channel-last, `(..., T, C)`: T snippets of C channels. Weights have PyTorch's shapes.
Everything computes in the dtype it is given; memory grows linearly in T, never with its square.

Layers with weights take a `Scope`, the weights below one name: `linear(x, **scope.at("fc1"))`.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.special import erf, expit

Array = np.ndarray

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1  # PyTorch's sense: the share of the new value
LAYER_NORM_EPS = 1e-5
DECAY = math.exp(-1 / math.e)  # ratio of two neighbouring entries of the decay attention
ATTENTION_BLOCK = 1 << 21  # attention weights held at a time


class Scope(Mapping):
    """The weights below one name of a network, and the mode that it runs in.

    `training` makes BatchNorm use (and record) batch statistics; `rng`, where given, drives dropout.
    """

    def __init__(self, weights: dict[str, Array], prefix: str = "", training: bool = False,
                 rng: np.random.Generator | None = None):
        self.weights, self.prefix, self.training, self.rng = weights, prefix, training, rng

    def at(self, name: object) -> Scope:
        return Scope(self.weights, f"{self.prefix}{name}.", self.training, self.rng)

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


def dropout(x: Array, p: float, rng: np.random.Generator | None) -> Array:
    """Zero each entry with probability p and scale the rest by 1 / (1 - p); the identity without a generator."""
    if rng is None or p == 0:
        return x
    return x * ((rng.random(x.shape) >= p) / (1 - p)).astype(x.dtype)


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


def softmax_attention(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k^T / sqrt(E)) v (Vaswani et al. 2017). q, k, v (..., T, E) -> (..., T, E).

    Computed for a block of queries at a time, so that no T x T matrix is ever held.
    """
    steps, width = q.shape[-2:]
    rows = max(1, ATTENTION_BLOCK // steps)
    out = np.empty_like(q)
    for item in np.ndindex(q.shape[:-2]):
        keys, values = np.ascontiguousarray(k[item].T) * width**-0.5, np.ascontiguousarray(v[item])
        for start in range(0, steps, rows):
            logits = q[item][start:start + rows] @ keys
            logits -= logits.max(-1, keepdims=True)
            np.exp(logits, out=logits)
            out[item][start:start + rows] = (logits @ values) / logits.sum(-1, keepdims=True)
    return out


def decay_attention(t: Array) -> Array:
    """out_i = sum_j W_ij / s_j t_j, with W_ij = exp(-|i - j| / e) and s_j = sum_i W_ij. t (..., T, E) -> (..., T, E).

    The weights are divided by the sum at j, as published, not at i: near the ends of a video they do not sum to 1.
    W is a two-sided exponential filter, so two first-order recursions give the product exactly in O(T).
    """
    from scipy.signal import lfilter  # slow to import, and only this layer needs it

    u = t / decay_sums(t.shape[-2]).astype(t.dtype)[:, None]
    poles = np.array([1, -DECAY], t.dtype)
    past = lfilter(poles[:1], poles, u, axis=-2)
    future = lfilter(poles[:1], poles, u[..., ::-1, :], axis=-2)[..., ::-1, :]
    return past + future - u


def decay_sums(steps: int) -> Array:
    """s_j = sum_i exp(-|i - j| / e) = (1 + r - r^(j+1) - r^(T-j)) / (1 - r), r = exp(-1 / e). -> (T,) float64."""
    j = np.arange(steps)
    return (1 + DECAY - DECAY ** (j + 1) - DECAY ** (steps - j)) / (1 - DECAY)


def global_local_attention(x: Array, p: Scope, heads: int) -> Array:
    """Each head's softmax attention and decay attention side by side, merged (UR-DMU, Zhou et al. 2023).

    x (B, T, C). One bias-free projection gives q, k, v, t in this order, each as `heads` contiguous blocks.
    """
    batch, steps, _ = x.shape
    projected = linear(x, **p.at("qkvt")).reshape(batch, steps, 4, heads, -1)
    q, k, v = np.moveaxis(projected[:, :, :3], (2, 3), (0, 2))  # each (B, H, T, E)
    near = decay_attention(projected[:, :, 3].reshape(batch, steps, -1)).reshape(batch, steps, heads, -1)
    both = np.concatenate([softmax_attention(q, k, v).swapaxes(1, 2), near], axis=-1)  # (B, T, H, 2E)
    return linear(both.reshape(batch, steps, -1), **p.at("out"))


def transformer(x: Array, p: Scope, depth: int, heads: int, drop: float = 0.0) -> Array:
    """`depth` pre-norm layers: x + attention(norm(x)), then x + feed_forward(norm(x)). x (B, T, C) -> (B, T, C)."""
    for i in range(depth):
        a, f = p.at("layers").at(i).at("attention"), p.at("layers").at(i).at("feed_forward")
        x = x + dropout(global_local_attention(layer_norm(x, **a.at("norm")), a, heads), drop, p.rng)
        hidden = dropout(gelu(linear(layer_norm(x, **f.at("norm")), **f.at("linear1"))), drop, p.rng)
        x = x + dropout(linear(hidden, **f.at("linear2")), drop, p.rng)
    return x


def non_local(x: Array, p: Scope) -> Array:
    """x + norm(W y), y_i = sum_j (theta_i . phi_j / T) g_j (Wang et al. 2018, without softmax). x (B, T, C).

    Without a softmax the sum over j can be taken first: theta (phi^T g) needs no T x T matrix.
    """
    theta, phi, g = (conv1d(x, **p.at(name)) for name in ("theta", "phi", "g"))
    y = theta @ (phi.swapaxes(-1, -2) @ g / x.shape[-2])
    return x + batch_norm(conv1d(y, **p.at("out")), p.at("norm"))


def pyramid_aggregation(x: Array, p: Scope) -> Array:
    """Multi-scale temporal aggregation (RTFM, Tian et al. 2021). x (B, T, D) -> (B, T, D).

    Convolutions of dilation 1, 2, 4 and a non-local block, a quarter of the channels each, merged by a convolution
    and added to the input. BatchNorm comes after the ReLU.
    """
    scales = [batch_norm(relu(conv1d(x, **p.at(f"scale{d}").at("conv"), dilation=d)), p.at(f"scale{d}").at("norm"))
              for d in PYRAMID_DILATIONS]
    around = non_local(relu(conv1d(x, **p.at("reduce"))), p.at("non_local"))
    merged = relu(conv1d(np.concatenate([*scales, around], axis=-1), **p.at("merge").at("conv")))
    return x + batch_norm(merged, p.at("merge").at("norm"))


PYRAMID_DILATIONS = (1, 2, 4)


def score_head(x: Array, p: Scope, drop: float) -> Array:
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid: the anomaly score. x (..., C) -> (...)."""
    for name in ("fc1", "fc2"):
        x = dropout(relu(linear(x, **p.at(name))), drop, p.rng)
    return sigmoid(linear(x, **p.at("fc3")))[..., 0]
