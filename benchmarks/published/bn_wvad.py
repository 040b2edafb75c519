"""BN-WVAD as its authors evaluate it, in PyTorch."""
from __future__ import annotations

import numpy as np
import torch
from published_layers import Weights, embedded, one_crop_after_another, transformer
from torch import Tensor
from torch.nn import functional as F


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """One crop after another, products of distance and normal score averaged. video (N, T, D) -> (T,)."""

    def crop_scores(crop: Tensor) -> Tensor:
        x, distance = transformer(weights, embedded(weights, crop)).transpose(1, 2), 0
        for i in (1, 2):
            x = F.conv1d(x, weights[f"head.conv{i}.weight"], weights[f"head.conv{i}.bias"])
            mean, var = (weights[f"head.bn{i}.running_{s}"] for s in ("mean", "var"))
            distance = distance + ((x - mean[:, None]) ** 2 / var[:, None]).sum(1).sqrt()
            x = F.relu(F.batch_norm(x, mean, var, weights[f"head.bn{i}.weight"], weights[f"head.bn{i}.bias"]))
        return (distance * torch.sigmoid(F.conv1d(x, weights["head.conv3.weight"], weights["head.conv3.bias"]))[:, 0])[0]

    return one_crop_after_another(crop_scores, video)
