"""A detector's threshold, chosen on normal videos: every event that it finds there is a false alarm."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..checkpoints.threshold import GAP, MINIMUM, Threshold, by_hand
from ..data.annotations import load_table
from ..data.features import open_features
from ..errors import InputError, listing
from .events import find_events
from .inputs import Input, with_origins
from .videos import ScoredVideo

Array = np.ndarray
MOST = 2000
"""Thresholds that are tried, of all scores; of more scores the highest are tried most densely."""


def choose(videos: Sequence[ScoredVideo], wanted_rate: float, minimum: float = MINIMUM, gap: float = GAP) -> Threshold:
    """The lowest threshold, of the scores themselves, at which normal videos have at most `wanted_rate` events an hour, and at
    all higher ones too: after hysteresis, with gaps closed, of at least the minimum length (`events.find_events`). It is higher
    than half of the snippets: below that, what never ends would count as one alarm.

    wanted_rate: false alarms an hour, 0 or more. minimum, gap: seconds. Where even the highest score makes too many, the
    threshold lies above it. Raises InputError for videos whose frame rate, and so whose length, is not known.
    """
    unknown = [video.name for video in videos if not video.frame_rate]
    if unknown or not videos:
        raise InputError(f"{len(unknown)} of {len(videos)} videos have no known frame rate, expected one to count false alarms an "
                         f"hour by; --fps gives it\n  {listing(unknown, 5)}" if unknown else "no videos, expected at least one")
    scores, times = _timeline(videos, gap)
    hours = sum(float(video.times[-1] - video.times[0]) for video in videos) / 3600
    best, false_alarms = _threshold(float(np.nextafter(scores.max(), np.inf)), minimum, gap), 0
    for high in _candidates(scores[np.isfinite(scores)]):
        tried = _threshold(float(high), minimum, gap)
        found = len(find_events(scores, times, tried))
        if found > wanted_rate * hours:
            break
        best, false_alarms = tried, found
    return Threshold(best.high, best.low, minimum, gap, false_alarms, len(videos), hours, wanted_rate)


def normal_inputs(table: str, features: str, split: str) -> tuple[Input, ...]:
    """The normal videos of a table's split, with their features in a folder. Raises InputError where there are none."""
    videos = load_table(table)
    normal = [video for video in videos if video.split == split and video.abnormal is False]
    if not normal:
        raise InputError(f"{table}: no normal {split} videos among its {len(videos)}, expected at least one")
    others = [video for video in videos if video not in normal]
    handles = open_features(features, normal, others)
    return tuple(with_origins(Path(features), (
        Input(video.name, str(handles[video.name].files[0]), handles[video.name], video.frame_rate) for video in normal)))


def _threshold(high: float, minimum: float, gap: float) -> Threshold:
    return by_hand(high, minimum=minimum, gap=gap)


def _timeline(videos: Sequence[ScoredVideo], gap: float) -> tuple[Array, Array]:
    """All videos as one, with more than a gap between them, in which there is no score."""
    scores, times, now = [], [], 0.0
    for video in videos:
        scores += [np.asarray(video.scores, np.float64), np.array([-np.inf])]
        times.append(now + video.times - video.times[0])
        now = float(times[-1][-1]) + 2 * gap + 1
    return np.concatenate(scores), np.concatenate([*times, [now]])


def _candidates(scores: Array) -> Array:
    """The scores that are tried, from the highest on down to the median."""
    distinct = np.unique(scores[scores > np.median(scores)])[::-1]
    if len(distinct) <= MOST:
        return distinct
    return distinct[np.unique(np.geomspace(1, len(distinct), MOST).round().astype(int)) - 1]
