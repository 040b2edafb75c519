"""Shapes with smooth edges, painted one over the other. A shape covers a pixel by how far its edge is from the pixel's middle."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Point = tuple[float, float]
Colour = Sequence[float] | np.ndarray
"""R, G, B from 0 to 255."""


class Canvas:
    """A picture that is painted on: `colour` (H, W, 3), of what covers it by `cover` (H, W), from 0 to 1.

    Places are (x, y) in units of `scale` pixels, from `origin`, a pixel; y grows downwards.
    """

    def __init__(self, height: int, width: int, scale: float = 1.0, origin: Point = (0.0, 0.0)):
        self.scale, self.origin = scale, origin
        self.colour, self.cover = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)

    def capsule(self, start: Point, end: Point, radius: float, colour: Colour, alpha: float = 1.0) -> None:
        """A line with round ends; of no length, a disc."""
        (x0, y0), (x1, y1) = self._pixel(start), self._pixel(end)
        window = self._window((x0, x1), (y0, y1), radius)
        x, y = self._grid(window)
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        away = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
        self._paint(window, radius * self.scale - away, colour, alpha)

    def disc(self, middle: Point, radius: float, colour: Colour, alpha: float = 1.0) -> None:
        self.capsule(middle, middle, radius, colour, alpha)

    def ring(self, middle: Point, radius: float, width: float, colour: Colour) -> None:
        cx, cy = self._pixel(middle)
        window = self._window((cx,), (cy,), radius + width)
        x, y = self._grid(window)
        self._paint(window, width / 2 * self.scale - np.abs(np.hypot(x - cx, y - cy) - radius * self.scale), colour, 1.0)

    def box(self, corner: Point, opposite: Point, colour: Colour, radius: float = 0.0, alpha: float = 1.0) -> None:
        """A rectangle, its corners rounded."""
        (x0, y0), (x1, y1) = self._pixel(corner), self._pixel(opposite)
        window, r = self._window((x0, x1), (y0, y1), 0), radius * self.scale
        x, y = self._grid(window)
        dx, dy = (np.abs(v - (a + b) / 2) - abs(b - a) / 2 + r for v, a, b in ((x, x0, x1), (y, y0, y1)))
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)
        self._paint(window, r - outside, colour, alpha)

    def shade(self, middle: Point, radii: Point, colour: Colour, alpha: float) -> None:
        """An ellipse that is densest in its middle: a shadow, a glow."""
        cx, cy = self._pixel(middle)
        rx, ry = radii[0] * self.scale, radii[1] * self.scale
        window = self._window((cx - rx, cx + rx), (cy - ry, cy + ry), 0)
        x, y = self._grid(window)
        far = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
        self._blend(window, alpha * np.clip(1 - far, 0, 1).astype(np.float32), colour)

    def _pixel(self, place: Point) -> Point:
        return self.origin[0] + place[0] * self.scale, self.origin[1] + place[1] * self.scale

    def _window(self, x: Sequence[float], y: Sequence[float], radius: float) -> tuple[slice, slice]:
        far = radius * self.scale + 1
        (height, width), low = self.cover.shape, (min(y) - far, min(x) - far)
        high = (max(y) + far, max(x) + far)
        rows, columns = (slice(int(np.clip(np.floor(a), 0, size)), int(np.clip(np.ceil(b) + 1, 0, size)))
                         for a, b, size in zip(low, high, (height, width)))
        return rows, columns

    def _grid(self, window: tuple[slice, slice]) -> tuple[Array, Array]:
        rows, columns = window
        return (np.arange(columns.start, columns.stop, dtype=np.float32)[None] + 0.5,
                np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5)

    def _paint(self, window: tuple[slice, slice], inside: Array, colour: Colour, alpha: float) -> None:
        """inside: pixels from a shape's edge inwards."""
        self._blend(window, alpha * np.clip(inside + 0.5, 0, 1).astype(np.float32), colour)

    def _blend(self, window: tuple[slice, slice], alpha: Array, colour: Colour) -> None:
        under = self.cover[window] * (1 - alpha)
        total = alpha + under
        part = np.divide(alpha, total, out=np.zeros_like(alpha), where=total > 0)[..., None]
        self.colour[window] += part * (np.asarray(colour, np.float32) - self.colour[window])
        self.cover[window] = total

    def sprite(self) -> Sprite:
        """What is painted, without the empty margin."""
        rows, columns = (np.flatnonzero((self.cover > 1 / 512).any(axis)) for axis in (1, 0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        cover = self.cover[window][..., None]
        return Sprite(self.colour[window] * cover, 1 - cover, int(columns[0]), int(rows[0]), self.cover.shape[1])


@dataclass(frozen=True, eq=False)
class Sprite:
    """A painted picture that is put onto frames.

    light: (h, w, 3), its colours times its cover. rest: (h, w, 1), what it leaves of those below. x, y: where it begins in the
    picture that it was cut out of, which is `width` pixels wide.
    """
    light: Array
    rest: Array
    x: int = 0
    y: int = 0
    width: int = 0

    def onto(self, frame: Array, left: int, top: int) -> None:
        """Put it onto a frame (H, W, 3) uint8, its whole picture's corner at (left, top), as far as it lies within the frame."""
        left, top = left + self.x, top + self.y
        (height, width), (h, w) = frame.shape[:2], self.rest.shape[:2]
        y0, y1, x0, x1 = max(top, 0), min(top + h, height), max(left, 0), min(left + w, width)
        if y0 >= y1 or x0 >= x1:
            return
        own, below = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)), frame[y0:y1, x0:x1]
        mixed = below * self.rest[own]
        mixed += self.light[own]
        mixed += 0.5
        frame[y0:y1, x0:x1] = mixed

    def mirrored(self) -> Sprite:
        return Sprite(self.light[:, ::-1], self.rest[:, ::-1], self.width - self.x - self.rest.shape[1], self.y, self.width)
