"""ADPLG as its authors evaluate and train it, in PyTorch."""
from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, conv, embedded, halves, linear, norm, one_crop_after_another, transformer
from wvad_core.data.batches import Batch
from wvad_core.methods.adplg import Config

CONFIG = {"warm_up": 0}  # both branches train
WINDOWS, LOCAL_HEADS, HEADS = (2, 4, 6, 8), 8, 4


def network(w: Weights, x: Tensor, dropout: float = 0.0, classifier_dropout: float = 0.0) -> Tensor:
    """The snippet branch, (B, T, D) -> scores (B, T)."""
    x = embedded(w, x)
    x = torch.cat([local(w, x, f"local.{i}", window) for i, window in enumerate(WINDOWS)], -1)
    return classified(w, transformer(w, x, attention, dropout), "", classifier_dropout)


def classified(w: Weights, x: Tensor, name: str, dropout: float) -> Tensor:
    hidden = F.dropout(F.relu(linear(w, x, f"{name}classifier.fc1")), dropout)
    return torch.sigmoid(linear(w, hidden, f"{name}classifier.fc2"))[..., 0]


def branch(weights: Weights) -> Weights:
    """Those of the snippet branch."""
    return {name.removeprefix("snippet."): value for name, value in weights.items()}


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """One crop after another, the global attention as T x T matrices, scores averaged. video (N, T, D) -> (T,)."""
    w = branch(weights)
    return one_crop_after_another(lambda crop: network(w, crop[None])[0], video)


def loss(w: Weights, batch: Batch, config: Config, random: bool, past: dict) -> Tensor:
    """The total loss; pseudo labels video by video. past: {video: its last attentions}."""
    (labels, features), half = halves(batch), len(batch.labels) // 2
    p = config.classifier_dropout if random else 0.0
    (q_n, q_a), (k_n, k_a), (v_n, v_a) = (conv(w, features.transpose(1, 2), f"video.{name}").transpose(1, 2).chunk(2)
                                          for name in "qkv")
    (a, abnormal), (across, cross), (_, normal) = (
        attended(*rows) for rows in ((q_a, k_a, v_a), (q_n, k_a, v_a), (q_n, k_n, v_n)))
    of_videos = F.binary_cross_entropy(classified(w, torch.cat([normal, abnormal]), "video.", p), labels)
    alike = sum(F.cosine_similarity(x, y, dim=0, eps=1e-6) for x, y in zip(a, across)) / half
    fused = F.triplet_margin_loss(normal, cross, abnormal, margin=1)
    smooth, sparse = ((a[1:] - a[:-1]) ** 2).sum(), a.norm(dim=0).mean()
    pairs = [pseudo_labels(past, int(video), x.detach(), config) for video, x in zip(batch.videos[half:], a)]
    pseudo, hard = (torch.stack(rows) for rows in zip(*pairs))
    found = network(branch(w), features, config.dropout if random else 0.0, p)
    each = F.binary_cross_entropy(found, torch.cat([torch.zeros_like(pseudo), pseudo]), reduction="none")
    each = torch.cat([each[:half], each[half:].masked_fill(hard, 0)])
    return of_videos + fused + alike + smooth + sparse + each[each != 0].mean()


def attended(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The diagonal attention (B, T) and the fused features (B, E)."""
    weights = torch.softmax((q * k).sum(-1) / math.sqrt(q.shape[-1]), -1)
    return weights, (weights[..., None] * v).sum(1)


def min_max(x: Tensor) -> Tensor:
    return (x - x.min()) / (x.max() - x.min() + 1e-8)


def pseudo_labels(past: dict, video: int, attention: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Labels of a video's snippets, and which of them are hard, (T,) each."""
    known = past.setdefault(video, [])
    known.append(min_max(attention))
    if len(known) <= config.history:
        return known[-1], torch.zeros_like(attention, dtype=torch.bool)
    del known[0]
    last = torch.stack(known)
    return (min_max(last.mean(0)) >= config.label_threshold).float(), min_max(last.var(0)) > config.variance_threshold


def local(w: Weights, x: Tensor, name: str, window: int) -> Tensor:
    x = x + w[name + ".position.weight"][torch.arange(x.shape[1])]
    q, k, v = heads_of(linear(w, norm(w, x, name + ".attention.norm"), name + ".attention.qkv"), LOCAL_HEADS)
    x = x + linear(w, merged(windowed(q, k, v, window)), name + ".attention.out")
    return linear(w, norm(w, x, name + ".norm"), name + ".project")


def attention(w: Weights, x: Tensor, name: str) -> Tensor:
    q, k, v = heads_of(linear(w, x, name + ".qkv"), HEADS)
    return linear(w, merged(torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v), name + ".out")


def heads_of(x: Tensor, count: int) -> tuple[Tensor, ...]:
    return tuple(part.view(len(x), x.shape[1], count, -1).transpose(1, 2) for part in x.chunk(3, -1))


def merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(len(x), x.shape[2], -1)


def windowed(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Windows that see themselves and their two neighbours, and of those what is near. (B, H, T, E) -> (B, H, T, E)."""
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
    """Each window between its two neighbours. (B, H, windows, w, E) -> (B, H, windows, 3 w, E)."""
    padded = F.pad(x, (0, 0, 0, 0, 1, 1), value=outside)
    return torch.cat([padded[:, :, i:i + x.shape[2]] for i in range(3)], dim=3)


def turned(x: Tensor, first: int) -> Tensor:
    """Rotary positions, counted within the window from `first` on."""
    half = x.shape[-1] // 2
    frequencies = 10000 ** (-torch.arange(half) / half)
    angles = (torch.arange(x.shape[-2]) + first)[:, None] * torch.cat([frequencies, frequencies])
    return x * angles.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * angles.sin()
