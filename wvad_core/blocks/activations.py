"""Functions applied to every number, and the softmax."""
from __future__ import annotations

import math

import numpy as np
from scipy.special import erf, expit

from .tensors import Array

QUICK_GELU = 1.702


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def leaky_relu(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, x * slope)


def gelu(x: Array) -> Array:
    """x * Phi(x) with the exact normal distribution function (Hendrycks and Gimpel 2016), not the tanh formula."""
    return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))


def quick_gelu(x: Array) -> Array:
    """x * sigmoid(1.702 x), which stands for the GELU in CLIP."""
    return x * expit(QUICK_GELU * x)


def sigmoid(x: Array) -> Array:
    return expit(x)


def softmax(x: Array) -> Array:
    """exp(x) / sum exp(x) over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
