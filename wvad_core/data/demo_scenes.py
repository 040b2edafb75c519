"""What the demo set shows: its videos and their features, drawn from a seed.

Features look like pooled I3D activations: not negative, many of them 0, smooth in time. A video shows one of a few
sites, on which activities follow one another without a pause. Snippet t of crop n is

    y[n, t] = site + drift[t] + sum_e seen[e, n] * shown[e, t] * pattern[e]
    x[n, t] = relu(gain[n] * light[t] * y[n, t] + noise[n, t] - 0.2)

over the events e, each shown for a while at a strength of its own. The pattern of an activity drives two groups of
channels, g and h, whose balance b leans to either side, mostly by little:

    pattern = ((1 + b) g + (1 - b) h) / (1 + b^2 / 3)

An anomaly is one of these very activities far out of balance; which activity and to which side is its category. It is
as strong as a harmless event, and over the categories the mean of every channel is about that of harmless ones:
magnitudes and fresh networks are near 0.5 AUC. Events that crops hide, annotations wider than the event, and short
events in a changing light keep a trained network from 1.

All values come from RandomState's uniform numbers, a stream that NumPy has frozen, by + - * / and comparisons, which
IEEE 754 rounds in one way only: every machine makes the same bits.
"""
from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import Any, cast

import numpy as np

from .annotations import SNIPPET, Video

Array = np.ndarray

SEED = 7
FEATURE_DIM = 32
CROPS = 10
GRIDS = ((2, 3), (3, 5), (4, 7))
"""Rows and columns of the patches."""
CATEGORIES = ("Arson", "Explosion", "Fighting", "Robbery")
ACTIVITIES = 2
"""Each turns into two of the categories, by the side to which its balance is lost."""
SITES = 4
GROUP = np.linspace(1.2, 0.8, 4)
"""Strengths of a group's channels."""
LENGTHS = {("train", True): (1, 5), ("train", False): (1, 3), ("test", True): (2100, 1, 4), ("test", False): (1, 2, 5)}
"""Snippets of the first abnormal (True) and normal (False) videos of each split; those of the others are drawn."""
COUNTS = {"train": 40, "test": 12}
"""Videos of each class."""


@cache
def demo_videos() -> tuple[Video, ...]:
    """The videos of the demo set, drawn from its seed: what `load_table("demo")` reads."""
    rng, numbers, videos = _stream("table"), Counter(), []
    for split, count in COUNTS.items():
        for abnormal in (True, False):
            lengths = LENGTHS[split, abnormal]
            lengths += tuple(20 + int(180 * u * u) for u in rng.random_sample(count - len(lengths)))
            for i, snippets in enumerate(lengths):
                kind = CATEGORIES[i % len(CATEGORIES)] if abnormal else "Normal"
                # all kinds in the long video: a single one would outweigh the others' videos
                category = "-".join(CATEGORIES) if abnormal and snippets > 1000 else kind
                numbers[kind] += 1
                name, frames = f"{kind}{numbers[kind]:03}", SNIPPET * snippets - rng.randint(SNIPPET)
                known = _intervals(name, frames) if abnormal and split == "test" else ()
                videos.append(Video(name, split, category, frames, known))
    return tuple(videos)


def _intervals(name: str, frames: int) -> tuple[tuple[int, int], ...]:
    """The anomalous intervals of an abnormal video, in frames: one in each of some equal parts of it."""
    rng = _stream(name, "intervals")
    parts = min(max(frames // (50 * SNIPPET), 1), 8)
    size, intervals = frames // parts, []
    for part in range(parts):
        length = max(int(size * _between(rng, 0.15, 0.4)), min(3 * SNIPPET, size))
        start = part * size + int((size - length) * rng.random_sample())
        intervals.append((start, start + length))
    return tuple(intervals)


def crop_features(video: Video) -> Array:
    """The features of a video's crops, (N, T, D) float32."""
    return _seen_through(_scene(video))


def patch_features(video: Video) -> Array:
    """The features of a video's patches, (patches, T, D) float32: the grids of `GRIDS`, each row by row.

    An event has a place in the frame, and shows in a patch the more the nearer it is.
    """
    rng, scene = _stream(video.name, "patches"), _scene(video)
    rows, columns = (np.concatenate(part) for part in zip(*(_centres(*grid) for grid in GRIDS)))
    seen = []
    for _ in scene.events:
        row, column = rng.random_sample(2)
        far = (rows - row) * (rows - row) + (columns - column) * (columns - column)
        seen.append(1.5 * np.maximum(1 - 2 * far, 0)[:, None, None])
    gain = _between(rng, 0.9, 1.1, len(rows), 1, FEATURE_DIM)
    return _seen_through(dataclasses.replace(scene, seen=tuple(seen), gain=gain, rng=rng))


def _centres(rows: int, columns: int) -> tuple[Array, Array]:
    """Where the middles of a grid's patches lie in the frame, from 0 to 1: down and across, row by row."""
    down, across = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    return np.repeat(down, columns), np.tile(across, rows)


@dataclass(frozen=True)
class _Scene:
    """What a video shows, and how its crops, or patches, see it.

    base: the site, (T, D). events: when and how much each shows, (T,), and its pattern, (D,). seen: how much of each
    the crops see, (N, 1, 1). gain (N, 1, D), light (T, 1). rng: of the noise.
    """
    base: Array
    events: tuple[tuple[Array, Array], ...]
    seen: tuple[Array, ...]
    gain: Array
    light: Array
    rng: np.random.RandomState


def _scene(video: Video) -> _Scene:
    rng, snippets = _stream(video.name, "features"), -(-cast(int, video.frames) // SNIPPET)
    site = _sites()[rng.randint(SITES)] * _between(rng, 0.9, 1.1, FEATURE_DIM)
    base, events, seen = site + 0.05 * _line(rng, snippets, FEATURE_DIM), [], []
    for event in _events(video, snippets, rng):
        events.append(event)
        seen.append(_between(rng, 0.6, 1.0, CROPS, 1, 1))
    gain = _between(rng, 0.9, 1.1, CROPS, 1, FEATURE_DIM)
    return _Scene(base, tuple(events), tuple(seen), gain, 1 + 0.5 * _line(rng, snippets, 1), rng)


def _seen_through(scene: _Scene) -> Array:
    """The features of a scene, (N, T, D) float32."""
    x = np.repeat(scene.base[None], len(scene.gain), axis=0)
    for (shown, pattern), seen in zip(scene.events, scene.seen):
        times = np.flatnonzero(shown)
        x[:, times] += seen * shown[times, None] * pattern
    x *= scene.gain
    x *= scene.light
    x += 0.2 * _noise(scene.rng, 1, *x.shape[1:]) + 0.4 * _noise(scene.rng, *x.shape)
    return np.maximum(x - 0.2, 0).astype(np.float32)


def _events(video: Video, snippets: int, rng: np.random.RandomState) -> Iterator[tuple[Array, Array]]:
    """How much each event shows in each snippet, (T,), and its pattern, (D,): the anomalies, then harmless events."""
    harmless = np.ones(snippets)
    intervals = _intervals(video.name, cast(int, video.frames)) if video.abnormal else ()
    for (start, end), category in zip(intervals, cycle(video.categories)):
        activity, side = divmod(CATEGORIES.index(category), 2)
        length = (end - start) / SNIPPET
        visible = _between(rng, 0.9, 1.0) * length
        first = start / SNIPPET + (length - visible) * rng.random_sample()
        shown = _shown(snippets, first, first + visible)
        harmless = np.minimum(harmless, 1 - shown)
        yield _between(rng, 0.7, 1.3) * shown, _pattern(activity, (1 - 2 * side) * _between(rng, 0.9, 1.0))
    start = -_between(rng, 0, 10)
    while start < snippets:
        end, lean = start + _between(rng, 4, 20), _between(rng, -1, 1)
        shown = _between(rng, 0.7, 1.3) * _shown(snippets, start, end) * harmless
        yield shown, _pattern(rng.randint(ACTIVITIES), 0.5 * lean * abs(lean))
        start = end


def _shown(snippets: int, start: float, end: float) -> Array:
    """How much an event from start to end shows in each snippet, (T,): it comes and goes within two snippets."""
    middle = np.arange(snippets) + 0.5
    return np.clip(np.minimum((middle - start) / 2 + 0.5, (end - middle) / 2 + 0.5), 0, 1)


def _pattern(activity: int, balance: float) -> Array:
    """The channels that an activity drives, (D,)."""
    one, other = _groups()[activity]
    return ((1 + balance) * one + (1 - balance) * other) / (1 + balance * balance / 3)


@cache
def _groups() -> Array:
    """The two groups of channels of each activity, (activities, 2, D)."""
    channels = _stream("groups").permutation(FEATURE_DIM)[:ACTIVITIES * 2 * len(GROUP)]
    groups = np.zeros((ACTIVITIES * 2, FEATURE_DIM))
    groups[np.arange(len(channels)) // len(GROUP), channels] = np.tile(GROUP, ACTIVITIES * 2)
    return groups.reshape(ACTIVITIES, 2, FEATURE_DIM)


@cache
def _sites() -> Array:
    """The activations of the places, (sites, D): every second channel or so is active."""
    rng = _stream("sites")
    active = rng.random_sample((SITES, FEATURE_DIM)) < 0.5
    return np.where(active, rng.random_sample((SITES, FEATURE_DIM)), 0.1)


def _line(rng: np.random.RandomState, snippets: int, channels: int) -> Array:
    """A slow change within [-1, 1], (T, channels): straight lines between values 8 snippets apart."""
    values = _between(rng, -1, 1, snippets // 8 + 2, channels)
    before, part = np.arange(snippets) // 8, np.arange(snippets)[:, None] % 8 / 8
    return values[before] * (1 - part) + values[before + 1] * part


def _noise(rng: np.random.RandomState, *shape: int) -> Array:
    """Triangular noise in [-1, 1]."""
    return rng.random_sample(shape) + rng.random_sample(shape) - 1


def _between(rng: np.random.RandomState, low: float, high: float, *shape: int) -> Any:
    return low + (high - low) * rng.random_sample(shape or None)


def _stream(*names: str) -> np.random.RandomState:
    """Random numbers of their own for everything that has a name."""
    return np.random.RandomState([SEED, *(zlib.crc32(name.encode()) for name in names)])
