"""What published networks have in common, as their authors write it, in PyTorch. w: {canonical name: tensor}."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]


def norm(w: Weights, x: Tensor, name: str) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), w[name + ".weight"], w[name + ".bias"])


def linear(w: Weights, x: Tensor, name: str) -> Tensor:
    return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))


def embedded(w: Weights, crop: Tensor) -> Tensor:
    """(T, D) -> (1, T, C)."""
    x = F.conv1d(crop[None].transpose(1, 2), w["embedding.weight"], w["embedding.bias"], padding=1)
    return F.relu(x).transpose(1, 2)


def global_local(w: Weights, x: Tensor, name: str) -> Tensor:
    """Both attentions as T x T matrices."""
    steps = x.shape[1]
    q, k, v, t = (part.view(1, steps, 4, 128).transpose(1, 2) for part in linear(w, x, name + ".qkvt").chunk(4, -1))
    far = torch.softmax(q @ k.transpose(-1, -2) * 128**-0.5, -1)
    places = torch.arange(steps)
    decay = torch.exp(-(places[:, None] - places).abs() / math.e)
    near = (decay / decay.sum(-1)).expand(1, 4, -1, -1)
    return linear(w, torch.cat([far @ v, near @ t], -1).transpose(1, 2).reshape(1, steps, -1), name + ".out")


def transformer(w: Weights, x: Tensor, attention: Callable[[Weights, Tensor, str], Tensor] = global_local) -> Tensor:
    for i in range(2):
        a, f = (f"transformer.layers.{i}.{part}" for part in ("attention", "feed_forward"))
        x = x + attention(w, norm(w, x, a + ".norm"), a)
        x = x + linear(w, F.gelu(linear(w, norm(w, x, f + ".norm"), f + ".linear1")), f + ".linear2")
    return x


def one_crop_after_another(crop_scores: Callable[[Tensor], Tensor], video: np.ndarray) -> np.ndarray:
    """The mean of the crops' scores. video (N, T, D) -> (T,)."""
    with torch.inference_mode():
        return torch.stack([crop_scores(crop) for crop in torch.from_numpy(video)]).mean(0).numpy()
