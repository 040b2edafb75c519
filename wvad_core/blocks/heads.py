"""The head that gives an anomaly score."""
from __future__ import annotations

from .activations import relu, sigmoid
from .linear import linear, linear_parameters
from .random import dropout
from .tensors import Array, Scope


def score_head(x: Array, p: Scope, drop: float) -> Array:
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid: the anomaly score. x (..., C) -> (...)."""
    for name in ("fc1", "fc2"):
        x = dropout(relu(linear(x, **p.at(name))), drop, p.rng)
    return sigmoid(linear(x, **p.at("fc3")))[..., 0]


def score_head_parameters(inputs: int, hidden: tuple[int, int]) -> dict:
    sizes = (inputs, *hidden, 1)
    return {f"fc{i + 1}": linear_parameters(sizes[i], sizes[i + 1], xavier=True) for i in range(3)}
