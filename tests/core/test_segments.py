"""Averaging into segments, against the published loop."""
import numpy as np
import pytest

from wvad_core.data import pool_segments
from wvad_core.errors import InputError


def published(features, segments):
    """(T, D) -> (S, D), as the published training code goes about it."""
    borders = np.linspace(0, len(features), segments + 1, dtype=int)
    pooled = np.zeros((segments, features.shape[1]), features.dtype)
    for i in range(segments):
        if borders[i] != borders[i + 1]:
            pooled[i] = np.mean(features[borders[i]:borders[i + 1]], 0)
        else:
            pooled[i] = features[min(borders[i], len(features) - 1)]
    return pooled


@pytest.mark.parametrize("segments", [1, 32, 200, 320])
def test_pooling_is_the_published_loop(segments):
    rng = np.random.default_rng(segments)
    for snippets in range(1, 401):
        features = rng.random((snippets, 3), np.float32)
        pooled = pool_segments(features, segments)
        exact = published(features.astype(np.float64), segments)
        assert pooled.dtype == np.float32 and pooled.shape == (segments, 3)
        assert np.array_equal(pooled, published(features, segments)), snippets
        assert np.linalg.norm(pooled - exact) <= 1e-6 * np.linalg.norm(exact), snippets


def test_crops_are_pooled_one_by_one_and_the_input_is_left_alone():
    features = np.random.default_rng(0).random((2, 3, 50, 4))
    before = features.copy()
    pooled = pool_segments(features, 7)
    assert pooled.shape == (2, 3, 7, 4) and pooled.dtype == np.float64
    for i in range(2):
        for crop in range(3):
            assert np.array_equal(pooled[i, crop], published(features[i, crop], 7))
    assert np.array_equal(features, before)


def test_nothing_to_pool():
    with pytest.raises(InputError, match="0 snippets cannot be averaged into 32 segments"):
        pool_segments(np.zeros((0, 4), np.float32), 32)
    with pytest.raises(InputError, match="9 snippets cannot be averaged into 0 segments"):
        pool_segments(np.zeros((9, 4), np.float32), 0)
