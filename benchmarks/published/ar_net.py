"""AR-Net as its authors evaluate and train it, in PyTorch: the variant single."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, halves, linear, one_crop_after_another
from wvad_core.data.batches import Batch
from wvad_core.methods.ar_net import Config


def network(w: Weights, x: Tensor, dropout: float = 0.0) -> Tensor:
    """(B, T, D) -> (B, T)."""
    return torch.sigmoid(linear(w, F.dropout(F.relu(linear(w, x, "hidden.fc")), dropout), "classifier"))[..., 0]


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """video (N, T, D) -> (T,), averaged over crops."""
    return one_crop_after_another(lambda crop: network(weights, crop[None])[0], video)


def loss(w: Weights, batch: Batch, config: Config, random: bool, past: dict) -> Tensor:
    """The total loss, video by video; a video ends where its features are zero."""
    labels, features = halves(batch)
    lengths = (features.abs().max(-1).values > 0).sum(1).tolist()
    found = network(w, features, config.dropout if random else 0.0)
    highest, of_each, spread = [], [], []
    for s, length, label in zip(found, lengths, labels):
        k = -(-length // config.k)
        highest.append(s[:length].topk(k).values)
        of_each.append(label.expand(k))
        if not label:
            spread.append(s.var())
    return F.binary_cross_entropy(torch.cat(highest), torch.cat(of_each)) + config.center_weight * sum(spread) / len(spread)
