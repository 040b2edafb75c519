"""BN-WVAD as its authors evaluate and train it, in PyTorch."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, batch_norm, conv, embedded, halves, one_crop_after_another, transformer
from wvad_core.data.batches import Batch
from wvad_core.methods.bn_wvad import Config


def network(w: Weights, x: Tensor, training: bool = False) -> tuple[list[Tensor], Tensor]:
    """(B, T, D) -> the levels before their BatchNorm, (B, C, T) each, and the normal scores (B, T)."""
    x, levels = transformer(w, embedded(w, x)).transpose(1, 2), []
    for i in (1, 2):
        levels.append(conv(w, x, f"head.conv{i}"))
        x = F.relu(batch_norm(w, levels[-1], f"head.bn{i}", training))
    return levels, torch.sigmoid(conv(w, x, "head.conv3"))[:, 0]


def statistics(w: Weights, level: int) -> tuple[Tensor, Tensor]:
    return w[f"head.bn{level}.running_mean"], w[f"head.bn{level}.running_var"]


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """One crop after another, products of distance and normal score averaged. video (N, T, D) -> (T,)."""

    def crop_scores(crop: Tensor) -> Tensor:
        levels, normal = network(weights, crop[None])
        distance = sum(away(x.transpose(1, 2), *statistics(weights, i)) for i, x in enumerate(levels, 1))
        return (distance * normal)[0]

    return one_crop_after_another(crop_scores, video)


def away(x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """The Mahalanobis distance of x (..., C) from the mean."""
    return ((x - mean) ** 2 / var).sum(-1).sqrt()


def loss(w: Weights, batch: Batch, config: Config, random: bool, past: dict) -> Tensor:
    """The total loss; distances are computed for all snippets, to screen them, and again for those that are picked."""
    levels, normal = network(w, halves(batch)[1], training=True)
    half = len(normal) // 2
    total = normal[:half].norm(dim=1).mean()
    for i, (weight, x) in enumerate(zip(config.level_weights, levels), 1):
        mean, var = (values.clone() for values in statistics(w, i))
        good, bad = screened(x.transpose(1, 2), mean, var, config)
        total = total + weight * F.relu(config.margin + away(good, mean, var) - away(bad, mean, var)).mean()
    return total


def screened(x: Tensor, mean: Tensor, var: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """The picked normal and abnormal snippets of a level (2B, T, C), (n, C) each."""
    half, steps = len(x) // 2, x.shape[1]
    of_normal, of_abnormal = away(x, mean, var).split(half)
    of_video, of_batch = config.screened(half, steps)
    mask = torch.zeros_like(of_abnormal, dtype=torch.bool)
    mask.scatter_(1, of_abnormal.topk(of_video, dim=1).indices, True)
    mask.view(-1)[of_abnormal.flatten().topk(of_batch).indices] = True
    count = int(mask.sum())
    places = of_normal.topk(count // half + 1, dim=1).indices
    normal = x[:half].gather(1, places[..., None].expand(-1, -1, x.shape[2]))
    return normal.transpose(0, 1).flatten(0, 1)[:count], x[half:][mask]
