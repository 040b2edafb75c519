"""Dropout and noise: what is random in training."""
from __future__ import annotations

import numpy as np

from .tensors import Array


def dropout(x: Array, p: float, rng: np.random.Generator | None) -> Array:
    """Zero each entry with probability p and scale the rest by 1 / (1 - p); the identity without a generator."""
    if rng is None or p == 0:
        return x
    return x * ((rng.random(x.shape) >= p) / (1 - p)).astype(x.dtype)


def noise(shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator | None) -> Array:
    """Standard normal numbers; zeros without a generator."""
    return (np.zeros(shape) if rng is None else rng.standard_normal(shape)).astype(dtype)
