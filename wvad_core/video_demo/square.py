"""The place: houses, a road, and in front of them a square with a bench, a bin, a lamp and trees."""
from __future__ import annotations

from dataclasses import dataclass
from math import pi, sin

import numpy as np

from .canvas import Canvas, Colour, Point, Sprite

Array = np.ndarray
HEIGHT, WIDTH = 270, 480
"""Of the frames."""
SKYLINE, ROAD, SQUARE = 100, 106, 140
"""Rows where the houses end, where the road begins, and where the square does."""
LANES = (118, 133)
"""Rows of the wheels of cars."""
HOUSES = ((196, 132, 104), (214, 190, 150), (168, 176, 178), (206, 158, 120), (150, 122, 112), (222, 210, 186), (140, 156, 150))
AWNINGS = ((176, 62, 54), (62, 110, 96), (206, 160, 70), (70, 92, 138))
SKIES = (((150, 192, 226), (226, 236, 240)), ((176, 186, 198), (222, 222, 220)), ((226, 168, 128), (250, 220, 178)))
"""Colours above and at the skyline: fair, cloudy, evening."""
LIGHTS = ((1.0, 1.0, 1.0), (0.93, 0.95, 0.98), (1.0, 0.93, 0.84))
"""What each of these makes of all colours."""


@dataclass(frozen=True)
class Thing:
    """Something that stands on the square: its sprite, where that goes, and the row of its foot."""
    sprite: Sprite
    left: int
    top: int
    row: int


@dataclass(frozen=True)
class Square:
    """ground: a frame without anybody, (H, W, 3) uint8. bench, bin: where they stand, (x, row). things: before which people pass, or
    behind which."""
    ground: Array
    bench: tuple[int, int]
    bin: tuple[int, int]
    things: tuple[Thing, ...]


def square(rng: np.random.RandomState) -> Square:
    """One that is drawn by a generator."""
    weather = int(rng.choice(3, p=(0.5, 0.25, 0.25)))
    canvas = Canvas(HEIGHT, WIDTH)
    _sky(canvas, SKIES[weather])
    _houses(canvas, rng)
    _road(canvas)
    _paving(canvas, rng)
    bench = (int(rng.randint(60, 200)), int(rng.randint(160, 176)))
    bin_ = (int(rng.randint(270, 420)), int(rng.randint(164, 200)))
    _bench(canvas, bench)
    ground = np.clip(canvas.colour * np.array(LIGHTS[weather], np.float32) + 0.5, 0, 255).astype(np.uint8)
    lamp = int(rng.randint(200, 280)), int(rng.randint(150, 160))
    trees = [_tree(int(x), int(rng.randint(148, 158)), rng) for x in (rng.randint(10, 60), rng.randint(430, 470))]
    return Square(ground, bench, bin_, (*trees, _lamp(*lamp), _bin(*bin_)))


def _sky(canvas: Canvas, colours: tuple[Colour, Colour]) -> None:
    part = np.linspace(0, 1, SKYLINE, dtype=np.float32)[:, None, None]
    high, low = (np.array(colour, np.float32) for colour in colours)
    canvas.colour[:SKYLINE], canvas.cover[:] = high * (1 - part) + low * part, 1


def _houses(canvas: Canvas, rng: np.random.RandomState) -> None:
    left = -int(rng.randint(0, 30))
    while left < WIDTH:
        width, top = int(rng.randint(56, 104)), int(rng.randint(8, 42))
        wall = np.array(HOUSES[rng.randint(len(HOUSES))], np.float32) * rng.uniform(0.9, 1.05)
        canvas.box((left, top), (left + width, SKYLINE), wall)
        canvas.box((left - 1, top - 3), (left + width + 1, top + 1), wall * 0.78)
        columns = width // 17
        for row in range(top + 8, SKYLINE - 34, 18):
            for column in range(columns):
                x = left + (column + 0.5) * width / columns
                glass = (244, 220, 150) if rng.random_sample() < 0.10 else (96, 116, 132)
                canvas.box((x - 4.5, row), (x + 4.5, row + 11), [0.85 * value for value in wall])
                canvas.box((x - 3.5, row + 1), (x + 3.5, row + 10), glass)
        _shop(canvas, left, width, wall, rng)
        left += width


def _shop(canvas: Canvas, left: int, width: int, wall: Array, rng: np.random.RandomState) -> None:
    canvas.box((left, SKYLINE - 26), (left + width, SKYLINE), wall * 0.7)
    canvas.box((left + 5, SKYLINE - 18), (left + width - 18, SKYLINE - 3), (126, 150, 162))
    canvas.box((left + width - 14, SKYLINE - 19), (left + width - 5, SKYLINE), wall * 0.45)
    awning = np.array(AWNINGS[rng.randint(len(AWNINGS))], np.float32)
    for i, x in enumerate(np.arange(left + 3, left + width - 14, 6)):
        canvas.box((x, SKYLINE - 25), (x + 6, SKYLINE - 17), awning if i % 2 else (236, 232, 222))


def _road(canvas: Canvas) -> None:
    canvas.box((-2, SKYLINE), (WIDTH + 2, ROAD), (186, 182, 174))
    canvas.box((-2, ROAD), (WIDTH + 2, SQUARE - 4), (92, 94, 100))
    canvas.box((-2, ROAD - 1), (WIDTH + 2, ROAD + 1), (150, 148, 142))
    for x in range(6, WIDTH, 34):
        canvas.box((x, 120), (x + 18, 122), (222, 220, 208), alpha=0.85)
    canvas.box((-2, SQUARE - 4), (WIDTH + 2, SQUARE), (168, 162, 152))


def _paving(canvas: Canvas, rng: np.random.RandomState) -> None:
    stone = np.array(((204, 196, 182), (190, 190, 188), (208, 186, 164))[rng.randint(3)], np.float32)
    part = np.linspace(0, 1, HEIGHT - SQUARE, dtype=np.float32)[:, None, None]
    canvas.colour[SQUARE:] = stone * (0.93 + 0.09 * part)
    rows = SQUARE + 130 * np.linspace(0, 1, 9)[1:] ** 1.5
    for k, row in enumerate(rows):
        above = rows[k - 1] if k else SQUARE
        for x in range(-14, 15):
            if rng.random_sample() < 0.22:  # a slab that is darker than the others
                a, b = (WIDTH / 2 + (x + 0.5) * 56 * (0.42 + 0.58 * (y - SQUARE) / 130) for y in (above, row))
                canvas.box((min(a, b), above), (min(a, b) + 40, row), stone * 0.8, alpha=0.22)
        canvas.capsule((-4, row), (WIDTH + 4, row), 0.6, stone * 0.62, 0.5)
    for x in range(-16, 17):
        canvas.capsule((WIDTH / 2 + x * 23.5, SQUARE), (WIDTH / 2 + x * 56, HEIGHT + 2), 0.55, stone * 0.62, 0.45)


def _bench(canvas: Canvas, place: tuple[int, int]) -> None:
    x, row = place
    canvas.shade((x, row + 1), (44, 7), (20, 20, 30), 0.4)
    for leg in (-28, 28):
        canvas.box((x + leg - 2, row - 16), (x + leg + 2, row), (58, 60, 66))
    for slat in (-36, -31, -26):
        canvas.box((x - 36, row + slat), (x + 36, row + slat + 4), (150, 102, 62))
    canvas.box((x - 37, row - 18), (x + 37, row - 13), (168, 116, 72), 1)


def _thing(canvas: Canvas, x: float, row: int, foot: Point) -> Thing:
    """foot: where it stands in its picture."""
    return Thing(canvas.sprite(), int(x - foot[0]), int(row - foot[1]), row)


def _tree(x: int, row: int, rng: np.random.RandomState) -> Thing:
    canvas = Canvas(140, 110, 1.0, (55, 130))
    canvas.shade((4, 0), (40, 8), (20, 24, 28), 0.42)
    canvas.capsule((0, 0), (0, -56), 4, (104, 76, 54))
    green = np.array(((92, 138, 76), (78, 124, 84), (128, 140, 66))[rng.randint(3)], np.float32)
    for k in range(26):
        angle, far, size = rng.uniform(0, 2 * pi), rng.uniform(0, 26), rng.uniform(9, 16)
        lit = 0.82 + 0.36 * (0.5 - 0.5 * sin(angle)) * far / 26
        canvas.disc((far * np.cos(angle) * 1.15, -80 + far * sin(angle)), size, green * lit)
    return _thing(canvas, x, row, (55, 130))


def _lamp(x: int, row: int) -> Thing:
    canvas = Canvas(130, 40, 1.0, (20, 122))
    canvas.shade((0, 0), (12, 3), (20, 20, 30), 0.45)
    canvas.capsule((0, 0), (0, -96), 1.6, (58, 62, 70))
    canvas.capsule((0, 0), (0, -8), 3, (58, 62, 70))
    canvas.capsule((0, -98), (0, -104), 5, (250, 240, 208))
    canvas.box((-6, -112), (6, -109), (58, 62, 70), 1)
    return _thing(canvas, x, row, (20, 122))


def _bin(x: int, row: int) -> Thing:
    canvas = Canvas(44, 40, 1.0, (20, 38))
    canvas.shade((1, 0), (15, 4), (20, 20, 30), 0.5)
    canvas.box((-9, -27), (9, 0), (62, 84, 78), 2)
    canvas.box((-11, -30), (11, -25), (48, 62, 60), 2)
    return _thing(canvas, x, row, (20, 38))
