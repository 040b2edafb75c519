"""The loss terms of `wvad_core.blocks.losses` in PyTorch."""
from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from wvad_core.blocks.losses import TRIPLET_EPS


def binary_cross_entropy(p: Tensor, labels: Tensor) -> Tensor:
    """-y log p - (1 - y) log(1 - p), each logarithm clamped at -100; in float32 at least, also in mixed precision."""
    with torch.autocast(p.device.type, enabled=False):
        exact = p if p.dtype == torch.float64 else p.float()
        return F.binary_cross_entropy(exact, labels.to(exact.dtype), reduction="none")


def top_mean(x: Tensor, k: int) -> Tensor:
    """The mean of the k largest entries (of all of them where there are fewer). (..., T) -> (...)."""
    return x.topk(min(k, x.shape[-1]), dim=-1).values.mean(-1)


def top_cross_entropy(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Cross entropy of the mean of the k largest sigmoid(logits) of each video. (..., T), labels (...) -> (...)."""
    largest = logits.topk(min(k, logits.shape[-1]), dim=-1).values
    log_p, log_rest = (F.logsigmoid(z).logsumexp(-1) - math.log(z.shape[-1]) for z in (largest, -largest))
    return -labels * log_p.clamp(min=-100) - (1 - labels) * log_rest.clamp(min=-100)


def masked_top_mean(x: Tensor, mask: Tensor, k: int) -> Tensor:
    """The mean of the k largest entries where `mask` holds (of all of them where fewer do; 0 where none)."""
    values, places = x.masked_fill(~mask, -torch.inf).topk(min(k, x.shape[-1]), dim=-1)
    found = mask.gather(-1, places)
    return values.masked_fill(~found, 0).sum(-1) / found.sum(-1).clamp(min=1)


def largest_within(x: Tensor, lengths: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """The first n numbers of each row in descending order, 0 behind the k largest, and which these are. (V, ..., T), n and k (V,)."""
    steps, rows = torch.arange(x.shape[-1], device=x.device), (-1,) + (1,) * (x.dim() - 1)
    ordered = x.masked_fill(steps >= lengths.view(rows), -torch.inf).topk(x.shape[-1], dim=-1).values
    taken = (steps < k.view(rows)).expand(x.shape)
    return ordered.masked_fill(~taken, 0), taken


def top_mean_within(x: Tensor, lengths: Tensor, k: Tensor) -> Tensor:
    """The mean of the k largest of the first n numbers of each row, k <= n. (V, ..., T), n and k (V,) -> (V, ...)."""
    ordered, taken = largest_within(x, lengths, k)
    return ordered.sum(-1) / taken.sum(-1)


def top_cross_entropy_within(logits: Tensor, labels: Tensor, lengths: Tensor, k: Tensor) -> Tensor:
    """As `top_cross_entropy`, of the first n logits and the k of each video. (V, T), labels, n and k (V,) -> (V,)."""
    ordered, taken = largest_within(logits, lengths, k)
    count = taken.sum(-1).to(logits.dtype).log()
    log_p, log_rest = (F.logsigmoid(z).masked_fill(~taken, -torch.inf).logsumexp(-1) - count for z in (ordered, -ordered))
    return -labels * log_p.clamp(min=-100) - (1 - labels) * log_rest.clamp(min=-100)


def smoothness(scores: Tensor) -> Tensor:
    """sum_t (s_(t+1) - s_t)^2 within each video. (B, T) -> (B,)."""
    return scores.diff(dim=-1).square().sum(-1)


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d(a, b) = ||a - b + 1e-6||. (..., C) -> (...)."""
    near, far = ((anchor - other + TRIPLET_EPS).norm(dim=-1) for other in (positive, negative))
    return hinge(near, far, margin)


def hinge(normal: Tensor, abnormal: Tensor, margin: float) -> Tensor:
    """max(0, margin + normal - abnormal)."""
    return F.relu(margin + normal - abnormal)
