"""RTFM as its authors evaluate it, in PyTorch: all crops as one batch, the non-local block with its T x T matrix."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

DILATIONS = (1, 2, 4)


def norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    """A BatchNorm in evaluation mode, x (N, C, T)."""
    mean, var, scale, shift = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, scale, shift)


def convolved(x: Tensor, weights: dict[str, Tensor], name: str, dilation: int = 1) -> Tensor:
    """A convolution that keeps the length, (N, C, T) -> (N, O, T)."""
    weight = weights[f"{name}.weight"]
    return F.conv1d(x, weight, weights.get(f"{name}.bias"), padding=dilation * (weight.shape[-1] // 2), dilation=dilation)


def non_local(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    """x + norm(W y), y = (theta phi / T) g."""
    g, theta, phi = (convolved(x, weights, f"{name}.{part}") for part in ("g", "theta", "phi"))
    pairs = theta.transpose(1, 2) @ phi / x.shape[-1]  # (N, T, T)
    y = (pairs @ g.transpose(1, 2)).transpose(1, 2)
    return x + norm(convolved(y, weights, f"{name}.out"), weights, f"{name}.norm")


def aggregated(x: Tensor, weights: dict[str, Tensor], name: str = "aggregate") -> Tensor:
    """The pyramid aggregation of (N, D, T)."""
    scales = [norm(F.relu(convolved(x, weights, f"{name}.scale{d}.conv", d)), weights, f"{name}.scale{d}.norm")
              for d in DILATIONS]
    around = non_local(F.relu(convolved(x, weights, f"{name}.reduce")), weights, f"{name}.non_local")
    merged = F.relu(convolved(torch.cat([*scales, around], 1), weights, f"{name}.merge.conv"))
    return x + norm(merged, weights, f"{name}.merge.norm")


def scores(weights: dict[str, Tensor], video: np.ndarray) -> np.ndarray:
    """weights {canonical name: tensor}, video (N, T, D) -> (T,), averaged over crops."""
    with torch.inference_mode():
        x = aggregated(torch.from_numpy(video).transpose(1, 2), weights).transpose(1, 2)
        for name in ("fc1", "fc2", "fc3"):
            x = F.linear(x, weights[f"classifier.{name}.weight"], weights[f"classifier.{name}.bias"])
            x = torch.sigmoid(x) if name == "fc3" else F.relu(x)
        return x[..., 0].mean(0).numpy()
