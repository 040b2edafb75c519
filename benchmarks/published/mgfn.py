"""MGFN as its authors evaluate and train it, in PyTorch."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from published_layers import Weights, batch_norm, conv, halves, linear, norm, on_device
from wvad_core.data.batches import Batch
from wvad_core.methods.mgfn import Config

BLOCKS = ("glance", "focus", "focus")


def pointwise(w: Weights, x: Tensor, name: str) -> Tensor:
    """A convolution of kernel 1 of (B, C, T)."""
    return F.conv1d(x, w[name + ".weight"][..., None], w.get(name + ".bias"))


def channel_norm(w: Weights, x: Tensor, name: str) -> Tensor:
    """Of (B, C, T), over channels."""
    deviation = torch.var(x, dim=1, unbiased=False, keepdim=True).sqrt()
    mean = torch.mean(x, dim=1, keepdim=True)
    return (x - mean) / (deviation + 1e-5) * w[name + ".weight"][:, None] + w[name + ".bias"][:, None]


def glance(w: Weights, x: Tensor, name: str, training: bool) -> Tensor:
    """Attention with a T x T matrix."""
    batch, channels, steps = x.shape
    projected = pointwise(w, channel_norm(w, x, name + ".norm"), name + ".qkv").chunk(3, dim=1)
    q, k, v = (part.view(batch, channels // 64, 64, steps).transpose(2, 3) for part in projected)
    weights = (q * 64**-0.5 @ k.transpose(2, 3)).softmax(-1)
    return pointwise(w, (weights @ v).transpose(2, 3).reshape(batch, channels, steps), name + ".out")


def focus(w: Weights, x: Tensor, name: str, training: bool) -> Tensor:
    """The heads' filters on channels that are brought in front of them."""
    batch, channels, steps = x.shape
    heads = channels // 64
    value = pointwise(w, batch_norm(w, x, name + ".norm", training), name + ".value")
    value = value.view(batch, 64, heads, steps).reshape(batch * 64, heads, steps)
    filtered = F.conv1d(value, w[name + ".filter.weight"], w[name + ".filter.bias"], padding=2, groups=heads)
    return pointwise(w, filtered.view(batch, channels, steps), name + ".out")


def features(w: Weights, x: Tensor, training: bool = False) -> Tensor:
    """(B, D, T) -> F (B, T, C)."""
    x = conv(w, x, "embedding") + 0.1 * conv(w, x.norm(dim=1, keepdim=True), "length_embedding")
    for stage, (depth, kind) in enumerate(zip((3, 3, 2), BLOCKS)):
        for layer in (f"stages.{stage}.layers.{i}" for i in range(depth)):
            x = x + conv(w, x, f"{layer}.convolution")
            x = x + (glance if kind == "glance" else focus)(w, x, f"{layer}.block", training)
            hidden = F.gelu(pointwise(w, channel_norm(w, x, f"{layer}.feed_forward.norm"), f"{layer}.feed_forward.linear1"))
            x = x + pointwise(w, hidden, f"{layer}.feed_forward.linear2")
        if stage < 2:
            x = pointwise(w, channel_norm(w, x, f"stages.{stage}.next.norm"), f"stages.{stage}.next.linear")
    return norm(w, x.transpose(1, 2), "norm")


def scores(weights: Weights, video: np.ndarray) -> np.ndarray:
    """All crops together, scores averaged. video (N, T, D) -> (T,)."""
    with torch.inference_mode():
        x = features(weights, on_device(video).transpose(1, 2))
        return torch.sigmoid(linear(weights, x, "classifier"))[..., 0].mean(0).cpu().numpy()


def loss(w: Weights, batch: Batch, config: Config, random: bool, past: dict) -> Tensor:
    """The total loss, crop by crop."""
    labels, videos = halves(batch)
    count, crops, steps, _ = videos.shape
    x = features(w, videos.flatten(0, 1).transpose(1, 2), training=True).view(count, crops, steps, -1)
    s = torch.sigmoid(linear(w, x, "classifier"))[..., 0].mean(1)
    magnitudes = x.norm(p=2, dim=3).mean(1)
    mask = F.dropout(torch.ones_like(magnitudes), config.dropout) if random else 1
    picks = (magnitudes * mask).topk(3, dim=1).indices
    of_videos = s.gather(1, picks).mean(1)
    sums = torch.cat([x[:, crop].gather(1, picks[..., None].expand(-1, -1, x.shape[-1])) for crop in range(crops)]).norm(p=1, dim=2)
    sums = sums.view(crops, count, 3)
    normal, abnormal = sums.chunk(2, dim=1)
    half = crops // 2
    contrast = F.relu(200 - F.pairwise_distance(abnormal.flatten(0, 1), normal.flatten(0, 1))).square().mean()
    compact = sum(F.pairwise_distance(of[half:].flatten(0, 1), of[:half].flatten(0, 1)).square().mean() for of in (normal, abnormal))
    return (F.binary_cross_entropy(of_videos, labels) + 0.001 * (0.001 * contrast + compact)
            + 8e-4 * (s[:, 1:] - s[:, :-1]).square().sum() + 8e-3 * s[:count // 2].norm())
