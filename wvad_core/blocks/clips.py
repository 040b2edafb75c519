"""Clips of video frames as extractors take them: their sizes, and how uint8 frames become numbers."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .tensors import Array

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SCALES = ("symmetric", "kinetics", "clip", "raw")
"""How uint8 frames x become numbers: 2 x / 255 - 1; (x - 114.75) / 57.375; CLIP's (x / 255 - mean) / std; x itself."""
TABLES: dict[tuple[str, type], Array] = {}
"""What each of the 256 values becomes, (256, 1) or (256, C), by scale and dtype: read only."""


@dataclass(frozen=True)
class ClipSizes:
    """The clips that an extractor takes: (frames, height, width) of the published ones, and from which to which it computes.

    most: None where there is no limit.
    """
    published: tuple[int, int, int]
    least: tuple[int, int, int]
    most: tuple[int | None, int | None, int | None] = (None, None, None)

    def check(self, sizes: tuple[int, int, int], name: str) -> None:
        """Raise InputError for clips of other (frames, height, width) than the extractor called `name` takes."""
        if all(low <= size <= (size if high is None else high) for size, low, high in zip(sizes, self.least, self.most)):
            return
        expected = " and ".join(self._expected(axis) for axis in range(3))
        raise InputError(f"clips of {sizes[0]} frames of {sizes[1]} x {sizes[2]} (height x width), {name} takes {expected}")

    def _expected(self, axis: int) -> str:
        """16 frames, or at least 9 frames; a height of 112."""
        low, high = self.least[axis], self.most[axis]
        number = f"{low}" if low == high else f"at least {low}" if high is None else f"{low} to {high}"
        return f"{number} frames" if axis == 0 else f"{('height', 'width')[axis - 1]} {number}"


def scaled(frames: Array, scale: str, dtype: type = np.float32) -> Array:
    """uint8 frames (..., C) in the numbers of a scale, (..., C): computed in float64, CLIP's in float32, as published."""
    if (scale, dtype) not in TABLES:
        TABLES[scale, dtype] = _table(scale).astype(dtype)
    table = TABLES[scale, dtype]
    if table.shape[1] == 1:
        return np.take(table[:, 0], frames)
    made = np.empty(frames.shape, dtype)
    for channel in range(table.shape[1]):
        made[..., channel] = table[:, channel][frames[..., channel]]
    return made


def _table(scale: str) -> Array:
    values = np.arange(256, dtype=np.float64)[:, None]
    if scale == "symmetric":
        return values * 2 / 255 - 1
    if scale == "kinetics":
        return (values - 114.75) / 57.375
    if scale == "clip":
        pixels = values.astype(np.float32) / np.float32(255)
        return (pixels - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    if scale == "raw":
        return values
    raise InputError(f"scale {scale!r}: expected one of {', '.join(SCALES)}")
