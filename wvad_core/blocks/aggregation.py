"""The pyramid aggregation: dilated convolutions and a non-local block side by side (Tian et al. 2021)."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .activations import relu
from .convolution import conv1d, conv1d_parameters
from .normalisation import batch_norm, batch_norm_parameters, group_norm, layer_norm_parameters
from .tensors import Array, Scope

PYRAMID_DILATIONS = (1, 2, 4)


def non_local(x: Array, p: Scope) -> Array:
    """x + norm(W y), y_i = sum_j (theta_i . phi_j / T) g_j (Wang et al. 2018, without softmax). x (B, T, C).

    Without a softmax the sum over j can be taken first: theta (phi^T g) needs no T x T matrix.
    """
    theta, phi, g = (conv1d(x, **p.at(name)) for name in ("theta", "phi", "g"))
    y = theta @ (phi.swapaxes(-1, -2) @ g / x.shape[-2])
    return x + batch_norm(conv1d(y, **p.at("out")), p.at("norm"))


def pyramid_aggregation(x: Array, p: Scope, groups: int = 0) -> Array:
    """Multi-scale temporal aggregation (Tian et al. 2021, arXiv:2101.10030). x (B, T, D) -> (B, T, D).

    Convolutions of dilation 1, 2, 4 and a non-local block, a quarter of the channels each, merged by a convolution
    and added to the input. BatchNorm comes after the ReLU; where there are `groups`, a GroupNorm of so many before it.
    """
    scales = [scale(x, p.at(f"scale{d}"), d, groups) for d in PYRAMID_DILATIONS]
    around = non_local(relu(conv1d(x, **p.at("reduce"))), p.at("non_local"))
    return x + scale(np.concatenate([*scales, around], axis=-1), p.at("merge"), groups=groups)


def scale(x: Array, p: Scope, dilation: int = 1, groups: int = 0) -> Array:
    """A convolution of kernel 3 with its ReLU and its norm."""
    y = conv1d(x, **p.at("conv"), dilation=dilation)
    return relu(group_norm(y, **p.at("norm"), groups=groups)) if groups else batch_norm(relu(y), p.at("norm"))


def non_local_parameters(channels: int, xavier: bool = False) -> dict:
    """The block starts as the identity: its BatchNorm's scale is zero."""
    inner = channels // 2
    return {name: conv1d_parameters(channels, inner, 1, xavier=xavier) for name in ("g", "theta", "phi")} | {
        "out": conv1d_parameters(inner, channels, 1, xavier=xavier), "norm": batch_norm_parameters(channels, scale=0)}


def pyramid_aggregation_parameters(channels: int, dilations: tuple[int, ...], groups: int = 0, xavier: bool = False) -> dict:
    """xavier: the convolutions' start, as `conv1d_parameters` has it."""
    quarter, norm = channels // 4, layer_norm_parameters if groups else batch_norm_parameters
    scale = {"conv": conv1d_parameters(channels, quarter, 3, xavier=xavier), "norm": norm(quarter)}
    return {f"scale{d}": scale for d in dilations} | {
        "reduce": conv1d_parameters(channels, quarter, 1, False, xavier), "non_local": non_local_parameters(quarter, xavier),
        "merge": {"conv": conv1d_parameters(channels, channels, 3, False, xavier), "norm": norm(channels)}}


def pyramid_aggregation_names(ours: str, theirs: str, norm: int = 2,
                              non_local: Sequence[str] = ("g", "theta", "phi", "W")) -> dict[str, str]:
    """The modules of a pyramid aggregation that is called `ours` here and `theirs` there.

    norm: the place of the norm behind a convolution there; non_local: what the parts of the non-local block are called.
    """
    names = {}
    for i, d in enumerate(PYRAMID_DILATIONS, 1):
        names |= {f"scale{d}.conv": f"conv_{i}.0", f"scale{d}.norm": f"conv_{i}.{norm}"}
    names |= {"reduce": "conv_4.0", "merge.conv": "conv_5.0", "merge.norm": f"conv_5.{norm}"}
    *inner, out = non_local
    names |= {f"non_local.{name}": f"non_local.{other}" for name, other in zip(("g", "theta", "phi"), inner)}
    names |= {"non_local.out": f"non_local.{out}.0", "non_local.norm": f"non_local.{out}.1"}
    return {f"{ours}.{canonical}": f"{theirs}.{published}" for canonical, published in names.items()}
