"""SAA as its authors evaluate it, and its training terms video by video, in PyTorch."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, aggregated, conv, halves, one_crop_after_another, score_head
from wvad_core.data.batches import Batch
from wvad_core.methods.saa import Config

DROPOUT = 0.7


def network(w: Weights, x: Tensor, training: bool = False, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
    """(B, T, D) -> attention and raw scores, (B, T) each."""
    x = aggregated(w, x.transpose(1, 2), training)
    hidden = F.dropout(F.leaky_relu(conv(w, x, "attention.conv1"), 0.2), dropout)
    hidden = F.leaky_relu(conv(w, hidden, "attention.conv2"), 0.2)
    attention = torch.sigmoid(F.dropout(conv(w, hidden, "attention.conv3"), dropout))[:, 0]
    return attention, score_head(w, F.dropout(x.transpose(1, 2), dropout), dropout)


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """One crop after another, products averaged. video (N, T, D) -> (T,)."""

    def crop_scores(crop: Tensor) -> Tensor:
        attention, raw = network(weights, crop[None])
        return (attention * raw)[0]

    return one_crop_after_another(crop_scores, video)


def loss(w: Weights, batch: Batch, config: Config, random: bool, past: dict) -> Tensor:
    """The total loss in the first steps, while the raw scores guide the attention."""
    labels, features = halves(batch)
    attention, raw = network(w, features, True, config.dropout if random else 0.0)
    total, half = 0.0, len(labels) // 2
    for a, s, label in zip(attention, raw, labels):
        total = total + classified(a, s, label, config) / (2 * half)
        target = s.detach() if label else torch.zeros_like(s)
        total = total + ((a - target) ** 2).mean() / (2 * half)
        if label:
            for scores in (s, a * s):
                smooth = ((scores[1:] - scores[:-1]) ** 2).sum()
                total = total + (config.smooth_weight * smooth + config.sparse_weight * scores.mean()) / half
            total = total + config.norm_weight * a.abs().mean() / half
    return total


def classified(a: Tensor, s: Tensor, label: Tensor, config: Config) -> Tensor:
    """The cross entropy of a video's four branches. a and s (T,)."""
    k, (plain, suppressed) = len(s) // config.k + 1, config.branch_weights
    remaining = a < a.min() + config.suppression * (a.max() - a.min())
    total = 0.0
    for scores in (s, a * s):
        for kept, weight in ((scores, plain), (scores[remaining], suppressed)):
            if len(kept):
                total = total + weight * F.binary_cross_entropy(kept.topk(min(k, len(kept))).values.mean(), label)
    return total
