"""Videos of any length T as S segments for training: (..., T, D) -> (..., S, D), in the features' dtype.

All raise InputError unless T and S are at least 1.
"""
from __future__ import annotations

import numpy as np

from ..errors import InputError

Array = np.ndarray


def pool_segments(features: Array, segments: int) -> Array:
    """Average the snippets into segments.

    Segment s is the mean of the snippets from border s up to border s + 1, borders int(linspace(0, T, S + 1)); an
    empty one takes the snippet at its border. The result is that of the published np.mean, to the last bit.
    """
    snippets = _snippets(features, segments)
    return _means(features, np.linspace(0, snippets, segments + 1).astype(int))


def pool_or_pad(features: Array, segments: int) -> Array:
    """`pool_segments` where T > S; a shorter video whole, and behind it zeros."""
    if _snippets(features, segments) > segments:
        return pool_segments(features, segments)
    return _padded(features, segments)


def resize_segments(features: Array, segments: int) -> Array:
    """Resize along time by linear interpolation, as F.interpolate(mode="linear", align_corners=False) and OpenCV do.

    Segment j is (1 - f) x[i] + f x[min(i + 1, T - 1)], i = floor(p), f = p - i, at p = (j + 0.5) T / S - 0.5 cut to
    0 .. T - 1. Nothing is smoothed: most snippets of a long video are not seen.
    """
    snippets = _snippets(features, segments)
    places = np.clip((np.arange(segments) + 0.5) * snippets / segments - 0.5, 0, snippets - 1)
    before = np.floor(places).astype(int)
    behind = np.minimum(before + 1, snippets - 1)
    share = (places - before).astype(features.dtype)[:, None]
    return (1 - share) * features[..., before, :] + share * features[..., behind, :]


def pick_snippets(features: Array, most: int) -> Array:
    """Of a video longer than S = `most` the snippets floor(linspace(0, T - 1, S)); a shorter one whole, then zeros.

    Raises InputError for a crop of which no snippet is left that is not all zero.
    """
    snippets = _snippets(features, most)
    picked = (features[..., np.floor(np.linspace(0, snippets - 1, most)).astype(int), :] if snippets > most
              else _padded(features, most))
    if (empty := np.flatnonzero(~(picked != 0).any((-2, -1)))).size:
        raise InputError(f"crop {empty[0]} has no snippet that is not all zero, expected one at least")
    return picked


def unit_segments(features: Array, segments: int) -> Array:
    """Average the snippets between `unit_borders` into segments, and divide each by its L2 norm.

    (Sultani et al. 2018, whose code is MATLAB's.) Raises InputError for a segment that is all zero.
    """
    pooled = _means(features, unit_borders(_snippets(features, segments), segments))
    norms = np.linalg.norm(pooled, axis=-1, keepdims=True)
    if (zero := np.argwhere(norms[..., 0] == 0)).size:
        raise InputError(f"segment {zero[0][-1]} is all zero, expected one that can be divided by its norm")
    return pooled / norms


def unit_borders(snippets: int, segments: int) -> Array:
    """The borders round(1 + i (T - 1) / S) - 1 for i = 0 .. S, (S + 1,): halves are rounded away from zero.

    Segment i goes from border i up to border i + 1, or is the snippet at border i where these are equal. So the last
    snippet takes no part where all segments have snippets of their own.
    """
    i = np.arange(segments + 1)
    return (2 * i * (snippets - 1) + segments) // (2 * segments)


def _means(features: Array, borders: Array) -> Array:
    """The means of the snippets between borders, (S + 1,); where two are equal, the snippet there."""
    # A loop: with D innermost it is several times as fast as np.add.reduceat or a running sum.
    pooled = np.empty((*features.shape[:-2], len(borders) - 1, features.shape[-1]), features.dtype)
    for segment, (start, end) in enumerate(zip(borders, borders[1:])):
        np.mean(features[..., start:max(end, start + 1), :], axis=-2, out=pooled[..., segment, :])
    return pooled


def _padded(features: Array, most: int) -> Array:
    padded = np.zeros((*features.shape[:-2], most, features.shape[-1]), features.dtype)
    padded[..., :features.shape[-2], :] = features
    return padded


def _snippets(features: Array, segments: int) -> int:
    snippets = features.shape[-2]
    if snippets < 1 or segments < 1:
        raise InputError(f"{snippets} snippets cannot be averaged into {segments} segments, expected 1 or more")
    return snippets
