"""The loss terms of `wvad_core.blocks.losses` in MindSpore."""
from __future__ import annotations

import math

from mindspore import Tensor, ops
from wvad_core.blocks.losses import TRIPLET_EPS

LARGE = 1e30


def binary_cross_entropy(p: Tensor, labels: Tensor) -> Tensor:
    """-y log p - (1 - y) log(1 - p), each logarithm clamped at -100.

    MindSpore's own has the gradient of PyTorch's, but clamps p at 1e-12: its gradient is kept and its value replaced.
    """
    own = ops.binary_cross_entropy(p, labels, reduction="none")
    exact = -labels * ops.maximum(ops.log(p), -100.0) - (1 - labels) * ops.maximum(ops.log1p(-p), -100.0)
    return own + ops.stop_gradient(exact - own)


def top_mean(x: Tensor, k: int) -> Tensor:
    """The mean of the k largest entries (of all of them where there are fewer). (..., T) -> (...)."""
    values, _ = ops.topk(x, min(k, x.shape[-1]))
    return values.mean(-1)


def top_cross_entropy(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Cross entropy of the mean of the k largest sigmoid(logits) of each video. (..., T), labels (...) -> (...)."""
    largest, _ = ops.topk(logits, min(k, logits.shape[-1]))
    log_p, log_rest = [ops.logsumexp(log_sigmoid(z), -1) - math.log(z.shape[-1]) for z in (largest, -largest)]
    return -labels * ops.maximum(log_p, -100.0) - (1 - labels) * ops.maximum(log_rest, -100.0)


def log_sigmoid(x: Tensor) -> Tensor:
    return ops.minimum(x, 0.0) - ops.log1p(ops.exp(-ops.abs(x)))


def masked_top_mean(x: Tensor, mask: Tensor, k: int) -> Tensor:
    """The mean of the k largest entries where `mask` holds (of all of them where fewer do; 0 where none)."""
    values, _ = ops.topk(ops.where(mask, x, -LARGE), min(k, x.shape[-1]))
    found = values > -LARGE
    count = ops.maximum(found.astype(x.dtype).sum(-1), 1.0)
    return ops.where(found, values, 0.0).sum(-1) / count


def largest_within(x: Tensor, lengths: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """The first n numbers of each row in descending order, 0 behind the k largest, and which these are. (V, ..., T), n and k (V,)."""
    steps, rows = ops.arange(x.shape[-1]), (-1,) + (1,) * (x.ndim - 1)
    within, taken = steps < lengths.reshape(rows), steps < k.reshape(rows)
    ordered, _ = ops.topk(ops.where(within, x, -LARGE), x.shape[-1])
    return ops.where(taken, ordered, 0.0), ops.broadcast_to(taken, x.shape)


def top_mean_within(x: Tensor, lengths: Tensor, k: Tensor) -> Tensor:
    """The mean of the k largest of the first n numbers of each row, k <= n. (V, ..., T), n and k (V,) -> (V, ...)."""
    ordered, taken = largest_within(x, lengths, k)
    return ordered.sum(-1) / taken.astype(x.dtype).sum(-1)


def top_cross_entropy_within(logits: Tensor, labels: Tensor, lengths: Tensor, k: Tensor) -> Tensor:
    """As `top_cross_entropy`, of the first n logits and the k of each video. (V, T), labels, n and k (V,) -> (V,)."""
    ordered, taken = largest_within(logits, lengths, k)
    count = ops.log(taken.astype(logits.dtype).sum(-1))
    log_p, log_rest = [ops.logsumexp(ops.where(taken, log_sigmoid(z), -LARGE), -1) - count for z in (ordered, -ordered)]
    return -labels * ops.maximum(log_p, -100.0) - (1 - labels) * ops.maximum(log_rest, -100.0)


def smoothness(scores: Tensor) -> Tensor:
    """sum_t (s_(t+1) - s_t)^2 within each video. (B, T) -> (B,)."""
    if scores.shape[1] == 1:  # MindSpore cannot differentiate an empty slice
        return ops.zeros_like(scores[:, 0])
    return ops.square(scores[:, 1:] - scores[:, :-1]).sum(-1)


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d(a, b) = ||a - b + 1e-6||. (..., C) -> (...)."""
    near, far = [ops.norm(anchor - other + TRIPLET_EPS, dim=-1) for other in (positive, negative)]
    return hinge(near, far, margin)


def hinge(normal: Tensor, abnormal: Tensor, margin: float) -> Tensor:
    """max(0, margin + normal - abnormal)."""
    return ops.relu(margin + normal - abnormal)
