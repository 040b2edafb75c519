"""PEL4VAD as its authors evaluate and train it, in PyTorch."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, linear, norm, on_device, random_classes
from wvad_core.data.batches import Batch
from wvad_core.methods.pel4vad import Config, postprocess

MATRICES = 1 << 26  # numbers of the T x T matrices of the crops that are taken at a time: as many as memory has room for


def context(w: Weights, x: Tensor, config: Config) -> Tensor:
    """The output of the attention, (B, T, D), with matrices of T x T."""
    batch, steps, _ = x.shape
    q, k, v = (linear(w, x, f"attention.{name}") for name in "qkv")
    places = torch.arange(steps, dtype=torch.float32)
    apart = places - places[:, None]
    term = torch.exp(-torch.abs(w["attention.position.w"] * apart ** 2 - w["attention.position.b"]))
    logits = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + term.expand(batch, -1, -1)
    near = (apart.abs() <= config.window_size // 2).expand(batch, -1, -1)
    maps = torch.softmax(logits, -1), torch.softmax(logits.masked_fill(near == 0, -1e9), -1)
    share = torch.sigmoid(w["attention.alpha"])
    y = share * torch.matmul(maps[0], v) + (1 - share) * torch.matmul(maps[1], v)
    if config.power_norm:
        y = F.normalize(torch.sqrt(F.relu(y)) - torch.sqrt(F.relu(-y)), dim=1)
    return linear(w, y, "attention.out")


def network(w: Weights, x: Tensor, config: Config, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
    """(B, T, D) -> what is compared with texts, (B, T, D // 2), and the scores, (B, T)."""
    x = norm(w, x + context(w, x, config), "norm").permute(0, 2, 1)
    h = F.dropout(F.gelu(F.conv1d(x, w["conv1.weight"], w["conv1.bias"])), dropout)
    e = F.dropout(F.gelu(F.conv1d(h, w["conv2.weight"], w["conv2.bias"])), dropout)
    e = F.pad(e, (config.kernel_size - 1, 0))
    logits = F.conv1d(e, w["classifier.weight"], w["classifier.bias"])
    return h.permute(0, 2, 1), torch.sigmoid(logits.permute(0, 2, 1))[..., 0]


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """The crops of a video as a batch, as many as memory has room for; scores averaged, and smoothed. (N, T, D) -> (T,)."""
    config, together = Config(), max(1, MATRICES // video.shape[1] ** 2)
    with torch.inference_mode():
        parts = [network(weights, crops, config)[1] for crops in on_device(video).split(together)]
        found = torch.cat(parts).mean(0).cpu().numpy()
    return postprocess(found, config).astype(np.float32)


def given(config: Config, labels: np.ndarray) -> dict:
    """What a random batch has besides features."""
    count = len(config.categories)
    prompts = np.random.default_rng(1).standard_normal((count, config.hidden_dim), np.float32) + 3
    return {"classes": random_classes(count, labels), "companions": {"prompts": prompts}}


def loss(w: Weights, batch: Batch, config: Config, random: bool, past: dict) -> Tensor:
    """The total loss, item by item."""
    features, prompts = on_device(batch.features), on_device(batch.companion("prompts"))
    lengths = (features.abs().max(-1).values > 0).sum(1).tolist()
    h, s = network(w, features[:, :max(lengths)], config, config.dropout if random else 0.0)
    labels = batch.labels.tolist()
    best = [row[:n].topk(n // config.k + 1 if label else 1).values.mean() for row, n, label in zip(s, lengths, labels)]
    mil = F.binary_cross_entropy(torch.stack(best), on_device(batch.labels.astype(np.float32)))
    f, g = (F.normalize((10 * x).exp() - 1, p=1, dim=1)[:, None] @ h for x in (s, 1 - s))
    rows, texts, categories = [], [], []
    for i, (label, own) in enumerate(zip(labels, batch.classes or ())):
        rows, texts, categories = [*rows, f[i, 0]], [*texts, prompts[own[0]]], [*categories, own[0]]
        if label:
            rows, texts, categories = [*rows, g[i, 0]], [*texts, prompts[0]], [*categories, 0]
    rows, texts = (x / x.norm(dim=1, keepdim=True) for x in (torch.stack(rows), torch.stack(texts)))
    same = torch.tensor(categories)[:, None] == torch.tensor(categories)
    z = w["logit_scale"].exp() * rows @ texts.t()
    target = F.softmax(10 * same.to(z.dtype), 1)
    return mil + config.prompt_weight * F.kl_div(F.log_softmax(z, 1), target, reduction="sum") / len(rows)
