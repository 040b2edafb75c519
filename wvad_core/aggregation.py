"""What the pyramid aggregation computes, in NumPy (see layers.py)."""
from __future__ import annotations

import numpy as np

from .layers import Array, Scope, batch_norm, conv1d, relu

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
