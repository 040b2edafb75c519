"""RTFM as its authors evaluate and train it, in PyTorch: all crops as one batch, the non-local block by a T x T matrix."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, aggregated, halves, on_device, score_head
from wvad_core.blocks.magnitude import MagnitudeConfig
from wvad_core.data.batches import Batch


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """video (N, T, D) -> (T,), averaged over crops."""
    with torch.inference_mode():
        x = aggregated(weights, on_device(video).transpose(1, 2)).transpose(1, 2)
        return score_head(weights, x).mean(0).cpu().numpy()


def selected(x: Tensor, picks: Tensor) -> Tensor:
    """One crop after another, the picked snippets. x (B, N, T, D), picks (B, k) -> (N, B, k, D)."""
    places = picks[..., None].expand(-1, -1, x.shape[-1])
    return torch.stack([crop.gather(1, places) for crop in x.transpose(0, 1)])


def loss(w: Weights, batch: Batch, config: MagnitudeConfig, random: bool, past: dict) -> Tensor:
    """The total loss of (2B, N, T, D); each half selects on its own."""
    labels, features = halves(batch)
    dropout = config.dropout if random else 0.0
    x = aggregated(w, features.flatten(0, 1).transpose(1, 2), training=True).transpose(1, 2)
    x = F.dropout(x, dropout).view(features.shape)
    found = score_head(w, x, dropout).mean(1)
    magnitudes = x.norm(dim=-1).mean(1)
    picks = [(m * F.dropout(torch.ones_like(m), dropout)).topk(config.selected(m.shape[1]), dim=1).indices
             for m in magnitudes.chunk(2)]
    normal, abnormal = (selected(*pair) for pair in zip(x.chunk(2), picks))
    of_videos = found.gather(1, torch.cat(picks)).mean(1)
    away = (config.margin - abnormal.mean(2).norm(dim=-1)).abs() + normal.mean(2).norm(dim=-1)
    s = found[len(found) // 2:].flatten()
    return (F.binary_cross_entropy(of_videos, labels) + config.magnitude_weight * (away ** 2).mean()
            + config.smooth_weight * ((s[1:] - s[:-1]) ** 2).sum() + config.sparsity_weight * s.norm())
