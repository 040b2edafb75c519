"""What the loss terms compute, in NumPy. Video-level labels: 0 normal, 1 abnormal."""
from __future__ import annotations

import numpy as np
from scipy.special import expit

Array = np.ndarray
TRIPLET_EPS = 1e-6


def binary_cross_entropy(p: Array, labels: Array) -> Array:
    """-y log p - (1 - y) log(1 - p), each logarithm clamped at -100 as PyTorch's. p and labels (...) -> (...)."""
    with np.errstate(divide="ignore"):
        return -labels * np.maximum(np.log(p), -100) - (1 - labels) * np.maximum(np.log1p(-p), -100)


def top_mean(x: Array, k: int) -> Array:
    """The mean of the k largest entries (of all of them where there are fewer). (..., T) -> (...)."""
    return np.sort(x, axis=-1)[..., -k:].mean(-1)


def top_cross_entropy(logits: Array, labels: Array, k: int) -> Array:
    """Cross entropy of p, the mean of the k largest sigmoid(logits) of each video. (..., T), labels (...) -> (...).

    From logits, because 1 - p is nothing in float32 where a score rounds to 1: here in float64, in the frameworks by
    logarithms of sigmoids. These lose no digits however large a logit is; the difference of float64 does beyond 25.
    """
    p = top_mean(expit(logits.astype(np.float64)), k)
    return binary_cross_entropy(p, labels).astype(logits.dtype)


def masked_top_mean(x: Array, mask: Array, k: int) -> Array:
    """The mean of the k largest entries where `mask` holds (of all of them where fewer do; 0 where none). (..., T) -> (...)."""
    ordered = np.sort(np.where(mask, x, -np.inf), axis=-1)[..., -k:]
    found = np.isfinite(ordered)
    return np.where(found, ordered, 0).sum(-1) / np.maximum(found.sum(-1), 1)


def largest_within(x: Array, lengths: Array, k: Array) -> tuple[Array, Array]:
    """The first n numbers of each row in descending order, and which of them are the k largest, k <= n.

    x (V, ..., T), lengths n and k (V,) -> (V, ..., T) each.
    """
    steps, rows = np.arange(x.shape[-1]), (-1,) + (1,) * (x.ndim - 1)
    ordered = np.sort(np.where(steps < lengths.reshape(rows), x, -np.inf), axis=-1)[..., ::-1]
    return ordered, np.broadcast_to(steps < k.reshape(rows), x.shape)


def top_mean_within(x: Array, lengths: Array, k: Array) -> Array:
    """The mean of the k largest of the first n numbers of each row; as `largest_within`. (V, ..., T) -> (V, ...)."""
    ordered, taken = largest_within(x, lengths, k)
    return np.where(taken, ordered, 0).sum(-1) / taken.sum(-1)


def top_cross_entropy_within(logits: Array, labels: Array, lengths: Array, k: Array) -> Array:
    """As `top_cross_entropy`, of the first n logits and the k of each video. (V, T), labels, lengths and k (V,) -> (V,)."""
    p = top_mean_within(expit(logits.astype(np.float64)), lengths, k)
    return binary_cross_entropy(p, labels).astype(logits.dtype)


def smoothness(scores: Array) -> Array:
    """sum_t (s_(t+1) - s_t)^2 within each video (Sultani et al. 2018). scores (..., T) -> (...)."""
    return (np.diff(scores, axis=-1) ** 2).sum(-1)


def triplet(anchor: Array, positive: Array, negative: Array, margin: float = 1.0) -> Array:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d(a, b) = ||a - b + 1e-6||. (..., C) -> (...).

    1e-6 is added to every component, as PyTorch's triplet margin loss does.
    """
    near, far = (np.linalg.norm(anchor - other + TRIPLET_EPS, axis=-1) for other in (positive, negative))
    return hinge(near, far, margin)


def hinge(normal: Array, abnormal: Array, margin: float) -> Array:
    """Triplet loss on distances from one anchor: max(0, margin + normal - abnormal)."""
    return np.maximum(0, margin + normal - abnormal)
