"""UR-DMU as its authors evaluate it, in PyTorch."""
from __future__ import annotations

import math

import numpy as np
import torch
from published_layers import Weights, embedded, linear, one_crop_after_another, transformer
from torch import Tensor
from torch.nn import functional as F


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """One crop after another, scores averaged. video (N, T, D) -> (T,)."""

    def read(x: Tensor, name: str) -> Tensor:
        slots = weights[name + ".slots.weight"]
        attended = torch.sigmoid(x @ slots.t() / math.sqrt(x.shape[-1]))
        attended.topk(len(slots) // 16 + 1, dim=-1).values.mean(-1)  # the attention of a snippet; unused for its score
        return attended @ slots

    def crop_scores(crop: Tensor) -> Tensor:
        x = transformer(weights, embedded(weights, crop))
        codes = sum(linear(weights, read(x, name), "mean") for name in ("abnormal_memory", "normal_memory"))
        hidden = F.relu(linear(weights, torch.cat([x, codes], -1), "classifier.fc1"))
        return torch.sigmoid(linear(weights, hidden, "classifier.fc2"))[0, :, 0]

    return one_crop_after_another(crop_scores, video)
