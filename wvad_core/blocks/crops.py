"""Crops of a video as items of a batch, and work done on some items at a time."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .tensors import Array


def one_crop_each(features: Array) -> tuple[Array, int]:
    """(B, T, D) or (B, N, T, D) -> (B * N, T, D), every crop an item of its own; and N. Takes any framework's tensors."""
    return features.reshape((-1,) + features.shape[-2:]), features.shape[1] if features.ndim == 4 else 1


def in_blocks(function: Callable[[Array], Array], x: Array, axis: int, size: int) -> Array:
    """function(x), of `size` entries of an axis at a time, which it must treat apart: what it holds stays small."""
    parts = np.split(x, range(size, x.shape[axis], size), axis)
    return np.concatenate([function(part) for part in parts], axis)
