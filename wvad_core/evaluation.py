"""Scoring a dataset: every video's anomaly scores, and the metrics over all frames."""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from . import metrics
from .checkpoints.safetensors import digest
from .data.annotations import SNIPPET
from .data.dataset import Dataset
from .detector import Detector

Array = np.ndarray

# What a report holds, in its order, as people call it. Rates and accuracy are taken at a score of 0.5.
TITLES = {
    "auc": "AUC", "ap": "AP (trapezoidal, as published)", "average_precision": "average precision (step rule)",
    "auc_sub": "AUC_sub (abnormal videos)", "ap_sub": "AP_sub (abnormal videos)",
    "false_alarm_rate": "false-alarm rate", "false_alarm_rate_abnormal": "false-alarm rate, abnormal videos",
    "false_alarm_rate_normal": "false-alarm rate, normal videos", "video_accuracy": "video accuracy"}


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

    metrics: {key of TITLES: value}; a metric that the videos leave undefined is NaN.
    intervals: {"auc", "ap": (low, high)}, 95 % over videos. categories: {category: {"auc", "ap", "videos"}} of its videos.
    undefined: {group of videos: why some metric of it is NaN}. about: what was run. videos: in the dataset's order.
    """
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    categories: dict[str, dict[str, float]]
    undefined: dict[str, str]
    about: dict[str, Any]
    videos: tuple[VideoScores, ...] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the scores, ready for JSON: NaN becomes None."""
        return _plain({"about": self.about, "metrics": self.metrics, "intervals_95": self.intervals,
                       "categories": self.categories, "undefined": self.undefined})

    def table(self) -> str:
        """The metrics in percent, one a line, with their intervals."""
        lines = []
        for key, value in self.metrics.items():
            interval = "  [{:.2f}, {:.2f}]".format(*(100 * x for x in self.intervals[key])) if key in self.intervals else ""
            lines.append(f"{TITLES[key]:<36}{100 * value:>7.2f}{interval}")
        if self.categories:
            lines += ["", f"{'category':<24}{'videos':>7}{'AUC':>8}{'AP':>8}"]
            lines += [f"{name:<24}{found['videos']:>7}{100 * found['auc']:>8.2f}{100 * found['ap']:>8.2f}"
                      for name, found in self.categories.items()]
        lines += [f"nan, {name}: {reason}" for name, reason in self.undefined.items()]
        return "\n".join(lines)


def evaluate(detector: Detector, dataset: Dataset, replicates: int = 1000, seed: int = 0) -> Report:
    """Score every video of a test set and compute the metrics over all its frames together.

    All features are checked to be finite first. While one video is scored the next is read. `replicates` and `seed`
    are those of the bootstrap over videos.
    """
    bar = partial(tqdm, disable=None, leave=False, unit="video", total=len(dataset))
    dataset.check_finite(partial(bar, desc="checking features"))
    videos = tuple(VideoScores(item.video.name, item.video.categories, item.abnormal, detector.score(features), item.share)
                   for item, features in bar(dataset.prefetched(), desc="scoring"))
    about = {"method": detector.method, "config": detector.config.as_dict(), "backend": detector.backend_name,
             "device": detector.backend.device(detector.network), "dataset": dataset.name, "videos": len(videos),
             "frames": SNIPPET * sum(len(v.scores) for v in videos), "weights_sha256": digest(detector.weights())}
    return summarise(videos, about, replicates, seed)


def summarise(videos: tuple[VideoScores, ...], about: dict[str, Any], replicates: int = 1000, seed: int = 0) -> Report:
    """The metrics of scored videos."""
    everything = _Frames(videos)
    abnormal = _Frames([v for v in videos if v.abnormal])
    normal = _Frames([v for v in videos if not v.abnormal])
    found = {
        "auc": everything.of(metrics.roc_auc), "ap": everything.of(metrics.pr_auc),
        "average_precision": everything.of(metrics.average_precision),
        "auc_sub": abnormal.of(metrics.roc_auc), "ap_sub": abnormal.of(metrics.pr_auc),
        "false_alarm_rate": everything.of(metrics.false_alarm_rate),
        "false_alarm_rate_abnormal": abnormal.of(metrics.false_alarm_rate),
        "false_alarm_rate_normal": normal.of(metrics.false_alarm_rate),
        "video_accuracy": metrics.video_accuracy([v.abnormal for v in videos], [v.scores.max() for v in videos])}
    intervals = metrics.bootstrap_intervals(everything.share, everything.scores, None, everything.video, replicates, seed)
    parts = {name: _Frames([v for v in videos if name in v.categories])
             for name in sorted({name for v in videos if v.abnormal for name in v.categories})}
    categories = {name: {"videos": part.count, "auc": part.of(metrics.roc_auc), "ap": part.of(metrics.pr_auc)}
                  for name, part in parts.items()}
    ranked = {"all videos": everything, "abnormal videos": abnormal} | parts
    reasons = {name: part.undefined() for name, part in ranked.items()}
    reasons["normal videos"] = None if normal.count else normal.undefined()
    undefined = {name: reason for name, reason in reasons.items() if reason}
    return Report(found, intervals, categories, undefined, about, videos)


class _Frames:
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


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(value)
    return value
