"""Scoring a dataset: every video's anomaly scores, and the metrics over all frames."""
from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import metrics
from .checkpoints.contents import digest
from .data.annotations import SNIPPET
from .data.dataset import Dataset, Item, deal
from .detector import Detector
from .errors import InputError
from .files import plain, write_json, written_whole
from .methods import specification

Array = np.ndarray

# What a report holds, in its order, as people call it.
TITLES = {
    "auc": "AUC", "ap": "AP (trapezoidal, as published)", "average_precision": "average precision (step rule)",
    "auc_sub": "AUC_sub (abnormal videos)", "ap_sub": "AP_sub (abnormal videos)",
    "false_alarm_rate": "false-alarm rate at 0.5",
    "false_alarm_rate_abnormal": "false-alarm rate at 0.5, abnormal videos",
    "false_alarm_rate_normal": "false-alarm rate at 0.5, normal videos", "video_accuracy": "video accuracy at 0.5"}
AT_ONE_HALF = ("false_alarm_rate", "false_alarm_rate_abnormal", "false_alarm_rate_normal", "video_accuracy")
"""What is taken at the score 0.5, which says something where scores are probabilities, and is left out elsewhere."""


@dataclass(frozen=True, eq=False)
class VideoScores:
    """A scored video. scores (T,): one for each snippet; share (T,): its abnormal share of frames."""
    name: str
    categories: tuple[str, ...]
    abnormal: bool
    scores: Array
    share: Array


@dataclass(frozen=True, eq=False)
class Report:
    """What `evaluate` found.

    metrics: {key of TITLES: value}; a metric that the videos leave undefined is NaN. Those of AT_ONE_HALF are not there
        where the method's scores are no probabilities.
    intervals: {"auc", "ap": (low, high)}, 95 % over videos.
    categories: {category: {"videos": how many, "auc", "ap": over their frames}}, of the anomalous ones.
    undefined: {group of videos: why some metric of it is NaN}.
    about: what was run (see `describe`). videos: in the dataset's order.
    """
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    categories: dict[str, dict[str, float]]
    undefined: dict[str, str]
    about: dict[str, Any]
    videos: tuple[VideoScores, ...] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the scores, ready for JSON: NaN becomes None."""
        return plain({"about": self.about, "metrics": self.metrics, "intervals_95": self.intervals,
                      "categories": self.categories, "undefined": self.undefined})

    def table(self) -> str:
        """The metrics in percent, one a line, with their intervals; then the categories."""
        lines = [f"{'':<42}{'percent':>9}   95 % interval over videos"]
        lines += [f"{TITLES[key]:<42}{percent(value):>9}{self._interval(key)}" for key, value in self.metrics.items()]
        if self.categories:
            lines += ["", f"{'category':<28}{'videos':>8}{'AUC':>9}{'AP':>9}"]
            lines += [f"{name:<28}{found['videos']:>8}{percent(found['auc']):>9}{percent(found['ap']):>9}"
                      for name, found in self.categories.items()]
        if self.undefined:
            lines += ["", *(f"nan for {name}: {reason}" for name, reason in self.undefined.items())]
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write report.json and scores.npz into a folder, each whole or not at all.

        scores.npz has two arrays for each video, of one number for each snippet of 16 frames: NAME/scores, its anomaly
        scores, and NAME/share, the abnormal share of its frames. `pictures.draw` adds pictures.
        """
        folder = Path(folder)
        arrays = {f"{v.name}/{kind}": values for v in self.videos
                  for kind, values in (("scores", v.scores), ("share", v.share))}
        with written_whole(folder / "scores.npz") as path:
            np.savez(path, **arrays)
        write_json(folder / "report.json", self.as_dict())

    def _interval(self, key: str) -> str:
        return "   {} to {}".format(*map(percent, self.intervals[key])) if key in self.intervals else ""


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def evaluate(detector: Detector, dataset: Dataset, replicates: int = 1000, seed: int = 0,
             about: Mapping[str, Any] | None = None) -> Report:
    """Score every video of a test set and compute the metrics over all its frames together.

    All features are checked to be finite first. While one video is scored the next is read. `replicates` and `seed`
    are those of the bootstrap over videos. about: facts to add to those of `describe` in the report.
    Several processes share the videos out, and all give the same report, but for the device and the seconds it names.
    Raises InputError for features that are not finite, and for a video whose scores are not; in all processes alike.
    """
    facts = describe(detector, dataset) | dict(about or {})
    check_finite(detector, dataset)
    start = time.perf_counter()
    videos = scored(detector, dataset)
    return summarise(videos, facts | {"seconds": time.perf_counter() - start}, replicates, seed,
                     specification(detector.method).PROBABILITIES)


def scored(detector: Detector, dataset: Dataset) -> tuple[VideoScores, ...]:
    """The scores of every video, in the dataset's order. Shares the videos out, and raises, as `evaluate` does."""
    check_finite(detector, dataset)
    share, bar = _share(detector, dataset)
    scores = [np.empty(0, np.float32)]
    for _, features in bar(share.prefetched(), desc="scoring"):
        scores.append(detector.score(features))
        if not np.isfinite(scores[-1]).all():
            break  # the error is raised below, once all processes know
    return tuple(_scored(item, found) for item, found in zip(dataset, _gathered(detector, dataset, scores)))


def _share(detector: Detector, dataset: Dataset) -> tuple[Dataset, Callable[..., Iterable]]:
    """This process's share of the videos, and a progress bar over it."""
    rank, size = detector.backend.processes()
    share = dataset.dealt(rank, size)
    return share, partial(tqdm, disable=True if rank else None, leave=False, unit="video", total=len(share))


def check_finite(detector: Detector, dataset: Dataset) -> None:
    """Check all crop axes, then this process's share of the features. Where any process finds a flaw in its own, all of
    them find all flaws.

    What has passed once is not read again.
    """
    dataset.check_crops(detector.config, detector.later, detector.crops)
    share, bar = _share(detector, dataset)
    progress = partial(bar, desc="checking features")
    if share is dataset:
        return dataset.check_finite(progress)
    flawed = 0.0
    try:
        share.check_finite(progress)
    except InputError:
        flawed = 1.0
    if any(detector.backend.gather(np.array([flawed], np.float32))):
        dataset.check_finite()


def _gathered(detector: Detector, dataset: Dataset, scores: list[Array]) -> list[Array]:
    """The scores of all videos in the dataset's order, of those of this process's share."""
    _, size = detector.backend.processes()
    lengths = [item.features.shape[1] for item in dataset]
    found: dict[int, Array] = {}
    for places, together in zip(deal(lengths, size), detector.backend.gather(np.concatenate(scores))):
        found |= zip(places.tolist(), np.split(together, np.cumsum([lengths[place] for place in places])[:-1]))
    return [found[place] for place in range(len(dataset))]


def describe(detector: Detector, dataset: Dataset) -> dict[str, Any]:
    """What an evaluation of these is about: method, configuration, framework, versions, device, data, weights."""
    framework = detector.backend.versions()
    versions = {"wvad": version("wvad"), "python": platform.python_version(), "numpy": np.__version__} | framework
    return {"method": detector.method, "config": detector.config.as_dict(), "backend": detector.backend_name,
            "framework": framework, "versions": versions, "device": detector.backend.device(detector.network),
            "precision": detector.precision, "dataset": dataset.name, "videos": len(dataset),
            "frames": SNIPPET * sum(item.features.shape[1] for item in dataset),
            "weights_sha256": digest(detector.weights())}


def _scored(item: Item, scores: Array) -> VideoScores:
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise InputError(f"{item.video.name}: the anomaly score of snippet {wrong[0]} is {scores[wrong[0]]}, "
                         "expected a finite number; the checkpoint's weights or the features are out of range")
    return VideoScores(item.video.name, item.video.categories, item.abnormal, scores, item.share)


def summarise(videos: tuple[VideoScores, ...], about: dict[str, Any], replicates: int = 1000, seed: int = 0,
              probabilities: bool = True) -> Report:
    """The report of scored videos. probabilities: whether their scores are, as the method's PROBABILITIES says."""
    everything, abnormal, normal = _groups(videos)
    intervals = metrics.bootstrap_intervals(everything.share, everything.scores, None, everything.video,
                                            replicates, seed)
    parts = {name: Frames([v for v in videos if name in v.categories])
             for name in sorted({name for v in videos if v.abnormal for name in v.categories})}
    categories = {name: {"videos": part.count, "auc": part.of(metrics.roc_auc), "ap": part.of(metrics.pr_auc)}
                  for name, part in parts.items()}
    ranked = {"all videos": everything, "abnormal videos": abnormal} | parts
    reasons = {name: part.undefined() for name, part in ranked.items()}
    if probabilities and not normal.count:
        reasons["normal videos"] = normal.undefined()
    undefined = {name: reason for name, reason in reasons.items() if reason}
    return Report(metrics_of(videos, probabilities), intervals, categories, undefined, about, videos)


def metrics_of(videos: Iterable[VideoScores], probabilities: bool) -> dict[str, float]:
    """{key of TITLES: value} over all frames of scored videos; without those of AT_ONE_HALF unless scores are probabilities."""
    videos = list(videos)
    everything, abnormal, normal = _groups(videos)
    found = {"auc": everything.of(metrics.roc_auc), "ap": everything.of(metrics.pr_auc),
             "average_precision": everything.of(metrics.average_precision),
             "auc_sub": abnormal.of(metrics.roc_auc), "ap_sub": abnormal.of(metrics.pr_auc)}
    if not probabilities:
        return found
    accuracy = metrics.video_accuracy([v.abnormal for v in videos], [v.scores.max() for v in videos])
    rates = (part.of(metrics.false_alarm_rate) for part in (everything, abnormal, normal))
    return found | dict(zip(AT_ONE_HALF, (*rates, accuracy)))


def _groups(videos: Iterable[VideoScores]) -> tuple[Frames, Frames, Frames]:
    """The frames of all videos, of the abnormal and of the normal ones."""
    videos = list(videos)
    return Frames(videos), Frames([v for v in videos if v.abnormal]), Frames([v for v in videos if not v.abnormal])


class Frames:
    """The snippets of some videos end to end; every snippet has the same number of frames, so none needs a weight."""

    def __init__(self, videos: Iterable[VideoScores]):
        videos = list(videos)
        self.count = len(videos)
        self.scores = np.concatenate([v.scores for v in videos]) if videos else np.empty(0)
        self.share = np.concatenate([v.share for v in videos]) if videos else np.empty(0)
        self.video = np.repeat(np.arange(self.count), [len(v.scores) for v in videos])

    def of(self, metric: Any) -> float:
        return metric(self.share, self.scores) if self.count else math.nan

    def undefined(self) -> str | None:
        return metrics.undefined_reason(self.share) if self.count else "no such video"
