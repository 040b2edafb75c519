"""The pyramid aggregation: dilated convolutions and a non-local block side by side (Tian et al. 2021)."""
from __future__ import annotations

import numpy as np

from .activations import relu
from .convolution import conv1d, conv1d_parameters
from .normalisation import batch_norm, batch_norm_parameters
from .tensors import Array, Scope

PYRAMID_DILATIONS = (1, 2, 4)


def non_local(x: Array, p: Scope) -> Array:
    """x + norm(W y), y_i = sum_j (theta_i . phi_j / T) g_j (Wang et al. 2018, without softmax). x (B, T, C).

    Without a softmax the sum over j can be taken first: theta (phi^T g) needs no T x T matrix.
    """
    theta, phi, g = (conv1d(x, **p.at(name)) for name in ("theta", "phi", "g"))
    y = theta @ (phi.swapaxes(-1, -2) @ g / x.shape[-2])
    return x + batch_norm(conv1d(y, **p.at("out")), p.at("norm"))


def pyramid_aggregation(x: Array, p: Scope) -> Array:
    """Multi-scale temporal aggregation (Tian et al. 2021, arXiv:2101.10030). x (B, T, D) -> (B, T, D).

    Convolutions of dilation 1, 2, 4 and a non-local block, a quarter of the channels each, merged by a convolution
    and added to the input. BatchNorm comes after the ReLU.
    """
    scales = [batch_norm(relu(conv1d(x, **p.at(f"scale{d}").at("conv"), dilation=d)), p.at(f"scale{d}").at("norm"))
              for d in PYRAMID_DILATIONS]
    around = non_local(relu(conv1d(x, **p.at("reduce"))), p.at("non_local"))
    merged = relu(conv1d(np.concatenate([*scales, around], axis=-1), **p.at("merge").at("conv")))
    return x + batch_norm(merged, p.at("merge").at("norm"))


def non_local_parameters(channels: int) -> dict:
    """The block starts as the identity: its BatchNorm's scale is zero."""
    inner = channels // 2
    return {name: conv1d_parameters(channels, inner, 1) for name in ("g", "theta", "phi")} | {
        "out": conv1d_parameters(inner, channels, 1), "norm": batch_norm_parameters(channels, scale=0)}


def pyramid_aggregation_parameters(channels: int, dilations: tuple[int, ...]) -> dict:
    quarter = channels // 4
    scale = {"conv": conv1d_parameters(channels, quarter, 3), "norm": batch_norm_parameters(quarter)}
    return {f"scale{d}": scale for d in dilations} | {
        "reduce": conv1d_parameters(channels, quarter, 1, bias=False), "non_local": non_local_parameters(quarter),
        "merge": {"conv": conv1d_parameters(channels, channels, 3, bias=False), "norm": batch_norm_parameters(channels)}}


def pyramid_aggregation_names(ours: str, theirs: str) -> dict[str, str]:
    """The modules of a pyramid aggregation that is called `ours` here and `theirs` there."""
    names = {}
    for i, d in enumerate(PYRAMID_DILATIONS, 1):
        names |= {f"scale{d}.conv": f"conv_{i}.0", f"scale{d}.norm": f"conv_{i}.2"}
    names |= {"reduce": "conv_4.0", "merge.conv": "conv_5.0", "merge.norm": "conv_5.2"}
    names |= {f"non_local.{name}": f"non_local.{name}" for name in ("g", "theta", "phi")}
    names |= {"non_local.out": "non_local.W.0", "non_local.norm": "non_local.W.1"}
    return {f"{ours}.{canonical}": f"{theirs}.{published}" for canonical, published in names.items()}
