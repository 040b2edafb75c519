"""Evaluation memory grows linearly in T: twice the snippets take twice the memory, not four times."""
import tracemalloc

import numpy as np
import pytest

import wvad_core as wv
from wvad_core.blocks import attention, magnitude
from wvad_core.registry import specification


def peak(detector: wv.Detector, steps: int) -> int:
    features = np.ones((1 + detector.config.patches, steps, detector.config.feature_dim), np.float32)
    tracemalloc.start()
    detector.score(features)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest


@pytest.mark.parametrize("method", wv.list_methods())
def test_memory_is_linear_in_the_number_of_snippets(method, monkeypatch):
    monkeypatch.setattr(attention, "ATTENTION_BLOCK", 1 << 14)
    detector = wv.create(method, **specification(method).DEMO.as_dict())
    peak(detector, 10)
    assert peak(detector, 6000) < 2.2 * peak(detector, 3000)


def test_patches_are_aggregated_in_blocks(monkeypatch):
    """What the patches take does not grow with T: 49 of them, and yet less than five of the crops alone would."""
    monkeypatch.setattr(magnitude, "EVALUATION_BLOCK", 256)
    patched, plain = (wv.create("ssrl", feature_dim=64, stage=stage) for stage in (4, 1))
    for detector in (patched, plain):
        peak(detector, 10)
    steps, row = 2000, 2000 * 64 * 4
    assert peak(patched, steps) < peak(plain, steps) + 5 * row
