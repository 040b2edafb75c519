"""ADPLG as its authors evaluate it, in PyTorch."""
from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

WINDOWS, LOCAL_HEADS, HEADS, DEPTH = (2, 4, 6, 8), 8, 4, 2


def scores(weights: dict[str, torch.Tensor], video: np.ndarray) -> np.ndarray:
    """One crop after another, the global attention as T x T matrices, scores averaged. video (N, T, D) -> (T,)."""
    weights = {name.removeprefix("snippet."): value for name, value in weights.items()}

    def norm(x, name):
        return F.layer_norm(x, (x.shape[-1],), weights[name + ".weight"], weights[name + ".bias"])

    def linear(x, name):
        return F.linear(x, weights[name + ".weight"], weights.get(name + ".bias"))

    def heads_of(x, count):
        return (part.view(1, x.shape[1], count, -1).transpose(1, 2) for part in x.chunk(3, -1))

    def merged(x):
        return x.transpose(1, 2).reshape(1, x.shape[2], -1)

    def local(x, name, window):
        x = x + weights[name + ".position.weight"][torch.arange(x.shape[1])]
        q, k, v = heads_of(linear(norm(x, name + ".attention.norm"), name + ".attention.qkv"), LOCAL_HEADS)
        x = x + linear(merged(windowed(q, k, v, window)), name + ".attention.out")
        return linear(norm(x, name + ".norm"), name + ".project")

    def attention(x, name):
        q, k, v = heads_of(linear(x, name + ".qkv"), HEADS)
        return linear(merged(torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v), name + ".out")

    def crop_scores(crop):
        x = F.relu(F.conv1d(crop[None].transpose(1, 2), weights["embedding.weight"], weights["embedding.bias"], padding=1))
        x = x.transpose(1, 2)
        x = torch.cat([local(x, f"local.{i}", window) for i, window in enumerate(WINDOWS)], -1)
        for i in range(DEPTH):
            a, f = (f"transformer.layers.{i}.{part}" for part in ("attention", "feed_forward"))
            x = x + attention(norm(x, a + ".norm"), a)
            x = x + linear(F.gelu(linear(norm(x, f + ".norm"), f + ".linear1")), f + ".linear2")
        return torch.sigmoid(linear(F.relu(linear(x, "classifier.fc1")), "classifier.fc2"))[0, :, 0]

    with torch.inference_mode():
        return torch.stack([crop_scores(crop) for crop in torch.from_numpy(video)]).mean(0).numpy()


def windowed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
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


def around(x: torch.Tensor, outside: float) -> torch.Tensor:
    """Each window between its two neighbours. (1, H, windows, w, E) -> (1, H, windows, 3 w, E)."""
    padded = F.pad(x, (0, 0, 0, 0, 1, 1), value=outside)
    return torch.cat([padded[:, :, i:i + x.shape[2]] for i in range(3)], dim=3)


def turned(x: torch.Tensor, first: int) -> torch.Tensor:
    """Rotary positions, counted within the window from `first` on."""
    half = x.shape[-1] // 2
    frequencies = 10000 ** (-torch.arange(half) / half)
    angles = (torch.arange(x.shape[-2]) + first)[:, None] * torch.cat([frequencies, frequencies])
    return x * angles.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * angles.sin()
