"""Videos of any length, sampled to at most so many snippets for training."""
from __future__ import annotations

import numpy as np

from ..errors import InputError


def sample_snippets(features: np.ndarray, most: int, abnormal: bool, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Bring the snippets (..., T, D) to (..., M, D), M = most; and the length, min(T, M), behind which there are zeros.

    An abnormal video of T > M snippets gives one of each of M equal parts, snippet int((j + u_j) T / M) for j from 0,
    u_j uniform in [0, 1): what happens in it is kept, in its order. A normal one gives M snippets in a row, from a start
    drawn uniformly. A shorter video is whole. (Wan et al. 2020, arXiv:2104.07268.)
    Raises InputError unless T and M are at least 1.
    """
    snippets = features.shape[-2]
    if snippets < 1 or most < 1:
        raise InputError(f"{snippets} snippets cannot be sampled to {most} at most, expected 1 or more")
    if snippets <= most:
        sampled = np.zeros((*features.shape[:-2], most, features.shape[-1]), features.dtype)
        sampled[..., :snippets, :] = features
        return sampled, snippets
    if abnormal:
        picks = ((np.arange(most) + rng.random(most)) * (snippets / most)).astype(int)
        return features[..., np.minimum(picks, snippets - 1), :], most  # rounding up may reach T
    start = rng.integers(snippets - most + 1)
    return features[..., start:start + most, :], most
