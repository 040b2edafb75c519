"""What published networks have in common, as their authors write it, in PyTorch. w: {canonical name: tensor}."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wvad_core.data.batches import Batch

Weights = dict[str, Tensor]


def norm(w: Weights, x: Tensor, name: str) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), w[name + ".weight"], w[name + ".bias"])


def linear(w: Weights, x: Tensor, name: str) -> Tensor:
    return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))


def conv(w: Weights, x: Tensor, name: str, dilation: int = 1) -> Tensor:
    """A convolution that keeps the length, (B, C, T) -> (B, O, T)."""
    weight = w[name + ".weight"]
    return F.conv1d(x, weight, w.get(name + ".bias"), padding=dilation * (weight.shape[-1] // 2), dilation=dilation)


def batch_norm(w: Weights, x: Tensor, name: str, training: bool = False) -> Tensor:
    """(B, C, T)."""
    mean, var, scale, shift = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, scale, shift, training)


def embedded(w: Weights, x: Tensor) -> Tensor:
    """(B, T, D) -> (B, T, C)."""
    return F.relu(conv(w, x.transpose(1, 2), "embedding")).transpose(1, 2)


def global_local(w: Weights, x: Tensor, name: str) -> Tensor:
    """Both attentions as T x T matrices."""
    batch, steps, _ = x.shape
    q, k, v, t = (part.view(batch, steps, 4, 128).transpose(1, 2) for part in linear(w, x, name + ".qkvt").chunk(4, -1))
    far = torch.softmax(q @ k.transpose(-1, -2) * 128**-0.5, -1)
    places = torch.arange(steps)
    decay = torch.exp(-(places[:, None] - places).abs() / math.e)
    near = (decay / decay.sum(-1)).expand(batch, 4, -1, -1)
    return linear(w, torch.cat([far @ v, near @ t], -1).transpose(1, 2).reshape(batch, steps, -1), name + ".out")


def transformer(w: Weights, x: Tensor, attention: Callable[[Weights, Tensor, str], Tensor] = global_local,
                dropout: float = 0.0) -> Tensor:
    """(B, T, C) -> (B, T, C); dropout is that of training."""
    for i in range(2):
        a, f = (f"transformer.layers.{i}.{part}" for part in ("attention", "feed_forward"))
        x = x + F.dropout(attention(w, norm(w, x, a + ".norm"), a), dropout)
        hidden = F.dropout(F.gelu(linear(w, norm(w, x, f + ".norm"), f + ".linear1")), dropout)
        x = x + F.dropout(linear(w, hidden, f + ".linear2"), dropout)
    return x


def non_local(w: Weights, x: Tensor, name: str, training: bool) -> Tensor:
    """x + norm(W y), y = (theta phi / T) g. x (B, C, T)."""
    g, theta, phi = (conv(w, x, f"{name}.{part}") for part in ("g", "theta", "phi"))
    pairs = theta.transpose(1, 2) @ phi / x.shape[-1]  # (B, T, T)
    y = (pairs @ g.transpose(1, 2)).transpose(1, 2)
    return x + batch_norm(w, conv(w, y, f"{name}.out"), f"{name}.norm", training)


def aggregated(w: Weights, x: Tensor, training: bool = False) -> Tensor:
    """The pyramid aggregation of (B, D, T)."""
    scales = [batch_norm(w, F.relu(conv(w, x, f"aggregate.scale{d}.conv", d)), f"aggregate.scale{d}.norm", training)
              for d in (1, 2, 4)]
    around = non_local(w, F.relu(conv(w, x, "aggregate.reduce")), "aggregate.non_local", training)
    merged = F.relu(conv(w, torch.cat([*scales, around], 1), "aggregate.merge.conv"))
    return x + batch_norm(w, merged, "aggregate.merge.norm", training)


def score_head(w: Weights, x: Tensor, dropout: float = 0.0) -> Tensor:
    """(..., D) -> (...); dropout is that of training."""
    for name in ("classifier.fc1", "classifier.fc2"):
        x = F.dropout(F.relu(linear(w, x, name)), dropout)
    return torch.sigmoid(linear(w, x, "classifier.fc3"))[..., 0]


def halves(batch: Batch) -> tuple[Tensor, Tensor]:
    """The labels (2B,) float32 of a batch, normal videos first, and its features (2B, ..., T, D)."""
    return on_device(batch.labels.astype(np.float32)), on_device(batch.features)


def random_classes(count: int, labels: np.ndarray) -> list[tuple[int]]:
    """The classes of videos with these labels: of a normal one 0, of an abnormal one any of the others."""
    rng = np.random.default_rng(0)
    return [(int(rng.integers(1, count)),) if label else (0,) for label in labels]


def on_device(values: np.ndarray) -> Tensor:
    """On the device of the `with torch.device(...)` around; the CPU without one."""
    return torch.from_numpy(values).to(torch.get_default_device())


def one_crop_after_another(crop_scores: Callable[[Tensor], Tensor], video: np.ndarray) -> np.ndarray:
    """The mean of the crops' scores. video (N, T, D) -> (T,)."""
    with torch.inference_mode():
        return torch.stack([crop_scores(crop) for crop in on_device(video)]).mean(0).cpu().numpy()
