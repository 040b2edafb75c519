"""Inception-I3D as its public PyTorch port computes it: units one after another, padded apart, frames in planes."""
from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
MIXED = ("Mixed_3b", "Mixed_3c", "", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", "", "Mixed_5b", "Mixed_5c")
POOLS = {2: ((3, 3, 3), (2, 2, 2)), 8: ((2, 2, 2), (2, 2, 2))}


def features(w: Weights, clip: Tensor) -> Tensor:
    """One crop of a snippet, (1, 3, 16, 224, 224) -> (1, 1024)."""
    x = pool(unit(w, "Conv3d_1a_7x7", clip, 2), (1, 3, 3), (1, 2, 2))
    x = pool(unit(w, "Conv3d_2c_3x3", unit(w, "Conv3d_2b_1x1", x)), (1, 3, 3), (1, 2, 2))
    for i, name in enumerate(MIXED):
        x = mixed(w, name, x) if name else pool(x, *POOLS[i])
    return F.avg_pool3d(x, (2, 7, 7), 1).flatten(1)


def mixed(w: Weights, name: str, x: Tensor) -> Tensor:
    return torch.cat([unit(w, f"{name}.b0", x), unit(w, f"{name}.b1b", unit(w, f"{name}.b1a", x)),
                      unit(w, f"{name}.b2b", unit(w, f"{name}.b2a", x)),
                      unit(w, f"{name}.b3b", pool(x, (3, 3, 3), (1, 1, 1)))], 1)


def unit(w: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight, bn = w[f"{name}.conv3d.weight"], f"{name}.bn"
    y = F.conv3d(padded(x, weight.shape[2:], (stride,) * 3), weight, None, stride)
    y = F.batch_norm(y, w[f"{bn}.running_mean"], w[f"{bn}.running_var"], w[f"{bn}.weight"], w[f"{bn}.bias"], eps=1e-3)
    return F.relu(y)


def pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return F.max_pool3d(padded(x, kernel, stride), kernel, stride)


def padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """TensorFlow's "same", by a pad of its own."""
    sizes: list[int] = []
    for n, k, s in zip(x.shape[2:], kernel, stride):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        sizes = [total // 2, total - total // 2, *sizes]
    return F.pad(x, sizes)
