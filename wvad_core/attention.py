"""What attention and the transformer compute, in NumPy (see layers.py)."""
from __future__ import annotations

import math

import numpy as np

from .layers import Array, Scope, dropout, gelu, layer_norm, linear

DECAY = math.exp(-1 / math.e)  # ratio of two neighbouring entries of the decay attention
ATTENTION_BLOCK = 1 << 21  # attention weights held at a time


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


def global_attention(x: Array, p: Scope, heads: int) -> Array:
    """Multi-head softmax attention. x (B, T, C). One bias-free projection gives q, k, v, heads contiguous."""
    batch, steps, _ = x.shape
    q, k, v = np.moveaxis(linear(x, **p.at("qkv")).reshape(batch, steps, 3, heads, -1), (2, 3), (0, 2))
    return linear(softmax_attention(q, k, v).swapaxes(1, 2).reshape(batch, steps, -1), **p.at("out"))


def transformer(x: Array, p: Scope, depth: int, heads: int, drop: float = 0.0, local: bool = True) -> Array:
    """`depth` pre-norm layers: x + attention(norm(x)), then x + feed_forward(norm(x)). x (B, T, C) -> (B, T, C).

    The attention is global and local, or with local=False global alone.
    """
    attention = global_local_attention if local else global_attention
    for i in range(depth):
        a, f = p.at("layers").at(i).at("attention"), p.at("layers").at(i).at("feed_forward")
        x = x + dropout(attention(layer_norm(x, **a.at("norm")), a, heads), drop, p.rng)
        hidden = dropout(gelu(linear(layer_norm(x, **f.at("norm")), **f.at("linear1"))), drop, p.rng)
        x = x + dropout(linear(hidden, **f.at("linear2")), drop, p.rng)
    return x
