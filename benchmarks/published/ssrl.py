"""SSRL as its authors evaluate and train it, in PyTorch. Stage 1 alone, which has no patches: it computes what RTFM does."""
from __future__ import annotations

from .rtfm import loss, scores

__all__ = ["CONFIG", "loss", "scores"]
CONFIG = {"stage": 1}
