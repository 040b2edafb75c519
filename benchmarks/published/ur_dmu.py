"""UR-DMU as its authors evaluate it, in PyTorch."""
from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F


def scores(weights: dict[str, torch.Tensor], video: np.ndarray) -> np.ndarray:
    """One crop after another, both attentions as T x T matrices, scores averaged. video (N, T, D) -> (T,)."""

    def norm(x, name):
        return F.layer_norm(x, (x.shape[-1],), weights[name + ".weight"], weights[name + ".bias"])

    def linear(x, name):
        return F.linear(x, weights[name + ".weight"], weights.get(name + ".bias"))

    def attention(x, name):
        steps = x.shape[1]
        q, k, v, t = (part.view(1, steps, 4, 128).transpose(1, 2) for part in linear(x, name + ".qkvt").chunk(4, -1))
        far = torch.softmax(q @ k.transpose(-1, -2) * 128**-0.5, -1)
        places = torch.arange(steps)
        decay = torch.exp(-(places[:, None] - places).abs() / math.e)
        near = (decay / decay.sum(-1)).expand(1, 4, -1, -1)
        both = torch.cat([far @ v, near @ t], -1).transpose(1, 2).reshape(1, steps, -1)
        return linear(both, name + ".out")

    def read(x, name):
        slots = weights[name + ".slots.weight"]
        attended = torch.sigmoid(x @ slots.t() / math.sqrt(x.shape[-1]))
        attended.topk(len(slots) // 16 + 1, dim=-1).values.mean(-1)  # the attention of a snippet; unused for its score
        return attended @ slots

    def crop_scores(crop):
        x = F.relu(F.conv1d(crop[None].transpose(1, 2), weights["embedding.weight"], weights["embedding.bias"], padding=1))
        x = x.transpose(1, 2)
        for i in range(2):
            a, f = (f"transformer.layers.{i}.{part}" for part in ("attention", "feed_forward"))
            x = x + attention(norm(x, a + ".norm"), a)
            x = x + linear(F.gelu(linear(norm(x, f + ".norm"), f + ".linear1")), f + ".linear2")
        codes = linear(read(x, "abnormal_memory"), "mean") + linear(read(x, "normal_memory"), "mean")
        hidden = F.relu(linear(torch.cat([x, codes], -1), "classifier.fc1"))
        return torch.sigmoid(linear(hidden, "classifier.fc2"))[0, :, 0]

    with torch.inference_mode():
        return torch.stack([crop_scores(crop) for crop in torch.from_numpy(video)]).mean(0).numpy()
