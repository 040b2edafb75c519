"""Which convolutions oneDNN computes, in tests."""
from __future__ import annotations

from collections.abc import Callable

import pytest


def computes(function: Callable[[], object], threads: int) -> bool:
    """Whether it does all of a call's, where PyTorch has so many threads."""
    import torch

    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.profiler.profile() as profiled:
            function()
    finally:
        torch.set_num_threads(before)
    seen = {event.key for event in profiled.key_averages()}
    assert any("conv" in name for name in seen)
    return not any("slow_conv" in name or "thnn_conv" in name for name in seen)
