"""Attention over time: softmax, decaying with distance, within a window; positions. Memory grows linearly in T."""
from __future__ import annotations

import math

import numpy as np

from ..errors import InputError
from .linear import linear, linear_parameters
from .normalisation import layer_norm_parameters
from .tensors import Array, Scope

DECAY = math.exp(-1 / math.e)  # ratio of two neighbouring entries of the decay attention
ATTENTION_BLOCK = 1 << 21  # attention weights held at a time


def softmax_attention(q: Array, k: Array, v: Array, added: Array | None = None) -> Array:
    """softmax(q k^T / sqrt(E) + added) v (Vaswani et al. 2017). q, k, v (..., T, E), added (T, T) -> (..., T, E).

    Computed for a block of queries at a time, so that no T x T matrix is ever held: `added` may be a view, as `by_offset` gives.
    """
    steps, width = q.shape[-2:]
    rows = max(1, ATTENTION_BLOCK // steps)
    out = np.empty_like(q)
    for item in np.ndindex(q.shape[:-2]):
        keys, values = np.ascontiguousarray(k[item].T) * width**-0.5, np.ascontiguousarray(v[item])
        for start in range(0, steps, rows):
            logits = q[item][start:start + rows] @ keys
            if added is not None:
                logits += added[start:start + rows]
            logits -= logits.max(-1, keepdims=True)
            np.exp(logits, out=logits)
            out[item][start:start + rows] = (logits @ values) / logits.sum(-1, keepdims=True)
    return out


def by_offset(values: Array) -> Array:
    """values[T - 1 + j - i] at (i, j), of one for each offset j - i from -(T - 1) to T - 1: a view (T, T), of which nothing is held."""
    return np.lib.stride_tricks.sliding_window_view(values, (len(values) + 1) // 2)[::-1]


def earlier(steps: int, dtype: np.dtype) -> Array:
    """What lets query i see the keys j <= i alone, added to logits: a view (T, T) of 0 and -infinity."""
    return by_offset(np.where(np.arange(1 - steps, steps) > 0, -np.inf, 0).astype(dtype))


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


def with_positions(x: Array, weight: Array) -> Array:
    """x plus a learned vector for each place in the video. x (..., T, C), weight (P, C), P >= T."""
    check_positions(x.shape[-2], len(weight))
    return x + weight[:x.shape[-2]]


def check_positions(steps: int, positions: int) -> None:
    """Raise InputError for a video that is longer than the table of positions."""
    if steps > positions:
        raise InputError(f"a video of {steps} snippets: this network has positions for {positions} at most")


def rotated(x: Array, positions: Array) -> Array:
    """Rotary positions (Su et al. 2021): dimensions m and m + E / 2 turned by position * 10000^(-2 m / E). (..., T, E)."""
    angles = np.multiply.outer(positions, rotary_frequencies(x.shape[-1]))
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def rotary_frequencies(width: int) -> Array:
    """10000^(-2 m / E) of each pair of dimensions, (E / 2,) float64."""
    return 10000.0 ** (-2 * np.arange(width // 2) / width)


def windowed_attention(q: Array, k: Array, v: Array, window: int) -> Array:
    """softmax over |i - j| <= w of q_i . k_j / sqrt(E), times v_j. q, k, v (..., T, E) -> (..., T, E).

    Published with windows of w snippets, each of which sees itself and its two neighbours, hence these two quirks:
    the last window is filled up with keys and values of zero, which take their share of the softmax; and rotary
    positions count keys from the start of the left neighbour but queries from the start of the right one, so that
    those are w apart where i = j.
    """
    steps, width = q.shape[-2:]
    filled = -(-steps // window) * window
    q, k = rotated(q * width**-0.5, np.arange(steps) + window), rotated(k, np.arange(steps))
    k, v = (np.concatenate([x, np.zeros_like(x[..., :1, :]).repeat(filled - steps, -2)], axis=-2) for x in (k, v))
    offsets = {offset: overlap(steps, filled, offset) for offset in range(-window, window + 1)}
    weights = np.full((2 * window + 1, *q.shape[:-1]), -np.inf, q.dtype)
    for offset, (queries, keys) in offsets.items():
        weights[offset + window][..., queries] = np.einsum("...te,...te->...t", q[..., queries, :], k[..., keys, :])
    weights = np.exp(weights - weights.max(0))
    weights /= weights.sum(0)
    out = np.zeros_like(q)
    for offset, (queries, keys) in offsets.items():
        out[..., queries, :] += weights[offset + window][..., queries, None] * v[..., keys, :]
    return out


def window_block(window: int) -> int:
    """How many queries the frameworks take at a time: blocks much smaller than 32 are slow to multiply."""
    return max(32, 2 * window)


def overlap(queries: int, keys: int, offset: int) -> tuple[slice, slice]:
    """The queries i, of so many, for which i + offset is one of so many keys; and those keys."""
    start = min(max(0, -offset), queries)
    stop = max(start, min(queries, keys - offset))
    return slice(start, stop), slice(start + offset, stop + offset)


def local_attention(x: Array, p: Scope, heads: int, window: int) -> Array:
    """Multi-head attention to the snippets within `window` (see `windowed_attention`), without biases. x (B, T, C)."""
    batch, steps, _ = x.shape
    q, k, v = np.moveaxis(linear(x, **p.at("qkv")).reshape(batch, steps, 3, heads, -1), (2, 3), (0, 2))
    near = windowed_attention(q, k, v, window).swapaxes(1, 2)
    return linear(near.reshape(batch, steps, -1), **p.at("out"))


def local_attention_parameters(channels: int, heads: int, head_dim: int) -> dict:
    inner = heads * head_dim
    return {"norm": layer_norm_parameters(channels), "qkv": linear_parameters(channels, 3 * inner, bias=False),
            "out": linear_parameters(inner, channels, bias=False)}
