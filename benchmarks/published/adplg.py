"""ADPLG as its authors evaluate it, in PyTorch."""
from __future__ import annotations

import math

import numpy as np
import torch
from published_layers import Weights, embedded, linear, norm, one_crop_after_another, transformer
from torch import Tensor
from torch.nn import functional as F

WINDOWS, LOCAL_HEADS, HEADS = (2, 4, 6, 8), 8, 4


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """One crop after another, the global attention as T x T matrices, scores averaged. video (N, T, D) -> (T,)."""
    w = {name.removeprefix("snippet."): value for name, value in weights.items()}

    def crop_scores(crop: Tensor) -> Tensor:
        x = embedded(w, crop)
        x = transformer(w, torch.cat([local(w, x, f"local.{i}", window) for i, window in enumerate(WINDOWS)], -1), attention)
        return torch.sigmoid(linear(w, F.relu(linear(w, x, "classifier.fc1")), "classifier.fc2"))[0, :, 0]

    return one_crop_after_another(crop_scores, video)


def local(w: Weights, x: Tensor, name: str, window: int) -> Tensor:
    x = x + w[name + ".position.weight"][torch.arange(x.shape[1])]
    q, k, v = heads_of(linear(w, norm(w, x, name + ".attention.norm"), name + ".attention.qkv"), LOCAL_HEADS)
    x = x + linear(w, merged(windowed(q, k, v, window)), name + ".attention.out")
    return linear(w, norm(w, x, name + ".norm"), name + ".project")


def attention(w: Weights, x: Tensor, name: str) -> Tensor:
    q, k, v = heads_of(linear(w, x, name + ".qkv"), HEADS)
    return linear(w, merged(torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v), name + ".out")


def heads_of(x: Tensor, count: int) -> tuple[Tensor, ...]:
    return tuple(part.view(1, x.shape[1], count, -1).transpose(1, 2) for part in x.chunk(3, -1))


def merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(1, x.shape[2], -1)


def windowed(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Windows that see themselves and their two neighbours, and of those what is near. (1, H, T, E) -> (1, H, T, E)."""
    steps = q.shape[2]
    q, k, v = (F.pad(x, (0, 0, 0, -steps % window)).unflatten(2, (-1, window)) for x in (q, k, v))
    places = torch.arange(q.shape[2] * window).view(-1, window)
    k, v = around(k, 0.0), around(v, 0.0)
    keys = around(places[None, None, :, :, None], -1)[0, 0, :, :, 0]
    q, k = turned(q, 2 * window), turned(k, 0)
    logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    near = ((places[:, :, None] - keys[:, None]).abs() <= window) & (keys[:, None] >= 0)
    return (logits.masked_fill(~near, -math.inf).softmax(-1) @ v).flatten(2, 3)[:, :, :steps]


def around(x: Tensor, outside: float) -> Tensor:
    """Each window between its two neighbours. (1, H, windows, w, E) -> (1, H, windows, 3 w, E)."""
    padded = F.pad(x, (0, 0, 0, 0, 1, 1), value=outside)
    return torch.cat([padded[:, :, i:i + x.shape[2]] for i in range(3)], dim=3)


def turned(x: Tensor, first: int) -> Tensor:
    """Rotary positions, counted within the window from `first` on."""
    half = x.shape[-1] // 2
    frequencies = 10000 ** (-torch.arange(half) / half)
    angles = (torch.arange(x.shape[-2]) + first)[:, None] * torch.cat([frequencies, frequencies])
    return x * angles.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * angles.sin()
