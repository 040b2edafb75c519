"""What happens on a square: people who come and go, and in some videos an anomaly. Frames are drawn one by one.

    scene = Scene.drawn(seed=3, kind="fighting")
    for frame in scene.frames(): ...                     # (270, 480, 3) uint8, 25 a second
    scene.interval                                       # frames of the anomaly, (start, end); None without one

Harmless are: walking, standing, talking with much gesture, sitting, cycling, and cars on the road; they look like the anomalies
in one thing or another.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import tau

import numpy as np

from . import figures
from .canvas import Sprite
from .figures import STEPS, Looks, foot
from .fire import Fire
from .square import HEIGHT, LANES, WIDTH, Square, Thing, square

Array = np.ndarray
RATE = 25
"""Frames a second."""
KINDS = ("running", "fighting", "fire", "driving", "falling")
"""Of anomalies."""
POSES: dict[str, Callable[[float], figures.Pose]] = {
    "walking": figures.walking, "running": figures.running, "standing": figures.standing, "talking": figures.talking,
    "fighting": figures.fighting, "sitting": figures.sitting, "cycling": figures.cycling, "falling": figures.falling,
    "lying": lambda phase: figures.falling(1.0)}
STRIDES = {"walking": 0.82, "running": 1.9, "cycling": 1.6}
"""Heights that a cycle of movement goes."""
SECONDS = {"standing": 3.0, "talking": 1.6, "fighting": 0.9, "sitting": 4.0, "lying": 4.0}
"""That a cycle in one place takes."""
ACTIVITIES = (*POSES, "car", "van", "fire")
"""What a frame may show."""


@dataclass(frozen=True)
class Part:
    """A part of what somebody does: so many frames, so many pixels a frame, to the right; facing: 1 right, -1 left.
    of "falling", backwards where getting up."""
    activity: str
    frames: int
    step: float = 0.0
    facing: int = 1
    backwards: bool = False


@dataclass
class Actor:
    """Somebody who does one thing after another: from frame `begin` on, at x, their feet on a row."""
    wears: Looks
    height: int
    row: int
    x: float
    begin: int
    parts: Sequence[Part]
    _sprites: dict[tuple[str, int, int], Sprite] = field(default_factory=dict)

    def at(self, k: int) -> tuple[str, int, int, float] | None:
        """(activity, step of its cycle, facing, x) in frame k; None before and after."""
        k, x = k - self.begin, self.x
        if k < 0:
            return None
        for part in self.parts:
            if k < part.frames:
                return part.activity, self._cycle(part, k), part.facing, x + part.step * k
            k, x = k - part.frames, x + part.step * part.frames
        return None

    def _cycle(self, part: Part, k: int) -> int:
        if part.activity == "falling":
            done = (k + 1) / part.frames
            return round((1 - done if part.backwards else done) * (STEPS - 1))
        if part.activity in STRIDES:
            return int(abs(part.step) * k / (STRIDES[part.activity] * self.height) * STEPS) % STEPS
        return int(k / (SECONDS[part.activity] * RATE) * STEPS) % STEPS

    def draw(self, frame: Array, k: int) -> str | None:
        """Draw into frame k; what they do, where something of them is in it."""
        if (now := self.at(k)) is None:
            return None
        activity, step, facing, x = now
        left, top = round(x) - foot(self.height)[0], self.row - foot(self.height)[1]
        if not -1.5 * self.height < left + self.height * 0.5 < WIDTH:
            return None
        self._sprite(activity, step, facing).onto(frame, left, top)
        return activity if 0 <= x < WIDTH else None

    def _sprite(self, activity: str, step: int, facing: int) -> Sprite:
        key = activity, step, facing
        if key not in self._sprites:
            phase = step / (STEPS - 1) if activity == "falling" else tau * step / STEPS
            made = figures.person(POSES[activity](phase), self.wears, self.height, activity == "cycling")
            self._sprites[key] = made if facing > 0 else made.mirrored()
        return self._sprites[key]


@dataclass(frozen=True)
class Vehicle:
    """A car on the road, or a van on the square, from frame `begin` on. foot: the row of its picture that its wheels stand on."""
    sprite: Sprite
    row: int
    begin: int
    step: float
    name: str
    foot: int

    def draw(self, frame: Array, k: int) -> str | None:
        width, gone = self.sprite.width, self.step * (k - self.begin)
        left = gone - width if self.step > 0 else WIDTH + gone
        if k < self.begin or not -width < left < WIDTH:
            return None
        self.sprite.onto(frame, round(left), self.row - self.foot)
        return self.name if -0.6 * width < left < WIDTH - 0.4 * width else None


Cast = Actor | Vehicle | Fire


@dataclass
class Scene:
    """length: frames. kind: of the anomaly, or None. interval: its frames, (start, end)."""
    length: int
    kind: str | None
    interval: tuple[int, int] | None
    place: Square
    cast: Sequence[Cast]

    @classmethod
    def drawn(cls, seed: int, kind: str | None = None, seconds: float = 26.0) -> Scene:
        """The scene of a seed."""
        rng = np.random.RandomState([seed, 1 + (KINDS.index(kind) if kind else len(KINDS))])
        length, place = round(seconds * RATE), square(rng)
        cast: list[Cast] = [*_passers(rng, length), *_residents(rng, length, place), *_traffic(rng, length)]
        if kind is None:
            return cls(length, None, None, place, cast)
        start = int(rng.uniform(0.25, 0.5) * length)
        added, end = ANOMALIES[kind](rng, place, start)
        return cls(length, kind, (start, min(end, length)), place, [*cast, *added])

    def frames(self) -> Iterator[Array]:
        """(270, 480, 3) uint8, one after the other."""
        for frame, _ in self.shown():
            yield frame

    def shown(self) -> Iterator[tuple[Array, set[str]]]:
        """Each frame, with the activities that are to be seen in it."""
        ordered = sorted((*self.cast, *self.place.things), key=lambda one: one.row)
        for k in range(self.length):
            frame, seen = self.place.ground.copy(), set()
            for one in ordered:
                if not isinstance(one, Thing):
                    seen.add(one.draw(frame, k))
                else:
                    one.sprite.onto(frame, one.left, one.top)
            yield frame, seen - {None}


def _row(rng: np.random.RandomState, first: int = 156) -> int:
    return int(rng.randint(first, HEIGHT - 6))


def _height(row: int) -> int:
    """Of somebody whose feet are on a row."""
    return int(44 + 0.42 * (row - 140))


def _crossing(rng: np.random.RandomState, activity: str, begin: int, speed: float, row: int | None = None,
              facing: int = 0) -> Actor:
    """Somebody who crosses the square, at so many heights a second."""
    row, facing = row or _row(rng), facing or int(rng.choice((-1, 1)))
    height = _height(row)
    step, margin = speed * height / RATE, height
    return Actor(figures.looks(rng), height, row, -margin if facing > 0 else WIDTH + margin, begin,
                 (Part(activity, int((WIDTH + 2 * margin) / step) + 1, facing * step, facing),))


def _passers(rng: np.random.RandomState, length: int) -> Iterator[Actor]:
    """Who walk over the square, and now and then a cyclist."""
    now, between = -9.0 * RATE, rng.uniform(1.6, 3.2)
    while now < length:
        fast = rng.random_sample() < 0.12
        speed = rng.uniform(1.7, 2.3) if fast else rng.uniform(0.6, 0.95)
        yield _crossing(rng, "cycling" if fast else "walking", int(now), speed)
        now += RATE * between * rng.uniform(0.4, 1.6)


def _residents(rng: np.random.RandomState, length: int, place: Square) -> Iterator[Actor]:
    """Who sit on the bench, stand about, or talk."""
    for side in (-16, 14):
        if rng.random_sample() < 0.45:
            x, row = place.bench
            yield Actor(figures.looks(rng), _height(row), row + 2, x + side, 0,
                        (Part("sitting", length, 0.0, int(rng.choice((-1, 1)))),))
    if rng.random_sample() < 0.4:
        yield Actor(figures.looks(rng), _height(row := _row(rng)), row, rng.uniform(40, WIDTH - 40), 0,
                    (Part("standing", length, 0.0, int(rng.choice((-1, 1)))),))
    if rng.random_sample() < 0.6:
        yield from _pair(rng, "talking", 0, length, 0.26)


def _pair(rng: np.random.RandomState, activity: str, begin: int, frames: int, apart: float) -> list[Actor]:
    """Two who face each other."""
    row, x = _row(rng, 185 if activity == "fighting" else 156), rng.uniform(90, WIDTH - 90)
    height = _height(row)
    return [Actor(figures.looks(rng), height, row + side, x - side * apart * height, begin - 8 * (side > 0),
                  (Part(activity, frames + 8 * (side > 0), 0.0, side),)) for side in (1, -1)]


def _traffic(rng: np.random.RandomState, length: int) -> Iterator[Vehicle]:
    now = -4.0 * RATE
    while now < length:
        lane = int(rng.randint(2))
        paint = figures.PAINTS[rng.randint(len(figures.PAINTS))]
        size = 64 + 8 * lane
        sprite = figures.vehicle(size, paint, van=rng.random_sample() < 0.2)
        step = rng.uniform(2.6, 4.2) * (1 if lane else -1)
        yield Vehicle(sprite if lane else sprite.mirrored(), LANES[lane], int(now), step, "car", figures.wheels(size))
        now += RATE * rng.uniform(1.5, 7.0)


def _running(rng: np.random.RandomState, place: Square, start: int) -> tuple[list[Actor], int]:
    """Some who run across, one after the other."""
    facing, cast, begin = int(rng.choice((-1, 1))), [], float(start)
    for _ in range(int(rng.randint(3, 6))):
        cast.append(_crossing(rng, "running", int(begin), rng.uniform(2.2, 2.8), _row(rng, 180), facing))
        begin += RATE * rng.uniform(0.5, 1.3)
    return cast, max(actor.begin + actor.parts[0].frames for actor in cast)


def _fighting(rng: np.random.RandomState, place: Square, start: int) -> tuple[list[Actor], int]:
    """Two who meet, and fight; then both walk off."""
    frames = int(RATE * rng.uniform(6, 9))
    cast = _pair(rng, "fighting", start, frames, 0.27)
    for actor, phase in zip(cast, (0, 5)):
        (part,) = actor.parts
        side, step, near = part.facing, 0.85 * actor.height / RATE, 3 * RATE
        actor.x, actor.begin = actor.x - side * step * near, start - near
        actor.parts = (Part("walking", near + phase, side * step * near / (near + phase), side),
                       Part("fighting", frames - phase, 0.0, side), Part("walking", 13 * RATE, -side * step, -side))
    return cast, start + frames


def _fire(rng: np.random.RandomState, place: Square, start: int) -> tuple[list[Fire], int]:
    frames = int(RATE * rng.uniform(7, 10))
    x, row = place.bin
    return [Fire(x, row, start, frames, int(rng.randint(2**31)))], start + frames


def _driving(rng: np.random.RandomState, place: Square, start: int) -> tuple[list[Vehicle], int]:
    """A van, or a car, over the square."""
    row, facing = int(rng.randint(190, 250)), int(rng.choice((-1, 1)))
    length, step = int(1.9 * _height(row)), rng.uniform(3.6, 5.2)
    sprite = figures.vehicle(length, figures.PAINTS[rng.randint(len(figures.PAINTS))], van=rng.random_sample() < 0.6)
    made = Vehicle(sprite if facing > 0 else sprite.mirrored(), row, start, facing * step, "van", figures.wheels(length))
    return [made], start + int((WIDTH + sprite.width) / step) + 1


def _falling(rng: np.random.RandomState, place: Square, start: int) -> tuple[list[Actor], int]:
    """Somebody walks, falls, lies there, gets up and walks on."""
    row, facing = _row(rng, 185), int(rng.choice((-1, 1)))
    height, lying = _height(row), int(RATE * rng.uniform(4.5, 7.5))
    step, x = 0.8 * height / RATE, rng.uniform(140, WIDTH - 140)
    before = int(RATE * 4)
    parts = (Part("walking", before, facing * step, facing), Part("falling", 16, 0.0, facing),
             Part("lying", lying, 0.0, facing), Part("falling", 34, 0.0, facing, backwards=True), Part("walking", 12 * RATE, facing * step, facing))
    return [Actor(figures.looks(rng), height, row, x - facing * step * before, start - before, parts)], start + 16 + lying + 34


ANOMALIES: dict[str, Callable[..., tuple[Sequence[Cast], int]]] = {
    "running": _running, "fighting": _fighting, "fire": _fire, "driving": _driving, "falling": _falling}
"""Each gives who brings the anomaly that begins at a frame, and where it ends."""
