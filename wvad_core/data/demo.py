"""The demo set: a small dataset made from a seed, to try everything without a download.

    Dataset.open("demo", demo_features(), split="test")

Its table is bundled (tables/demo.csv), its features are written when they are first asked for, in the published layout
with ten crops a video, and demo/ has a checkpoint trained on it for some methods (tools/train_demo.py).

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

import hashlib
import os
import shutil
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..methods import module_name
from .annotations import COLUMNS, SNIPPET, Video

Array = np.ndarray

SEED = 7
FEATURE_DIM = 32
CROPS = 10
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


def demo_features(folder: str | Path | None = None) -> Path:
    """The folder with the features of all the demo set's videos, which is written first where it is not there.

    folder: by default one in the user's cache ($XDG_CACHE_HOME or ~/.cache), of this version of the demo set.
    The folder appears whole or not at all; several processes may ask for it at once.
    Raises InputError when it cannot be written, or holds other files without the demo set's.
    """
    folder = Path(folder) if folder is not None else _cache()
    if _is_complete(folder):
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: not the whole demo set, expected that, an empty folder or none")
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        for video in tqdm(demo_videos(), "writing the demo set", unit="video", leave=False, disable=None, delay=2):
            for crop, features in enumerate(_features(video)):
                np.save(temporary / f"{video.name}__{crop}.npy", features)
        temporary.rename(folder)
    except OSError as error:
        if not _is_complete(folder):  # else another process was first
            raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def demo_checkpoint(method: str) -> Path:
    """The bundled checkpoint of a method, trained on the demo set. Raises InputError where there is none."""
    folder = Path(__file__).with_suffix("")
    path = folder / f"{module_name(method)}.safetensors"
    if not path.is_file():
        found = ", ".join(sorted(file.stem.replace("_", "-") for file in folder.glob("*.safetensors")))
        raise InputError(f"the demo set has no checkpoint of {method}, expected one of {found}")
    return path


def demo_table() -> str:
    """The text of tables/demo.csv. As in the published tables, only test videos have their intervals."""
    lines = [",".join(COLUMNS)]
    lines += [f"{video.name},{video.split},{video.category},{video.frames},"
              + " ".join(f"{start}-{end}" for start, end in video.intervals) for video in demo_videos()]
    return "\n".join(lines) + "\n"


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


def _features(video: Video) -> Array:
    """The features of a video, (N, T, D) float32."""
    rng, snippets = _stream(video.name, "features"), -(-video.frames // SNIPPET)
    site = _sites()[rng.randint(SITES)] * _between(rng, 0.9, 1.1, FEATURE_DIM)
    x = np.repeat((site + 0.05 * _line(rng, snippets, FEATURE_DIM))[None], CROPS, axis=0)
    for shown, pattern in _events(video, snippets, rng):
        times = np.flatnonzero(shown)
        seen = _between(rng, 0.6, 1.0, CROPS, 1, 1)
        x[:, times] += seen * shown[times, None] * pattern
    x *= _between(rng, 0.9, 1.1, CROPS, 1, FEATURE_DIM)
    x *= 1 + 0.5 * _line(rng, snippets, 1)
    x += 0.2 * _noise(rng, 1, snippets, FEATURE_DIM) + 0.4 * _noise(rng, CROPS, snippets, FEATURE_DIM)
    return np.maximum(x - 0.2, 0).astype(np.float32)


def _events(video: Video, snippets: int, rng: np.random.RandomState) -> Iterator[tuple[Array, Array]]:
    """How much each event shows in each snippet, (T,), and its pattern, (D,): the anomalies, then harmless events."""
    harmless = np.ones(snippets)
    intervals = _intervals(video.name, video.frames) if video.abnormal else ()
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


def _between(rng: np.random.RandomState, low: float, high: float, *shape: int) -> Array | float:
    return low + (high - low) * rng.random_sample(shape or None)


def _stream(*names: str) -> np.random.RandomState:
    """Random numbers of their own for everything that has a name."""
    return np.random.RandomState([SEED, *(zlib.crc32(name.encode()) for name in names)])


def _cache() -> Path:
    """A folder named after this file's hash, so that a changed generator never meets the files of an older one."""
    parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "wvad")
    return parent / f"demo-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]}"


def _is_complete(folder: Path) -> bool:
    found = set(os.listdir(folder)) if folder.is_dir() else set()
    return found.issuperset(f"{video.name}__{crop}.npy" for video in demo_videos() for crop in range(CROPS))
