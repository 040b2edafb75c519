"""The report of an evaluation: the metrics over all frames, their intervals, the categories."""
from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..detector import Detector
from ..files import plain, write_json, written_whole
from ..registry import specification
from ..scoring import metrics
from ..scoring.evaluation import Frames, VideoScores, _groups, check_finite, describe, metrics_of, scored

# What a report holds, in its order, as people call it.
TITLES = {
    "auc": "AUC", "ap": "AP (trapezoidal, as published)", "average_precision": "average precision (step rule)",
    "auc_sub": "AUC_sub (abnormal videos)", "ap_sub": "AP_sub (abnormal videos)",
    "false_alarm_rate": "false-alarm rate at 0.5",
    "false_alarm_rate_abnormal": "false-alarm rate at 0.5, abnormal videos",
    "false_alarm_rate_normal": "false-alarm rate at 0.5, normal videos", "video_accuracy": "video accuracy at 0.5"}


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
