"""A fire: flames and smoke of particles that rise from a bin, brighter where more of them overlap."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .canvas import Sprite

Array = np.ndarray
SIZE, FOOT = (190, 130), (65, 180)
"""Of its picture: rows, columns; where the bin's foot is in it, (x, y)."""
FLAMES, PUFFS, MOUTH = 26, 12, 26
"""Particles of both kinds; rows from the bin's foot to its mouth."""
IS_FLAME = np.arange(FLAMES + PUFFS) < FLAMES
COLOURS = np.array(((120, 20, 10), (226, 70, 20), (252, 160, 40), (255, 240, 170)), np.float32)
"""From faint to bright."""
RAMP = 30
"""Frames in which it grows, and goes out."""


@dataclass(frozen=True)
class Fire:
    """One at a place, from frame `begin` on."""
    x: int
    foot: int
    begin: int
    frames: int
    seed: int

    @property
    def row(self) -> int:
        """By which it is drawn: in front of its bin."""
        return self.foot + 1

    @cached_property
    def _particles(self) -> Array:
        """(start of the cycle, pace, drift, size) of each, from 0 to 1."""
        return np.random.RandomState(self.seed).random_sample((4, FLAMES + PUFFS)).astype(np.float32)

    def draw(self, frame: Array, k: int) -> str | None:
        now = k - self.begin
        if not 0 <= now < self.frames:
            return None
        strength = min(1.0, (now + 1) / RAMP, (self.frames - now) / RAMP)
        smoke, flame = self._fields(now, strength)
        left, top = self.x - FOOT[0], self.foot - FOOT[1]
        dark = (0.62 * np.minimum(smoke, 1))[..., None]
        Sprite(dark * np.array((58, 54, 54), np.float32), 1 - dark).onto(frame, left, top)
        bright = np.clip(flame * 1.4, 0, 1)[..., None]
        place = np.clip(flame * 1.9, 0, 2.999)
        below, part = place.astype(int), (place % 1)[..., None]
        colour = COLOURS[below] * (1 - part) + COLOURS[below + 1] * part
        Sprite(bright * colour, 1 - bright).onto(frame, left, top)
        return "fire"

    def _fields(self, now: int, strength: float) -> tuple[Array, Array]:
        """How dense smoke and flames are, (rows, columns) each."""
        start, pace, drift, size = self._particles
        age = (start + now / (14 + 10 * pace) * np.where(IS_FLAME, 1, 0.35)) % 1
        y = FOOT[1] - MOUTH - age * np.where(IS_FLAME, 84, 150) * (0.4 + 0.6 * strength)
        x = FOOT[0] + (drift - 0.5) * (20 + 26 * age) + 3 * np.sin(now / 5 + 6 * start + 3 * age)
        radius = np.where(IS_FLAME, (6 + 8 * size) * (1.15 - age), (9 + 10 * size) * (0.5 + 1.1 * age))
        weight = strength * np.where(IS_FLAME, 0.62 * (1 - age), 0.5 * (1 - age) * np.minimum(4 * age, 1))
        rows, columns = (np.arange(n, dtype=np.float32) for n in SIZE)
        radius = np.maximum(radius, 1).astype(np.float32)
        down = np.exp(-((rows[None] - y[:, None]) / radius[:, None]) ** 2)
        across = np.exp(-((columns[None] - x[:, None]) / radius[:, None]) ** 2) * weight[:, None]
        down, across = down.astype(np.float32), across.astype(np.float32)
        return down[FLAMES:].T @ across[FLAMES:], down[:FLAMES].T @ across[:FLAMES]
