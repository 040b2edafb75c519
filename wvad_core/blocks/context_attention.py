"""Context attention (Pu et al. 2024): one head that sees all snippets, blended with one that sees the nearest.

With q, k, v linear in x, T x E each, and learned scalars w, b, alpha,

    L_ij = q_i . k_j / sqrt(E) + P_ij,   P_ij = exp(-|w (i - j)^2 - b|)
    y_i  = s sum_j G_ij v_j + (1 - s) sum_j N_ij v_j,   s = sigmoid(alpha)

G is the softmax of the row L_i over all j, N that over the W of them from i - W // 2 to i - W // 2 + W - 1, as far as
there are any. Memory grows linearly in T.
"""
from __future__ import annotations

import math

import numpy as np

from .activations import sigmoid
from .attention import ATTENTION_BLOCK, overlap
from .linear import linear
from .tensors import Array, Parameter, Scope, affine

MAPS = ("q", "k", "v")


def context_attention(x: Array, p: Scope, window: int) -> Array:
    """y of x, before any output layer. x (B, T, C) -> (B, T, E)."""
    q, k, v = (linear(x, **p.at(name)) for name in MAPS)
    q = q * q.shape[-1] ** -0.5
    term = position_term(x.shape[1], **p.at("position")).astype(x.dtype)
    share = sigmoid(p["alpha"].astype(x.dtype))
    return share * everywhere(q, k, v, term) + (1 - share) * nearby(q, k, v, term, window)


def position_term(steps: int, w: Array, b: Array) -> Array:
    """P by distance, exp(-|w d^2 - b|) for d = 0 .. T - 1, (T,) float64. w, b (1,)."""
    return np.exp(-np.abs(w.astype(np.float64) * np.arange(steps) ** 2 - b))


def everywhere(q: Array, k: Array, v: Array, term: Array) -> Array:
    """G v, for a block of queries at a time. q (scaled), k, v (B, T, E), term (T,)."""
    steps, out = q.shape[1], np.empty_like(v)
    rows = max(1, ATTENTION_BLOCK // steps)
    by_offset = np.concatenate([term[:0:-1], term])  # of j - i = -(T - 1) .. T - 1
    terms = np.lib.stride_tricks.sliding_window_view(by_offset, steps)[::-1]  # (T, T) of which nothing is held
    for item in range(len(q)):
        keys, values = np.ascontiguousarray(k[item].T), np.ascontiguousarray(v[item])
        for start in range(0, steps, rows):
            logits = q[item][start:start + rows] @ keys
            logits += terms[start:start + rows]
            logits -= logits.max(-1, keepdims=True)
            np.exp(logits, out=logits)
            out[item][start:start + rows] = (logits @ values) / logits.sum(-1, keepdims=True)
    return out


def nearby(q: Array, k: Array, v: Array, term: Array, window: int) -> Array:
    """N v, one offset j - i after another."""
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
    taps = math.prod(shape[2:])
    bound = math.sqrt(6 / ((shape[0] + shape[1]) * taps))
    return affine(shape, True) | {"weight": Parameter(shape, bound)}
