"""SSRL as its authors evaluate it, in PyTorch. Stage 1 alone, which has no patches: it computes what RTFM does."""
from __future__ import annotations

from .rtfm import scores

__all__ = ["CONFIG", "scores"]
CONFIG = {"stage": 1}
