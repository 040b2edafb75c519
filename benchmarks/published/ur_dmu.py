"""UR-DMU as its authors evaluate and train it, in PyTorch."""
from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, embedded, halves, linear, one_crop_after_another, transformer
from wvad_core.data.batches import Batch
from wvad_core.methods.ur_dmu import Config


def read(w: Weights, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The attention of snippets, (B, T), and the augmentation of x (B, T, C)."""
    slots = w[name + ".slots.weight"]
    attended = torch.sigmoid(x @ slots.t() / math.sqrt(x.shape[-1]))
    return attended.topk(len(slots) // 16 + 1, dim=-1).values.mean(-1), attended @ slots


def classified(w: Weights, x: Tensor, codes: Tensor) -> Tensor:
    """(B, T, C) each -> scores (B, T)."""
    hidden = F.relu(linear(w, torch.cat([x, codes], -1), "classifier.fc1"))
    return torch.sigmoid(linear(w, hidden, "classifier.fc2"))[..., 0]


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """One crop after another, scores averaged. video (N, T, D) -> (T,)."""

    def crop_scores(crop: Tensor) -> Tensor:
        x = transformer(weights, embedded(weights, crop[None]))
        codes = sum(linear(weights, read(weights, x, name)[1], "mean") for name in ("abnormal_memory", "normal_memory"))
        return classified(weights, x, codes)[0]

    return one_crop_after_another(crop_scores, video)


def at_largest(x: Tensor, attention: Tensor) -> Tensor:
    """The mean of x (B, T, C) at the snippets of largest attention (B, T)."""
    places = attention.topk(x.shape[1] // 16 + 1, dim=1).indices
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[2])).mean(1)


def loss(w: Weights, batch: Batch, config: Config, random: bool, past: dict) -> Tensor:
    """The total loss; the memories read each half of the batch on its own."""
    labels, features = halves(batch)
    x = transformer(w, embedded(w, features), dropout=config.dropout if random else 0.0)
    normal, abnormal = x.chunk(2)
    (a_a, a_aug), (n_a, n_a_aug) = (read(w, abnormal, f"{kind}_memory") for kind in ("abnormal", "normal"))
    (a_n, a_n_aug), (n_n, n_aug) = (read(w, normal, f"{kind}_memory") for kind in ("abnormal", "normal"))
    codes = linear(w, a_aug, "mean")
    mean, variance = linear(w, n_aug, "mean"), linear(w, n_aug, "log_variance")
    sampled = mean + torch.randn_like(mean) * torch.exp(variance / 2) if random else mean
    augmented = torch.cat([sampled + linear(w, a_n_aug, "mean"), codes + linear(w, n_a_aug, "mean")])
    found = classified(w, x, augmented)
    anchor, positive, negative = (F.normalize(at_largest(*pair), dim=1)
                                  for pair in ((normal, n_n), (abnormal, n_a), (abnormal, a_a)))
    distance = F.relu(100 - at_largest(codes, a_a).norm(dim=1) + at_largest(sampled, n_n).norm(dim=1)).mean()
    kl = torch.mean(-0.5 * torch.sum(1 + variance - mean ** 2 - variance.exp(), dim=1))
    k, one = x.shape[1] // 16 + 1, torch.ones(len(normal))
    bce = F.binary_cross_entropy
    attention = (bce(a_a.topk(k, 1).values.mean(1), one) + bce((1 - n_a).topk(k, 1).values.mean(1), one)
                 + bce(n_n, torch.ones_like(n_n)) + bce(a_n, torch.zeros_like(a_n)))
    return (bce(found.topk(k, 1).values.mean(1), labels) + 0.1 * attention
            + 0.1 * F.triplet_margin_loss(anchor, positive, negative, margin=1) + 0.001 * kl + 0.0001 * distance)
