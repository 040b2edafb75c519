"""Features that a caller hands over: which arrays are taken, and what is wrong with the others."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError, one_line

Array = np.ndarray


def as_features(numbers: Any) -> Array:
    """Numbers of any type, (T, D) or (N, T, D), in the type that is computed in, (N, T, D).

    That is float32; float64 stays where it comes as an array: the specification computes in it. Raises InputError for
    what are no numbers, for another number of axes, for an axis of length 0, and for a number that is not finite in
    float32 (NaN, infinity, 1e39).
    """
    try:
        values = np.asarray(numbers)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a device, or with a gradient
        raise InputError(f"features are no array of numbers ({one_line(error)})") from error
    if np.ma.is_masked(numbers):
        raise InputError(f"features are masked in {np.ma.count_masked(numbers)} of {values.size} numbers, expected all of them")
    if values.dtype.kind not in "fiu" and values.dtype.name != "bfloat16":
        raise InputError(f"features are of type {values.dtype}, expected real numbers such as float32")
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise InputError(f"features of shape {values.shape}: expected (T, D) or (crops, T, D)")
    values = values[None] if values.ndim == 2 else values
    if flaw := first_not_finite(values):
        crop, snippet, value = flaw
        raise InputError(f"features have {value} in snippet {snippet} (crop {crop}), expected finite numbers")
    exact = values.dtype == np.float64 and not isinstance(numbers, (list, tuple))
    return values if exact else values.astype(np.float32, copy=False)


def first_not_finite(features: Array) -> tuple[int, int, Any] | None:
    """Crop, snippet and value of the first number of (N, T, D) that is not finite in float32; by snippets, then crops."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(features.sum(dtype=np.float32)):  # the sum of finite values may overflow: the reverse does not hold
            return None
        bad = ~np.isfinite(features.astype(np.float32, copy=False))
    if not bad.any():
        return None
    snippet = bad.any(axis=(0, 2)).argmax()
    crop = bad[:, snippet].any(axis=1).argmax()
    return int(crop), int(snippet), features[crop, snippet][bad[crop, snippet]][0]
