"""How tests compare numbers, and the tolerances that all backends share.

error(a, b) = ||a - b|| / ||b||. Shape comes before values, and NaN never passes. A tensor whose reference is
rounding noise is compared absolutely.
"""
from __future__ import annotations

from collections.abc import Mapping

import devices
import numpy as np

SPECIFICATION = 1e-10  # float64 against float64
NOISE = 1e-12          # absolute
OUTPUT, GRADIENT, TRAINED, REDUCED = (devices.TOLERANCES[devices.kind()][name]
                                      for name in ("OUTPUT", "GRADIENT", "TRAINED", "REDUCED"))


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm((actual - expected).ravel()) / max(np.linalg.norm(expected.ravel()), 1e-300))


def assert_close(actual, expected, rtol: float, atol: float = NOISE, name: str = "values") -> None:
    """||actual - expected|| <= rtol ||expected|| + atol, of arrays of one shape."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, expected {expected.shape}"
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    assert np.isfinite(expected).all(), f"{name}: the reference is not finite"
    difference = np.linalg.norm((actual - expected).ravel())
    assert difference <= rtol * np.linalg.norm(expected.ravel()) + atol, (
        f"{name}: error {error(actual, expected):.2e}, tolerance {rtol:.0e}")


def assert_all_close(actual: Mapping, expected: Mapping, rtol: float, atol: float = NOISE) -> None:
    """The same names, and each value close."""
    assert set(actual) == set(expected), f"names differ: {sorted(set(actual) ^ set(expected))}"
    for name in expected:
        assert_close(actual[name], expected[name], rtol, atol, name)


def assert_gradients_close(actual: Mapping, expected: Mapping, rtol: float = GRADIENT) -> None:
    """All close; absolutely where the reference is below a ten-thousandth of the largest gradient's norm.

    A bias right before a training-mode BatchNorm has gradient zero, which float32 gives as rounding noise; the other
    biases' gradients are sums in which much cancels, so a millionth of the largest norm is granted to all.
    """
    assert set(actual) == set(expected), f"names differ: {sorted(set(actual) ^ set(expected))}"
    largest = max(np.linalg.norm(value) for value in expected.values())
    for name, value in expected.items():
        noise = np.linalg.norm(value) <= 1e-4 * largest
        assert_close(actual[name], value, 0 if noise else rtol, (1e-4 if noise else 1e-6) * largest, name)
