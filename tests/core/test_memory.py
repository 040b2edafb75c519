"""Evaluation memory grows linearly in T: twice the snippets take twice the memory, not four times."""
import tracemalloc

import numpy as np
import pytest

import wvad_core as wv
from wvad_core import attention
from wvad_core.methods import specification


def peak(detector: wv.Detector, steps: int) -> int:
    features = np.ones((2, steps, detector.config.feature_dim), np.float32)
    tracemalloc.start()
    detector.score(features)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest


@pytest.mark.parametrize("method", wv.methods())
def test_memory_is_linear_in_the_number_of_snippets(method, monkeypatch):
    monkeypatch.setattr(attention, "ATTENTION_BLOCK", 1 << 14)
    detector = wv.create(method, **specification(method).DEMO.as_dict())
    peak(detector, 10)
    assert peak(detector, 6000) < 2.2 * peak(detector, 3000)
