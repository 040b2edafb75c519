"""The affine map of the last axis."""
from __future__ import annotations

import math

from .tensors import Array, Parameter, affine, xavier_bound


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = x W^T + b. x (..., I), weight (O, I), bias (O,) -> (..., O)."""
    y = (x.reshape(-1, x.shape[-1]) @ weight.T).reshape(*x.shape[:-1], len(weight))
    return y if bias is None else y + bias


def linear_parameters(inputs: int, outputs: int, bias: bool = True, xavier: bool = False, normal: bool = False) -> dict:
    """PyTorch's default start, uniform within 1 / sqrt(inputs); or Xavier-uniform weights and a zero bias.

    normal: weights of Xavier's variance 2 / (inputs + outputs) that are normal instead, not truncated, and a zero bias.
    """
    if normal:
        weight = Parameter((outputs, inputs), deviation=math.sqrt(2 / (inputs + outputs)))
        return {"weight": weight} | ({"bias": Parameter((outputs,))} if bias else {})
    return affine((outputs, inputs), bias, xavier_bound((outputs, inputs)) if xavier else None)
