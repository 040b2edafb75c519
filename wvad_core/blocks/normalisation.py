"""Layer, group and batch normalisation over channels, which come last, and division by the L2 norm."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .tensors import COUNTER, Array, Parameter, Scope

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1  # PyTorch's sense: the share of the new value
LAYER_NORM_EPS = 1e-5
GROUP_NORM_EPS = 1e-5
UNIT_EPS = 1e-12


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    """(x - mean) / sqrt(var + 1e-5) * weight + bias over the last axis (Ba et al. 2016)."""
    centred = x - x.mean(-1, keepdims=True)
    variance = np.einsum("...c,...c->...", centred, centred)[..., None] / x.shape[-1]
    return centred / np.sqrt(variance + LAYER_NORM_EPS) * weight + bias


def group_norm(x: Array, weight: Array, bias: Array, groups: int) -> Array:
    """(x - mean) / sqrt(var + 1e-5) * weight + bias (Wu and He 2018). x (B, T, C), C a multiple of `groups`.

    mean and the biased var are those of an item's T snippets and the C / groups neighbouring channels of a group.
    """
    grouped = x.reshape(*x.shape[:2], groups, -1)
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    variance = (centred ** 2).mean((1, 3), keepdims=True)
    return (centred / np.sqrt(variance + GROUP_NORM_EPS)).reshape(x.shape) * weight + bias


def batch_norm(x: Array, p: Scope) -> Array:
    """(x - mean) / sqrt(var + 1e-5) * weight + bias per channel, x (..., C) (Ioffe and Szegedy 2015).

    In evaluation mean and var are the running statistics. In training they are those of all positions of `x`, and
    the running ones move a tenth of the way towards them, with the unbiased variance, as PyTorch's do.
    """
    mean, variance = p["running_mean"], p["running_var"].astype(x.dtype)
    if p.training:
        flat = x.reshape(-1, x.shape[-1])
        mean, variance = flat.mean(0), flat.var(0)
        unbiased = variance * (len(flat) / max(len(flat) - 1, 1))
        for name, new in (("running_mean", mean), ("running_var", unbiased)):
            p.record(name, p[name] + BATCH_NORM_MOMENTUM * (new - p[name]))
        p.record("num_batches_tracked", p["num_batches_tracked"] + 1)
    return (x - mean) / np.sqrt(variance + BATCH_NORM_EPS) * p["weight"] + p["bias"]


def unit(x: Array) -> Array:
    """x / max(||x||, 1e-12) over the last axis."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), UNIT_EPS)


def folded(convolution: Mapping[str, Array], norm: Mapping[str, Array], eps: float, dtype: np.dtype) -> tuple[Array, Array]:
    """Weight (O, ...) and bias (O,) of a convolution and the BatchNorm behind it in evaluation, as one convolution:

        weight' = weight s, bias' = norm.bias + (bias - running_mean) s, s = norm.weight / sqrt(running_var + eps)
    """
    scale = norm["weight"] / np.sqrt(norm["running_var"].astype(dtype) + eps)
    weight = convolution["weight"]
    shift = convolution.get("bias", 0) - norm["running_mean"].astype(dtype)
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), norm["bias"] + shift * scale


def layer_norm_parameters(channels: int) -> dict:
    """Those of a group norm too."""
    return {"weight": Parameter((channels,), value=1), "bias": Parameter((channels,))}


def batch_norm_parameters(channels: int, scale: float = 1) -> dict:
    return {"weight": Parameter((channels,), value=scale), "bias": Parameter((channels,)),
            "running_mean": Parameter((channels,), trained=False), "running_var": Parameter((channels,), value=1, trained=False),
            COUNTER: Parameter((), dtype=np.int64, trained=False)}
