"""The loss terms of `wvad_core.losses` in MindSpore."""
from __future__ import annotations

from mindspore import Tensor, ops

LARGE = 1e30


def binary_cross_entropy(p: Tensor, labels: Tensor) -> Tensor:
    """-y log p - (1 - y) log(1 - p), each logarithm clamped at -100; MindSpore's own clamps p at 1e-12."""
    tiny = 1e-44  # log of it is below -100: the clamp decides, and log(0) never meets a gradient
    positive = ops.maximum(ops.log(ops.maximum(p, tiny)), -100.0)
    negative = ops.maximum(ops.log(ops.maximum(1 - p, tiny)), -100.0)
    return -labels * positive - (1 - labels) * negative


def masked_top_mean(x: Tensor, mask: Tensor, k: int) -> Tensor:
    """The mean of the k largest entries where `mask` holds (of all of them where fewer do; 0 where none)."""
    values, _ = ops.topk(ops.where(mask, x, -LARGE), min(k, x.shape[-1]))
    found = values > -LARGE
    count = ops.maximum(found.astype(x.dtype).sum(-1), 1.0)
    return ops.where(found, values, 0.0).sum(-1) / count


def smoothness(scores: Tensor) -> Tensor:
    """sum_t (s_(t+1) - s_t)^2 within each video. (B, T) -> (B,)."""
    if scores.shape[1] == 1:  # MindSpore cannot differentiate an empty slice
        return ops.zeros_like(scores[:, 0])
    return ops.square(scores[:, 1:] - scores[:, :-1]).sum(-1)


def hinge(normal: Tensor, abnormal: Tensor, margin: float) -> Tensor:
    """max(0, margin + normal - abnormal)."""
    return ops.relu(margin + normal - abnormal)
