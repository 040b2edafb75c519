"""How well a method tells the classes of anomalies apart: over frames, over segments in time, and over videos."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.annotations import SNIPPET
from . import metrics
from .detection import mean_average_precision
from .evaluation import VideoScores

Array = np.ndarray
NORMAL = "Normal"
"""What tables call the class of all that is no anomaly."""
TOP = 16
"""The T // 16 + 1 highest probabilities of a class, of T snippets, stand for a video."""


def unknown_reason(videos: Sequence[VideoScores], names: Sequence[str]) -> str | None:
    """Why classes cannot be evaluated over frames and segments, in words; None where they can."""
    without = [video.name for video in videos if video.class_segments is None]
    if without:
        others = f" and {len(without) - 1} more videos" if len(without) > 1 else ""
        return f"the segments of {without[0]}{others} are not known"
    found = {category for video in videos for category, _, _ in video.class_segments or ()} - {NORMAL}
    return None if found & set(names) else "no segment of any of them"


def class_aucs(videos: Sequence[VideoScores], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """{class: {"segments": how many it has, "auc": area under the ROC curve of its probability over all frames}}.

    A class's frames are those of its segments, against all others; those of Normal are all that no other class's segment
    covers. NaN where there is none, or nothing else.
    """
    found = {}
    for column, name in enumerate(names):
        labels = np.concatenate([_fractions(video, name) for video in videos])
        scores = np.concatenate([_probabilities(video)[:, column] for video in videos])
        count = sum(category == name for video in videos for category, _, _ in video.class_segments or ())
        found[name] = {"segments": count, "auc": metrics.roc_auc(labels, scores)}
    return found


def detection(videos: Sequence[VideoScores], names: Sequence[str]) -> dict[str, float]:
    """`mean_average_precision` over the segments of all classes; those of other categories are left out."""
    index = {name: column for column, name in enumerate(names)}
    return mean_average_precision([_probabilities(video) for video in videos], [
        [(index[category], start, end) for category, start, end in video.class_segments or () if category in index]
        for video in videos])


def confusion(videos: Sequence[VideoScores], names: Sequence[str]) -> Array:
    """(K, K) int: how many videos of each category, by row, each class is predicted for, by column.

    Predicted is the class whose T // 16 + 1 highest probabilities have the largest mean. A video of several categories is in
    the row of each; one of none of the classes is left out.
    """
    counts = np.zeros((len(names), len(names)), int)
    for video in videos:
        highest = np.sort(_probabilities(video), 0)[-(len(video.scores) // TOP + 1):]
        predicted = int(highest.mean(0).argmax())
        for category in set(video.categories) & set(names):
            counts[list(names).index(category), predicted] += 1
    return counts


def _probabilities(video: VideoScores) -> Array:
    assert video.class_probabilities is not None
    return video.class_probabilities


def _fractions(video: VideoScores, name: str) -> Array:
    """(T,): the fraction of each snippet's frames that is of a class."""
    drawn = np.zeros(SNIPPET * len(video.scores), bool)
    for category, start, end in video.class_segments or ():
        if category == name or name == NORMAL != category:
            drawn[start:end] = True
    return (drawn != (name == NORMAL)).reshape(-1, SNIPPET).mean(1)
