"""People and vehicles, drawn from the side, facing right: a person is 1 high, with feet at (0, 0) and y upwards.

A pose is angles of limbs, in radians from straight down, forwards positive. The figure stands on the lower of its feet.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, pi, sin

import numpy as np

from .canvas import Canvas, Colour, Point, Sprite

THIGH, SHIN, TRUNK, UPPER, FORE = 0.25, 0.25, 0.31, 0.165, 0.16
"""Lengths."""
STEPS = 20
"""Pictures of a cycle of movement."""
SKINS = ((241, 200, 165), (224, 172, 130), (198, 134, 92), (141, 88, 60), (98, 62, 44))
HAIRS = ((38, 28, 24), (78, 52, 34), (128, 88, 48), (196, 160, 96), (120, 120, 124))
SHIRTS = ((201, 74, 62), (64, 104, 168), (236, 186, 74), (82, 140, 96), (238, 238, 232), (124, 88, 150), (60, 66, 78),
          (226, 126, 70), (96, 168, 178), (210, 140, 160))
TROUSERS = ((44, 54, 78), (58, 58, 62), (110, 92, 72), (150, 140, 120), (34, 36, 40), (84, 104, 128))
PAINTS = ((196, 60, 52), (58, 98, 160), (236, 236, 236), (70, 74, 82), (214, 170, 64), (86, 138, 110))


@dataclass(frozen=True)
class Looks:
    """What a person wears. bag: whether a rucksack is on the back."""
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    bag: bool = False
    skirt: bool = False


@dataclass(frozen=True)
class Pose:
    """lean: of the trunk. legs, knees, arms, elbows: of the near and the far side. turn: of the whole figure around its feet,
    pi / 2 on its back. seat: the height of the hips, where somebody sits."""
    lean: float = 0.0
    legs: tuple[float, float] = (0.05, -0.05)
    knees: tuple[float, float] = (0.0, 0.0)
    arms: tuple[float, float] = (0.06, -0.06)
    elbows: tuple[float, float] = (0.12, 0.12)
    turn: float = 0.0
    seat: float | None = None


def walking(phase: float) -> Pose:
    swing, back = sin(phase), cos(phase)
    return Pose(0.05, (0.42 * swing, -0.42 * swing), (0.12 + 0.42 * max(back, 0.0), 0.12 + 0.42 * max(-back, 0.0)),
                (-0.40 * swing, 0.40 * swing), (0.30, 0.30))


def running(phase: float) -> Pose:
    swing, back = sin(phase), cos(phase)
    return Pose(0.30, (0.15 + 0.85 * swing, 0.15 - 0.85 * swing), (0.35 + 1.25 * max(back, 0.0), 0.35 + 1.25 * max(-back, 0.0)),
                (-0.95 * swing, 0.95 * swing), (1.5, 1.5))


def standing(phase: float) -> Pose:
    return Pose(0.02 * sin(phase), arms=(0.08 + 0.03 * sin(phase), -0.08))


def talking(phase: float) -> Pose:
    return Pose(0.04 + 0.02 * sin(phase), arms=(0.5 + 0.25 * sin(phase), 0.1), elbows=(1.3 + 0.4 * sin(2 * phase), 0.3))


def fighting(phase: float) -> Pose:
    hit, other = max(sin(2 * phase), 0.0), max(-sin(2 * phase), 0.0)
    kick = max(sin(phase) - 0.75, 0.0) * 4
    return Pose(0.22 + 0.16 * sin(2 * phase), (0.45 + 0.9 * kick, -0.5), (0.45 * (1 - kick), 0.35),
                (0.7 + 0.95 * hit, 0.6 + 1.0 * other), (1.9 - 1.8 * hit, 1.9 - 1.8 * other))


def sitting(phase: float) -> Pose:
    return Pose(-0.08 + 0.02 * sin(phase), (1.45, 1.35), (1.42, 1.3), (0.5 + 0.08 * sin(phase), 0.45), (0.9, 0.8), seat=0.27)


def falling(progress: float) -> Pose:
    """From upright, 0, to lying on the back, 1."""
    flail = sin(pi * min(progress, 1.0))
    return Pose(-0.1 * flail, (0.1 + 0.7 * flail, -0.1 + 0.3 * flail), (0.5 * flail + 0.25, 0.3 * flail + 0.1),
                (0.2 + 1.8 * flail, 0.9 * progress), (0.3, 0.2), turn=0.5 * pi * progress ** 2)


def cycling(phase: float) -> Pose:
    swing = sin(phase)
    return Pose(0.55, (0.95 + 0.42 * swing, 0.95 - 0.42 * swing), (1.15 + 0.35 * cos(phase), 1.15 - 0.35 * cos(phase)),
                (1.15, 1.1), (0.25, 0.25), seat=0.56)


def looks(rng: np.random.RandomState) -> Looks:
    """Those of somebody."""
    skin, hair, shirt, trousers = (of[rng.randint(len(of))] for of in (SKINS, HAIRS, SHIRTS, TROUSERS))
    return Looks(skin, hair, shirt, trousers, bag=rng.random_sample() < 0.3, skirt=rng.random_sample() < 0.2)


def person(pose: Pose, wears: Looks, height: int, bicycle: bool = False) -> Sprite:
    """Somebody `height` pixels high, whose feet are at `foot(height)` of the picture; on a bicycle too."""
    side = 2 * height
    canvas = Canvas(int(1.32 * height), side, height, (side / 2, 1.2 * height))
    spread = 0.22 + 0.3 * sin(pose.turn)
    canvas.shade((-0.5 * sin(pose.turn), 0.0), (spread + 0.06 + 0.3 * bicycle, 0.075), (18, 20, 30), 0.42)
    if bicycle:
        _bicycle(canvas)
    _body(canvas, pose, wears)
    return canvas.sprite()


def foot(height: int) -> tuple[int, int]:
    """Where the feet are in the picture of a person: (x, y)."""
    return height, int(1.2 * height)


def _body(canvas: Canvas, pose: Pose, wears: Looks) -> None:
    hip, ends = _hips(pose)
    turned = _Turned(canvas, pose.turn)
    shoulder = (hip[0] + TRUNK * sin(pose.lean), hip[1] + TRUNK * cos(pose.lean))
    head = (shoulder[0] + 0.105 * sin(1.2 * pose.lean) + 0.008, shoulder[1] + 0.105 * cos(pose.lean))
    far, near = _darker(wears, 0.72), wears
    _arm(turned, shoulder, pose.arms[1], pose.elbows[1], far)
    _leg(turned, hip, ends[1], far)
    if wears.bag:
        turned.capsule((shoulder[0] - 0.075, shoulder[1] - 0.05), (hip[0] - 0.085, hip[1] + 0.10), 0.055, (92, 74, 58))
    _leg(turned, hip, ends[0], near)
    turned.capsule(hip, shoulder, 0.07, wears.shirt)
    turned.capsule((hip[0], hip[1] - 0.01), (hip[0] * 0.9 + shoulder[0] * 0.1, hip[1] + 0.03), 0.066, wears.trousers)
    if wears.skirt and pose.seat is None:
        turned.capsule(hip, _along(hip, sum(pose.legs) / 2, 0.14), 0.085, wears.trousers)
    turned.capsule(shoulder, head, 0.03, wears.skin)
    turned.capsule((head[0] - 0.012, head[1] + 0.014), (head[0] - 0.014, head[1] + 0.004), 0.066, wears.hair)
    turned.capsule((head[0] + 0.016, head[1] - 0.014), (head[0] + 0.018, head[1] - 0.002), 0.052, wears.skin)
    _arm(turned, shoulder, pose.arms[0], pose.elbows[0], near)


def _hips(pose: Pose) -> tuple[Point, list[tuple[Point, Point]]]:
    """The hips' place, and knee and foot of each leg: the lower foot at height 0, unless the figure sits."""
    def leg(hip: Point, angle: float, bend: float) -> tuple[Point, Point]:
        knee = _along(hip, angle, THIGH)
        return knee, _along(knee, angle - bend, SHIN)

    lowest = min(leg((0.0, 0.0), *ends)[1][1] for ends in zip(pose.legs, pose.knees))
    hip = (0.0, (-lowest + 0.03) if pose.seat is None else pose.seat)
    return hip, [leg(hip, *ends) for ends in zip(pose.legs, pose.knees)]


def _along(start: Point, angle: float, length: float) -> Point:
    return start[0] + length * sin(angle), start[1] - length * cos(angle)


def _darker(wears: Looks, by: float) -> Looks:
    return replace(wears, **{name: tuple(by * value for value in getattr(wears, name)) for name in ("skin", "shirt", "trousers")})


def _leg(canvas: _Turned, hip: Point, ends: tuple[Point, Point], wears: Looks) -> None:
    knee, ankle = ends
    canvas.capsule(hip, knee, 0.052, wears.trousers)
    canvas.capsule(knee, ankle, 0.04, wears.skin if wears.skirt else wears.trousers)
    canvas.capsule(ankle, (ankle[0] + 0.055, ankle[1] - 0.008), 0.028, (40, 36, 36))


def _arm(canvas: _Turned, shoulder: Point, angle: float, bend: float, wears: Looks) -> None:
    elbow = _along((shoulder[0], shoulder[1] - 0.02), angle, UPPER)
    hand = _along(elbow, angle + bend, FORE)
    canvas.capsule((shoulder[0], shoulder[1] - 0.02), elbow, 0.036, tuple(0.9 * value for value in wears.shirt))
    canvas.capsule(elbow, hand, 0.03, wears.skin)


class _Turned:
    """Paints with y upwards, all turned backwards around the feet."""

    def __init__(self, canvas: Canvas, angle: float):
        self._canvas, self._cos, self._sin = canvas, cos(angle), sin(angle)

    def capsule(self, start: Point, end: Point, radius: float, colour: Colour) -> None:
        self._canvas.capsule(self._place(start), self._place(end), radius, colour)

    def _place(self, place: Point) -> Point:
        x, y = place[0], place[1]
        return x * self._cos - y * self._sin, -max(x * self._sin + y * self._cos, 0.02)


def _bicycle(canvas: Canvas) -> None:
    for x in (-0.30, 0.34):
        canvas.ring((x, -0.19), 0.18, 0.03, (32, 34, 38))
    for start, end in (((-0.30, -0.19), (0.0, -0.20)), ((0.0, -0.20), (0.26, -0.44)), ((-0.08, -0.50), (0.0, -0.20)),
                       ((-0.08, -0.46), (0.26, -0.44)), ((0.34, -0.19), (0.25, -0.52)), ((-0.30, -0.19), (-0.08, -0.46))):
        canvas.capsule(start, end, 0.014, (176, 52, 48))
    canvas.capsule((0.21, -0.55), (0.30, -0.53), 0.014, (40, 40, 44))


def vehicle(length: int, paint: Colour, van: bool) -> Sprite:
    """A car, or a van, of so many pixels from end to end, whose wheels stand on the row `wheels(length)` of its picture."""
    canvas = Canvas(int(0.7 * length), int(1.12 * length), length, (0.06 * length, float(wheels(length))))
    canvas.shade((0.5, 0.0), (0.54, 0.055), (14, 16, 24), 0.55)
    dark, glass = [0.72 * value for value in paint], (164, 196, 214)
    if van:
        canvas.box((0.02, -0.50), (0.86, -0.09), paint, 0.04)
        canvas.box((0.60, -0.36), (0.98, -0.09), paint, 0.07)
        canvas.box((0.70, -0.44), (0.90, -0.27), glass, 0.04)
        canvas.box((0.06, -0.20), (0.94, -0.17), dark)
    else:
        canvas.box((0.20, -0.35), (0.76, -0.12), paint, 0.10)
        canvas.box((0.02, -0.24), (0.98, -0.07), paint, 0.06)
        canvas.box((0.26, -0.31), (0.46, -0.21), glass, 0.03)
        canvas.box((0.50, -0.31), (0.70, -0.21), glass, 0.03)
        canvas.box((0.03, -0.13), (0.97, -0.11), dark)
    canvas.disc((0.965, -0.17 if van else -0.18), 0.02, (255, 240, 190))
    for x in (0.22, 0.78):
        canvas.disc((x, -0.085), 0.085, (28, 28, 32))
        canvas.disc((x, -0.085), 0.042, (150, 152, 158))
    return canvas.sprite()


def wheels(length: int) -> int:
    return int(0.58 * length)
