"""Resizing of frames: Pillow's filters, and OpenCV's 8-bit linear interpolation, bit for bit and without OpenCV."""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from .recipe import Recipe
from .source import check_size, required

UNIT = 2048
"""What stands for 1 among OpenCV's weights: 11 bits."""


def resize(frame: np.ndarray, recipe: Recipe, where: str) -> np.ndarray:
    """A frame (H, W, C) uint8 in the size that the recipe asks for. where: what messages begin with.

    Raises InputError where that would be too large.
    """
    size, factor = _size(frame.shape[0], frame.shape[1], recipe)
    check_size(*size, where)
    if size == frame.shape[:2]:
        return frame  # all these filters leave it as it is
    if recipe.filter == "opencv-linear":
        return opencv_linear(frame, size, factor)
    return pillow(frame, size, recipe.filter)


def _size(height: int, width: int, recipe: Recipe) -> tuple[tuple[int, int], float | None]:
    """(height, width) of the resized frame, and the factor, where one is given and not the size."""
    if len(recipe.target) != 1:
        return (recipe.target or (height, width)), None  # type: ignore[return-value]
    (side,), short = recipe.target, min(height, width)
    if recipe.filter == "opencv-linear":
        return (round(height * (side / short)), round(width * (side / short))), side / short
    longer = int(side * max(height, width) / short)
    return ((side, longer) if height <= width else (longer, side)), None


def pillow(frame: np.ndarray, size: tuple[int, int], filter: str) -> np.ndarray:
    """What Pillow makes of a frame; the two channels of flow are resized as two pictures. size: (height, width)."""
    image = required("PIL.Image", "Pillow", f"resizing by the filter {filter}")

    def resized(picture: np.ndarray) -> np.ndarray:
        return np.asarray(image.fromarray(picture).resize(size[::-1], image.Resampling[filter.upper()]))

    if frame.shape[2] == 2:
        return np.stack([resized(np.ascontiguousarray(frame[..., axis])) for axis in (0, 1)], axis=2)
    return resized(frame)


def opencv_linear(frame: np.ndarray, size: tuple[int, int], factor: float | None = None) -> np.ndarray:
    """cv2.resize(frame, size, factor, factor, INTER_LINEAR) of 8 bits, in OpenCV's integers; no antialiasing.

    Pixel j lies at u = (j + 0.5) scale - 0.5 of the source, i = floor(u), weights w0 = 2048 (1 - u + i) and
    w1 = 2048 (u - i), rounded. Horizontally h = x[i] w0 + x[i + 1] w1; vertically
    ((w0 (h[i] >> 4)) >> 16) + ((w1 (h[i + 1] >> 4)) >> 16), plus 2, >> 2.
    size: (height, width). factor: where it is given, scale = 1 / factor, else source / target.
    """
    height, width, channels = frame.shape
    columns, weights = _horizontal(width, size[1], factor, channels)
    rows, upper, lower, above, below = _vertical(height, size[0], factor)
    flat = frame.reshape(height, width * channels)
    used = flat if len(rows) == height else flat[rows]
    across = used.take(columns[0], axis=1) * weights[0]
    across += used.take(columns[1], axis=1) * weights[1]
    across >>= 4
    result, other = across[upper], across[lower]
    result *= above
    result >>= 16
    other *= below
    other >>= 16
    result += other
    result += 2
    result >>= 2
    return result.astype(np.uint8).reshape(*size, channels)


def _taps(source: int, target: int, factor: float | None) -> tuple[np.ndarray, np.ndarray]:
    """i, which may lie outside, and u - i, in float32 as OpenCV has it."""
    scale = 1 / factor if factor else source / target
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position)
    return first.astype(np.int64), position - first


def _weights(fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one = np.float32(UNIT)
    return np.rint(one * (1 - fraction)).astype(np.int32), np.rint(one * fraction).astype(np.int32)


@lru_cache(8)
def _horizontal(source: int, target: int, factor: float | None, channels: int) -> tuple[tuple, tuple]:
    """Columns and weights of both taps, channel by channel: beyond the outer pixels the outer tap has no weight."""
    first, fraction = _taps(source, target, factor)
    fraction[(first < 0) | (first >= source - 1)] = 0
    pixels = [np.clip(first + tap, 0, source - 1)[:, None] for tap in (0, 1)]
    columns = [(pixel * channels + np.arange(channels)).ravel() for pixel in pixels]
    return tuple(columns), tuple(np.repeat(weights, channels) for weights in _weights(fraction))


@lru_cache(8)
def _vertical(source: int, target: int, factor: float | None) -> tuple[np.ndarray, ...]:
    """The source's rows that are used; of each target row, where among them both taps are, and both weights."""
    first, fraction = _taps(source, target, factor)
    taps = np.clip(np.concatenate([first, first + 1]), 0, source - 1)
    rows, places = np.unique(taps, return_inverse=True)
    above, below = _weights(fraction)
    return rows, places[:target], places[target:], above[:, None], below[:, None]
