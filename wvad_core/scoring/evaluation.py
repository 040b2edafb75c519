"""Scoring a dataset: every video's anomaly scores, all of them checked."""
from __future__ import annotations

import logging
import math
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np

from ..checkpoints.contents import digest
from ..conventions import OWN_METRICS, Protocol, protocol_of
from ..data.annotations import SNIPPET
from ..data.dataset import Dataset, Item, deal
from ..detector import Detector
from ..errors import Failure, InputError
from ..progress import progress_bar
from . import metrics

Array = np.ndarray
Value = TypeVar("Value")
LOGGER = logging.getLogger("wvad")

AT_ONE_HALF = ("false_alarm_rate", "false_alarm_rate_abnormal", "false_alarm_rate_normal", "video_accuracy")
"""What is taken at the score 0.5, which says something where scores are probabilities, and is left out elsewhere."""


@dataclass(frozen=True, eq=False)
class VideoScores:
    """A video of T snippets of 16 frames, scored.

    name: as in the dataset's table. categories: those of its anomalies, or ("Normal",); () where they are not known.
    abnormal: its video-level label.
    scores: (T,) float, the anomaly score of each snippet.
    abnormal_fraction: (T,) float64 in [0, 1], the fraction of each snippet's frames that is abnormal by annotation; NaN
        where there is none, as of training videos.
    frame_rate: frames a second, where that is known.
    frames: how many count, all of them in the snippets, those behind them in the last; None for 16 T.
    class_probabilities: (T, K), of a method that tells K classes apart. class_segments: as of the dataset's Item.
    """
    name: str
    categories: tuple[str, ...]
    abnormal: bool
    scores: Array
    abnormal_fraction: Array
    frame_rate: float | None = None
    frames: int | None = None
    class_probabilities: Array | None = None
    class_segments: tuple[tuple[str, int, int], ...] | None = None

    @property
    def weights(self) -> Array:
        """(T,): how many frames of each snippet count."""
        return snippet_frames(len(self.scores), self.frames)


def scored(detector: Detector, dataset: Dataset, raw: bool = False, protocol: Protocol = Protocol(),
           classes: bool = False) -> tuple[VideoScores, ...]:
    """The scores of every video, in the dataset's order; raw as `Detector.score` has it.

    protocol: whose settings the detector has already. classes: with class probabilities. Several processes deal the videos out
    and all give all scores. Raises InputError for features, and for scores, that are not finite; in all processes alike.
    """
    check_finite(detector, dataset)
    own, progress = _own_videos(detector, dataset)
    count = len(detector.classes) if classes else 0
    scores, probabilities = [np.empty(0, np.float32)], [np.empty((0, count), np.float32)]
    for item, features in progress(own.prefetched(), desc="scoring"):
        outputs = _outputs(detector, item.video.name, features, raw, protocol, classes)
        for values, found in zip((scores, probabilities), outputs):
            values.append(found)
        LOGGER.debug("%s: %d snippets scored", item.video.name, len(scores[-1]))
        if not np.isfinite(scores[-1]).all():
            break  # the error is raised below, once all processes know
    gathered = _gathered(detector, dataset, scores, 1)
    columns = _gathered(detector, dataset, probabilities, count) if classes else [None] * len(gathered)
    return tuple(_checked(item, of, protocol, columns) for item, of, columns in zip(dataset, gathered, columns))


def _outputs(detector: Detector, name: str, features: Array, raw: bool, protocol: Protocol,
             classes: bool) -> tuple[Array, ...]:
    """The scores (T,) of a video's features (N, T, D) and, where they are wanted, its class probabilities (T, K)."""
    if protocol.snippet_scores is None:
        return detector.score_and_classify(features, raw) if classes else (detector.score(features, raw),)
    scores = _own_scores(detector, name, features, raw, protocol.snippet_scores)
    return (scores, detector.classify(features)) if classes else (scores,)


def _own_scores(detector: Detector, name: str, features: Array, raw: bool, function: Callable[..., Array]) -> Array:
    """The scores (T,) of a video by the function of a protocol, whose InputError is raised with the video's name."""
    try:
        found = np.asarray(function(lambda part: detector.score(part, raw), features), np.float32)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if found.shape != features.shape[1:2]:
        raise Failure(f"{detector.method}: its authors' protocol gave scores {found.shape} of {features.shape[1]} snippets, "
                      "expected one for each")
    return found


def postprocessed(detector: Detector, videos: Iterable[VideoScores]) -> tuple[VideoScores, ...]:
    """What `scored` gives for videos, of what it gives with `raw`."""
    return tuple(replace(video, scores=detector.postprocess(video.scores)) for video in videos)


def check_finite(detector: Detector, dataset: Dataset) -> None:
    """Check all crop axes, then the features of this process's videos; what has passed once is not read again.

    Where any process finds a flaw in its own, all of them find all flaws. Raises InputError.
    """
    dataset.check_crops(detector.config, detector.later, detector.crops)
    own, progress = _own_videos(detector, dataset)
    if own is dataset:
        return dataset.check_finite(partial(progress, desc="checking features"))
    flawed = 0.0
    try:
        own.check_finite(partial(progress, desc="checking features"))
    except InputError:
        flawed = 1.0
    if any(detector.backend.gather(np.array([flawed], np.float32))):
        dataset.check_finite()


def _own_videos(detector: Detector, dataset: Dataset) -> tuple[Dataset, Callable[..., Iterable]]:
    """The videos that this process scores, and a progress bar over them."""
    rank, size = detector.backend.processes()
    own = dataset.dealt(rank, size)
    return own, partial(progress_bar, hidden=rank > 0, unit="video", total=len(own))


def _gathered(detector: Detector, dataset: Dataset, values: list[Array], width: int) -> list[Array]:
    """The values of all videos in the dataset's order, (T,) or (T, K), from those of this process's videos. width: K, or 1."""
    _, size = detector.backend.processes()
    lengths, shape = [item.features.shape[1] for item in dataset], values[0].shape[1:]
    by_index: dict[int, Array] = {}
    for indices, together in zip(deal(lengths, size), detector.backend.gather(np.concatenate(values).ravel())):
        parts = np.split(together, width * np.cumsum([lengths[i] for i in indices])[:-1])
        by_index |= zip(indices.tolist(), (part.reshape(-1, *shape) for part in parts))
    return [by_index[i] for i in range(len(dataset))]


def describe(detector: Detector, dataset: Dataset, protocol: str = "uniform") -> dict[str, Any]:
    """What an evaluation of these is about: method, configuration, framework, versions, device, data, protocol, weights."""
    chosen = protocol_of(detector.method, dataset.name, protocol)
    framework = detector.backend.versions()
    versions = {"wvad": version("wvad"), "python": platform.python_version(), "numpy": np.__version__} | framework
    return {"method": detector.method, "config": detector.config.as_dict(), "backend": detector.backend_name,
            "framework": framework, "versions": versions, "device": detector.backend.device(detector.network),
            "precision": detector.precision, "dataset": dataset.name, "videos": len(dataset),
            "frames": sum(len(own_labels(chosen, item)) if chosen.frame_labels else SNIPPET * item.features.shape[1]
                          for item in dataset), "protocol": protocol,
            "weights_sha256": digest(detector.weights()),
            "classes": list(detector.classes),
            "origin": {"features": dataset.origin and dataset.origin.as_dict(),
                       "detector": detector.origin and detector.origin.as_dict()}}


def check_scores(scores: Array, name: str) -> None:
    """Raise InputError, which names the video, for scores (T,) that are not finite."""
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise InputError(f"{name}: the anomaly score of snippet {wrong[0]} is {scores[wrong[0]]}, "
                         "expected a finite number; the checkpoint's weights or the features are out of range")


def _checked(item: Item, scores: Array, protocol: Protocol, probabilities: Array | None) -> VideoScores:
    check_scores(scores, item.video.name)
    if probabilities is not None and not np.isfinite(probabilities).all():
        raise InputError(f"{item.video.name}: class probabilities that are not finite; the checkpoint's weights or the features "
                         "are out of range")
    fraction, frames = item.abnormal_fraction, None
    if fraction is None:
        fraction = np.full(len(scores), np.nan)
    elif protocol.frame_labels:
        labels = own_labels(protocol, item)
        frames = len(labels)
        abnormal = np.bincount(snippets_of(frames, len(scores)), labels, len(scores))
        fraction = abnormal / np.maximum(snippet_frames(len(scores), frames), 1)
    return VideoScores(item.video.name, item.video.categories, item.abnormal, scores, fraction,
                       item.frame_rate or item.video.frame_rate, frames, probabilities, item.class_segments)


def own_labels(protocol: Protocol, item: Item) -> Array:
    """The frames of a test video that count, and which of them are abnormal, as a protocol's `frame_labels` has them: (F,).

    Raises InputError where it finds none by the table, and the dataset's ground truth has some.
    """
    assert protocol.frame_labels is not None
    labels = np.asarray(protocol.frame_labels(item.video, item.features.shape[1]))
    if labels.ndim != 1 or labels.dtype != bool or not labels.size:
        raise Failure(f"{item.video.name}: the protocol's labels of frames are {labels.dtype} {labels.shape}, expected bool (F,)")
    if item.abnormal_fraction is not None and item.abnormal_fraction.any() and not labels.any():
        raise InputError(f"{item.video.name}: no abnormal frame by the table, which the published protocol counts by, expected its "
                         "intervals there; or the uniform protocol")
    return labels


def snippets_of(frames: int, snippets: int) -> Array:
    """(F,): the snippet of each frame; the last one's, of those behind it."""
    return np.minimum(np.arange(frames) // SNIPPET, snippets - 1)


def snippet_frames(snippets: int, frames: int | None) -> Array:
    """(T,): how many frames each snippet stands for, of so many; of 16 T without a number."""
    if frames is None:
        return np.full(snippets, SNIPPET)
    return np.bincount(snippets_of(frames, snippets), minlength=snippets)


def own_metrics(protocol: Protocol, dataset: Dataset, videos: Iterable[VideoScores]) -> dict[str, float]:
    """{"published_" and one of OWN_METRICS: value} of what authors take in a way of their own, of a dataset's scored videos."""
    pairs = list(zip(dataset, videos, strict=True))
    values = {}
    for name in (name for name in OWN_METRICS if name in protocol.metrics):
        function = protocol.metrics[name]
        function = getattr(metrics, function) if isinstance(function, str) else function
        found = [_frames_of(protocol, item, video) for item, video in pairs if not (name == "false_alarm_rate" and video.abnormal)]
        values[f"published_{name}"] = float(function(*map(np.concatenate, zip(*found)))) if found else math.nan
    return values


def _frames_of(protocol: Protocol, item: Item, video: VideoScores) -> tuple[Array, Array]:
    """Labels and scores of a video's frames; of its snippets, without `frame_labels`."""
    if protocol.frame_labels is None:
        return video.abnormal_fraction, video.scores
    labels = own_labels(protocol, item)
    return labels, video.scores[snippets_of(len(labels), len(video.scores))]


def metrics_of(videos: Iterable[VideoScores], probabilities: bool) -> dict[str, float]:
    """{metric: value} over all frames of scored videos, in the order of a report; NaN for what they leave undefined.

    "auc_sub" and "ap_sub" are over the abnormal videos alone. probabilities: whether scores are; only where they are,
    there are the metrics of AT_ONE_HALF.
    """
    videos = list(videos)
    everything, abnormal, normal = by_label(videos)
    values = {"auc": everything.metric(metrics.roc_auc), "ap": everything.metric(metrics.pr_auc),
              "average_precision": everything.metric(metrics.average_precision),
              "auc_sub": abnormal.metric(metrics.roc_auc), "ap_sub": abnormal.metric(metrics.pr_auc)}
    if not probabilities:
        return values
    accuracy = metrics.video_accuracy([v.abnormal for v in videos], [v.scores.max() for v in videos])
    rates = (frames.metric(metrics.false_alarm_rate) for frames in (everything, abnormal, normal))
    return values | dict(zip(AT_ONE_HALF, (*rates, accuracy)))


def by_label(videos: Iterable[VideoScores]) -> tuple[Frames, Frames, Frames]:
    """The frames of all videos, of the abnormal and of the normal ones."""
    videos = list(videos)
    return Frames(videos), Frames([v for v in videos if v.abnormal]), Frames([v for v in videos if not v.abnormal])


class Frames:
    """The snippets of some videos end to end.

    scores, abnormal_fraction: (n,), as of VideoScores. weights: (n,), theirs; None where every snippet has as many frames.
    video_index: (n,) int, the video of each snippet, from 0.
    videos: how many there are. Raises InputError for one whose frames have no annotation.
    """

    def __init__(self, videos: Iterable[VideoScores]):
        videos = list(videos)
        unknown = [video.name for video in videos if np.isnan(video.abnormal_fraction).any()]
        if unknown:
            raise InputError(f"{unknown[0]}: its frames have no annotation, expected videos of a test split")
        self.videos = len(videos)
        self.scores = np.concatenate([v.scores for v in videos]) if videos else np.empty(0)
        self.abnormal_fraction = np.concatenate([v.abnormal_fraction for v in videos]) if videos else np.empty(0)
        self.weights = np.concatenate([v.weights for v in videos]) if any(v.frames for v in videos) else None
        self.video_index = np.repeat(np.arange(self.videos), [len(v.scores) for v in videos])

    def apply(self, function: Callable[[Array, Array, Array | None], Value]) -> Value:
        """What one of `metrics` gives of these frames."""
        return function(self.abnormal_fraction, self.scores, self.weights)

    def metric(self, function: Callable[[Array, Array, Array | None], float]) -> float:
        """The same; NaN where there are none."""
        return self.apply(function) if self.videos else math.nan

    def abnormal_frames(self) -> float:
        """The fraction of these frames that is abnormal."""
        return float(np.average(self.abnormal_fraction, weights=self.weights))

    def undefined(self) -> str | None:
        """Why a metric of these frames is NaN, in words; None where none is."""
        return metrics.undefined_reason(self.abnormal_fraction, self.weights) if self.videos else "no such video"


def misranked_by_video(videos: Iterable[VideoScores]) -> Array:
    """(V,): the mean of `metrics.misranked_fraction`, taken over all frames of all videos, over each video's frames."""
    videos = list(videos)
    frames = Frames(videos)
    wrong = np.split(frames.apply(metrics.misranked_fraction), np.cumsum([len(v.scores) for v in videos])[:-1])
    return np.array([np.average(part, weights=v.weights if v.frames else None) for part, v in zip(wrong, videos)])
