"""Context attention (Pu et al. 2024): one head that sees all snippets, blended with one that sees the nearest.

With q, k, v linear in x, T x E each, and learned scalars w, b, alpha,

    L_ij = q_i . k_j / sqrt(E) + P_ij,   P_ij = exp(-|w (i - j)^2 - b|)
    y_i  = s sum_j G_ij v_j + (1 - s) sum_j N_ij v_j,   s = sigmoid(alpha)

G is the softmax of the row L_i over all j, N that over the W of them from i - W // 2 to i - W // 2 + W - 1, as far as
there are any. Memory grows linearly in T.
"""
from __future__ import annotations

import numpy as np

from .activations import sigmoid
from .attention import by_offset, overlap, softmax_attention
from .linear import linear
from .tensors import Array, Parameter, Scope, affine, xavier_bound

MAPS = ("q", "k", "v")


def context_attention(x: Array, p: Scope, window: int) -> Array:
    """y of x, before any output layer. x (B, T, C) -> (B, T, E)."""
    q, k, v = (linear(x, **p.at(name)) for name in MAPS)
    term = position_term(x.shape[1], **p.at("position")).astype(x.dtype)
    share, both_ways = sigmoid(p["alpha"].astype(x.dtype)), np.concatenate([term[:0:-1], term])
    far, near = softmax_attention(q, k, v, by_offset(both_ways)), nearby(q * q.shape[-1] ** -0.5, k, v, term, window)
    return share * far + (1 - share) * near


def position_term(steps: int, w: Array, b: Array) -> Array:
    """P by distance, exp(-|w d^2 - b|) for d = 0 .. T - 1, (T,) float64. w, b (1,)."""
    return np.exp(-np.abs(w.astype(np.float64) * np.arange(steps) ** 2 - b))


def nearby(q: Array, k: Array, v: Array, term: Array, window: int) -> Array:
    """N v, one offset j - i after another. q, which is scaled, k, v (B, T, E), term (T,)."""
    steps, first = q.shape[1], -(window // 2)
    offsets = {offset: overlap(steps, steps, offset) for offset in range(first, first + window) if abs(offset) < steps}
    weights = np.full((window, *q.shape[:-1]), -np.inf, q.dtype)
    for offset, (queries, keys) in offsets.items():
        products = np.einsum("bte,bte->bt", q[:, queries], k[:, keys])
        weights[offset - first][:, queries] = products + term[abs(offset)]
    weights = np.exp(weights - weights.max(0))
    weights /= weights.sum(0)
    out = np.zeros_like(v)
    for offset, (queries, keys) in offsets.items():
        out[:, queries] += weights[offset - first][:, queries, None] * v[:, keys]
    return out


def power_norm(y: Array) -> Array:
    """r = sign(y) sqrt|y|, each channel divided by its L2 norm over time, by 1e-12 at least. (B, T, E).

    The derivative of r at y = 0 counts as 0.
    """
    r = np.sign(y) * np.sqrt(np.abs(y))
    return r / np.maximum(np.linalg.norm(r, axis=1, keepdims=True), 1e-12)


def context_attention_parameters(channels: int, width: int, w: float, b: float) -> dict:
    """The tensors, the output layer `out` (E -> C) included; w and b are the scalars' first values, alpha's is 0."""
    maps = {name: xavier((width, channels)) for name in MAPS} | {"out": xavier((channels, width))}
    return maps | {"alpha": Parameter(()), "position": {"w": Parameter((1,), value=w), "b": Parameter((1,), value=b)}}


def xavier(shape: tuple[int, ...]) -> dict:
    """A layer whose weight (O, I, ...) starts Xavier-uniform, and its bias by PyTorch's default."""
    return affine(shape, True) | {"weight": Parameter(shape, xavier_bound(shape))}
