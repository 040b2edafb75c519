"""The report of an evaluation: the metrics over all frames, their intervals, the categories, the scores."""
from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..conventions import protocol_of
from ..data.dataset import Dataset
from ..detector import Detector, with_settings
from ..errors import InputError, one_line
from ..files import plain
from ..origin import compared
from ..registry import specification
from ..scoring import class_metrics, metrics
from ..scoring.evaluation import Frames, VideoScores, by_label, check_finite, describe, metrics_of, own_metrics, scored
from . import storage, text

LOGGER = logging.getLogger("wvad")
ARRAYS, CLASSES = ("scores", "abnormal_fraction"), "class_probabilities"
WORDS, MAYBE_WORDS = ("name", "categories", "abnormal", "frame_rate"), ("frames", "class_segments")
"""The fields of `VideoScores`: arrays and words; CLASSES and MAYBE_WORDS may be None."""


@dataclass(frozen=True, eq=False)
class Report:
    """What `evaluate` gives: metrics, all of them fractions in [0, 1], and what they are computed from.

        report = wv.evaluate(detector, dataset)
        report.metrics["auc"], report.intervals["auc"]      # 0.8724, (0.8391, 0.9012)

    metrics: {key of text.TITLES: value}; a metric that the videos leave undefined is NaN. Those at the score 0.5 are not
        there where the method's scores are no probabilities.
    intervals: {"auc", "ap": (low, high)}, 95 % over videos.
    classes: {class: {"segments": how many, "auc": of its probability over its segments' frames and all others}}, and
    detection: {"0.1": mAP of temporal detection at this intersection over union, ..., "average"}, of methods that tell classes
        apart (see `scoring.class_metrics`); {} of others, and where the segments of the classes are not known.
    categories: {category: {"videos": how many, "auc", "ap": over their frames}}, of the anomalous ones.
    undefined: {group of videos: why some metric of it is NaN}.
    about: what was run (see `describe`), as JSON has it: lists for tuples, None for NaN.
    videos: the scores of every video, in the dataset's order.
    """
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    categories: dict[str, dict[str, float]]
    undefined: dict[str, str]
    about: dict[str, Any]
    videos: tuple[VideoScores, ...] = field(repr=False)
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    detection: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "about", plain(self.about))

    def as_dict(self) -> dict[str, Any]:
        """Everything but the videos, ready for JSON: NaN becomes None."""
        return plain({"about": self.about, "metrics": self.metrics, "intervals_95": self.intervals,
                      "categories": self.categories, "classes": self.classes, "detection": self.detection,
                      "undefined": self.undefined})

    def table(self) -> str:
        """The metrics in percent, one a line, with their intervals; then the categories and the classes."""
        return text.table(self.metrics, self.intervals, self.categories, self.undefined, self.classes, self.detection)

    def save(self, folder: str | Path) -> None:
        """Write report.json and scores.npz into a folder (see storage.py), each whole or not at all.

        `Report.load` gives the same report again; `pictures.draw` adds pictures. Raises InputError where the folder cannot
        be written.
        """
        videos = [{name: getattr(v, name) for name in WORDS} | {name: value for name in MAYBE_WORDS
                                                                if (value := getattr(v, name)) is not None} for v in self.videos]
        arrays = {f"{v.name}/{name}": value for v in self.videos for name in (*ARRAYS, CLASSES)
                  if (value := getattr(v, name)) is not None}
        storage.write(Path(folder), self.as_dict() | {"videos": plain(videos)}, arrays)

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """The report that `save` has written into a folder, the same in every number.

        One of wvad 0.1.0 is read too; it does not know the categories of its videos. Raises InputError, in one line, for
        a folder that holds no report, a damaged one, or the files of two.
        """
        values, arrays = storage.read(Path(folder))
        try:
            videos = tuple(_video(line, arrays) for line in values["videos"])
            intervals = {key: (_number(low), _number(high)) for key, (low, high) in values["intervals_95"].items()}
            categories = {name: {"videos": int(of["videos"]), "auc": _number(of["auc"]), "ap": _number(of["ap"])}
                          for name, of in values["categories"].items()}
            loaded = cls({key: _number(value) for key, value in values["metrics"].items()}, intervals, categories,
                         dict(values["undefined"]), dict(values["about"]), videos,
                         {name: {"segments": int(of["segments"]), "auc": _number(of["auc"])}
                          for name, of in values.get("classes", {}).items()},
                         {key: _number(value) for key, value in values.get("detection", {}).items()})
            if not videos or not loaded.metrics.keys() <= text.TITLES.keys():
                raise InputError("no videos" if not videos else f"metrics {', '.join(loaded.metrics)}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{Path(folder) / storage.REPORT}: damaged, not what Report.save writes "
                             f"({one_line(error)})") from error
        return loaded


def _video(line: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> VideoScores:
    """A video of a saved report. Raises what `load` makes an InputError of."""
    name, rate, frames, segments = line["name"], line["frame_rate"], line.get("frames"), line.get("class_segments")
    classes = arrays.get(f"{name}/{CLASSES}")
    scores, fraction = (arrays[f"{name}/{key}"] for key in ARRAYS)
    kinds = {scores.dtype.kind, fraction.dtype.kind}
    if scores.ndim != 1 or not scores.size or scores.shape != fraction.shape or kinds != {"f"}:
        raise InputError(f"{name}: arrays of shapes {scores.shape} and {fraction.shape}")
    if not (np.isfinite(scores).all() and ((fraction >= 0) & (fraction <= 1)).all()):
        raise InputError(f"{name}: scores that are not finite, or fractions that are not between 0 and 1")
    if classes is not None and not (classes.dtype.kind == "f" and classes.ndim == 2 and len(classes) == len(scores)
                                    and np.isfinite(classes).all()):
        raise InputError(f"{name}: class probabilities {classes.dtype} {classes.shape}")
    return VideoScores(name, tuple(map(str, line["categories"])), bool(line["abnormal"]), scores, fraction,
                       None if rate is None else float(rate), None if frames is None else int(frames), classes,
                       None if segments is None else tuple((str(of), int(start), int(end)) for of, start, end in segments))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def evaluate(detector: Detector, dataset: Dataset, replicates: int = 1000, seed: int = 0,
             about: Mapping[str, Any] | None = None, force: bool = False, protocol: str = "uniform") -> Report:
    """Score every video of a test set and compute the metrics over all its frames together.

    All features are checked to be finite first. While one video is scored the next is read. `replicates` and `seed`
    are those of the bootstrap over videos. about: facts to add to those of `describe` in the report.
    force: score features of another origin than those that the detector was trained on, with a warning that is logged.
    protocol: "uniform", the library's, the same for all methods, or "published", that of the method's authors
        (`conventions.Protocol`): their metrics come beside the others.
    Several processes share the videos out, and all give the same report, but for the device and the seconds it names.
    Raises InputError for features of another origin, for those that are not finite, and for a video whose scores are not; in
    all processes alike; and where a published protocol is not known.
    """
    chosen = protocol_of(detector.method, dataset.name, protocol)
    detector = with_settings(detector, chosen.settings)
    note = compared(dataset.origin, detector.origin, dataset.folder, "the detector was trained on", force)
    if note and detector.backend.processes()[0] == 0:
        LOGGER.warning("%s", note)
    facts = describe(detector, dataset, protocol) | dict(about or {})
    check_finite(detector, dataset)
    start = time.perf_counter()
    spec = specification(detector.method)
    videos = scored(detector, dataset, protocol=chosen, classes=spec.classify is not None)
    return summarise(videos, facts | {"seconds": time.perf_counter() - start}, replicates, seed, spec.PROBABILITIES,
                     own_metrics(chosen, dataset, videos))


def summarise(videos: tuple[VideoScores, ...], about: Mapping[str, Any], replicates: int = 1000, seed: int = 0,
              probabilities: bool = True, published: Mapping[str, float] | None = None) -> Report:
    """The report of scored videos. probabilities: whether their scores are, as the method's PROBABILITIES says.

    published: further metrics, as `own_metrics` gives them. Where videos have class probabilities, about["classes"] names these.
    """
    videos = tuple(videos)
    everything, abnormal, normal = by_label(videos)
    intervals = metrics.bootstrap_intervals(everything.abnormal_fraction, everything.scores, everything.weights,
                                            everything.video_index, replicates, seed)
    of_category = {name: Frames([v for v in videos if name in v.categories])
                   for name in sorted({name for v in videos if v.abnormal for name in v.categories})}
    categories = {name: {"videos": of.videos, "auc": of.metric(metrics.roc_auc), "ap": of.metric(metrics.pr_auc)}
                  for name, of in of_category.items()}
    ranked = {"all videos": everything, "abnormal videos": abnormal} | of_category
    reasons = {name: frames.undefined() for name, frames in ranked.items()}
    if probabilities and not normal.videos:
        reasons["normal videos"] = normal.undefined()
    undefined = {name: reason for name, reason in reasons.items() if reason}
    names, classes, found = about.get("classes") or (), {}, {}
    if names and all(video.class_probabilities is not None for video in videos):
        if reason := class_metrics.unknown_reason(videos, names):
            undefined["classes"] = reason
        else:
            classes, found = class_metrics.class_aucs(videos, names), class_metrics.detection(videos, names)
            undefined |= {f"class {name}": "no frame of it, or of anything else" for name in names
                          if np.isnan(classes[name]["auc"])}
    return Report(metrics_of(videos, probabilities) | dict(published or {}), intervals, categories, undefined, dict(about), videos,
                  classes, found)
