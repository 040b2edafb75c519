"""Figures of a report: its curves, the scores of one video over time, and all videos on a sheet.

Each function returns a matplotlib Figure, which nobody else has a hand on: `figure.savefig(path)` writes it, and
`pictures.py` writes all of a report. They raise ImportError when matplotlib is not installed.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.annotations import SNIPPET
from ..scoring import class_metrics, metrics
from ..scoring.evaluation import Frames, VideoScores
from .drawing import BLUE, GREY, INK, MARGIN, SMALL, TEXT, VERMILION, heading, inches, new_figure, shortened, tidy
from .results import Report
from .text import percent, protocol_words, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray

LONGEST_NAME = 62
"""Characters of a video's name in a title."""
LONGEST_CLASS = 16
LONGEST_SUBJECT = 40
"""Characters of a method, a checkpoint or a dataset below it."""
CROWDED = 500
"""Snippets from which on the curve is drawn thin."""
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
"""Seconds between the marks of a time axis."""
MARKS = 10
"""Marks of a time axis, at most."""
DASHED = (0, (4, 3))


def roc(report: Report) -> Figure:
    """The ROC curve over all frames, and over those of the abnormal videos."""
    def curve(frames: Frames) -> tuple[Array, Array]:
        return frames.apply(metrics.roc_curve)[:2]

    figure, axes = _square("false-positive rate", "true-positive rate", "ROC curve", report)
    _curves(axes, report, curve, "auc", "AUC")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=DASHED, label="chance  50.00 %")
    figure.legend(loc="lower center", frameon=False, fontsize=TEXT, labelcolor=INK)
    return figure


def precision_recall(report: Report) -> Figure:
    """The precision-recall curve over all frames, and over those of the abnormal videos."""
    def curve(frames: Frames) -> tuple[Array, Array]:
        precision, recall, _ = frames.apply(metrics.precision_recall_curve)
        return recall, precision

    figure, axes = _square("recall", "precision", "Precision-recall curve", report)
    _curves(axes, report, curve, "ap", "AP")
    rate = Frames(report.videos).abnormal_frames()
    axes.axhline(rate, color=GREY, linewidth=1, linestyle=DASHED, label=f"chance  {percent(rate)} %, the abnormal frames")
    figure.legend(loc="lower center", frameon=False, fontsize=TEXT, labelcolor=INK)
    return figure


def timeline(video: VideoScores, detail: str = "", limits: tuple[float, float] | None = None) -> Figure:
    """The anomaly score of a video over its snippets, its anomalous frames shaded.

    Above, the time where the frame rate is known, else the frames.
    detail: what stands below the name, as `subject` gives it. limits: of the scores, as `score_limits` gives them.
    """
    low, high = limits or score_limits([video])
    high = max(high, float(video.scores.max()), low + 1e-6)
    figure = new_figure(9, 3.1)
    axes = inches(figure, 0.7, 0.55, 0.15, 0.78)
    count = len(video.scores)
    axes.set(xlim=(0, count), ylim=(low, low + 1.04 * (high - low)), xlabel=f"snippet of {SNIPPET} frames",
             ylabel="anomaly score")
    axes.locator_params(axis="y", nbins=6)
    axes.locator_params(axis="x", integer=True)
    tidy(axes)
    axes.stairs(video.scores, color=BLUE, alpha=0.12, fill=True, baseline=low)
    axes.stairs(video.scores, color=BLUE, baseline=None, linewidth=1.5 if count < CROWDED else 0.8)
    for start, end in anomalies(video.abnormal_fraction):
        shade = axes.axvspan(start / SNIPPET, end / SNIPPET, color=VERMILION, alpha=0.22, linewidth=0, zorder=0.5)
        shade.set_label("anomalous by annotation")
    if video.abnormal_fraction.any():
        figure.legend([shade], [str(shade.get_label())], loc="lower right", frameon=False, fontsize=TEXT, labelcolor=INK,
                      borderaxespad=0.6)
    time_axis(axes, count, video.frame_rate)
    label = ", ".join(video.categories) or ("abnormal" if video.abnormal else "normal")
    heading(figure, shortened(video.name, LONGEST_NAME), detail, label, 0.7)
    return figure


def confusion(report: Report) -> Figure:
    """Of the videos of each category, how many each class is predicted for (`class_metrics.confusion`), in percent of its row.

    Of a report with `classes`.
    """
    names = list(report.classes)
    counts = class_metrics.confusion(report.videos, names)
    totals = counts.sum(1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    size = 0.42 * len(names)
    figure = new_figure(size + 2.2, size + 2.1)
    axes = inches(figure, 1.9, 1.4, 0.3, 0.7)
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    labels = [shortened(name, LONGEST_CLASS) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(names)), [f"{label} ({total})" for label, total in zip(labels, totals[:, 0])], parse_math=False)
    axes.set(xlabel="predicted", ylabel="category (videos)")
    for row, column in zip(*np.nonzero(counts)):
        axes.text(column, row, f"{100 * fractions[row, column]:.0f}", ha="center", va="center", fontsize=SMALL,
                  color="white" if fractions[row, column] > 0.5 else INK)
    tidy(axes)
    axes.grid(False)
    heading(figure, "Predicted classes of videos, percent", shortened(subject(report), int(13 * (size + 2.2))), left=MARGIN)
    return figure


def subject(report: Report) -> str:
    """What a report is about, as its pictures say it: the method, the checkpoint, the dataset; "" where it does not say."""
    about = report.about
    checkpoint = Path(str(about.get("checkpoint") or "")).name
    if not checkpoint and "weights_sha256" in about:
        checkpoint = f"weights {about['weights_sha256'][:12]}"
    words = (about.get("method"), checkpoint, about.get("dataset"), *protocol_words(about))
    return ", ".join(shortened(str(word), LONGEST_SUBJECT) for word in words if word)


def score_limits(videos: Sequence[VideoScores]) -> tuple[float, float]:
    """The lowest and the highest score that pictures of videos have room for: 0 and 1 for probabilities.

    Otherwise from 0, or the lowest, to the score that one in 200 exceeds, so that one video does not flatten all others.
    """
    scores = np.concatenate([video.scores for video in videos])
    low = min(0.0, float(scores.min()))
    return low, 1.0 if low == 0 and scores.max() <= 1 else max(float(np.percentile(scores, 99.5)), low + 1e-6)


def anomalies(abnormal_fraction: Array) -> list[tuple[int, int]]:
    """The anomalous intervals [start, end), in frames, that the abnormal fractions (T,) of a video stand for.

    A snippet that is abnormal in part is so at its end where an interval starts in it, and at its beginning otherwise.
    """
    frames = np.rint(SNIPPET * abnormal_fraction).astype(int)
    edges = np.flatnonzero(np.diff(frames > 0, prepend=False, append=False))
    intervals = []
    for first, last in zip(edges[::2], edges[1::2] - 1):
        start = SNIPPET * first if first == last else SNIPPET * (first + 1) - frames[first]
        intervals.append((int(start), int(SNIPPET * last + frames[last])))
    return intervals


def clock(seconds: float) -> str:
    """75 as "1:15", 3675 as "1:01:15"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def time_axis(axes: Axes, snippets: int, frame_rate: float | None) -> None:
    """A second scale above the axes, in minutes and seconds, or in frames."""
    total = SNIPPET * snippets / (frame_rate or 1)
    if frame_rate is None:
        from matplotlib.ticker import MaxNLocator

        found = MaxNLocator(MARKS, steps=(1, 2, 5, 10), integer=True).tick_values(0, total)
        marks = [mark for mark in found if 0 <= mark <= total]
        name, labels = "frame", [f"{mark:.0f}" for mark in marks]
    else:
        step = next((step for step in STEPS if total / step <= MARKS), STEPS[-1])
        marks = np.arange(0, total, step)
        name, labels = "time", [clock(mark) if step >= 1 else f"0:{mark:04.1f}" for mark in marks]
    above = axes.secondary_xaxis("top")
    above.set_xticks([mark * (frame_rate or 1) / SNIPPET for mark in marks], labels)
    above.spines["top"].set_visible(False)
    above.tick_params(color=GREY, labelcolor=GREY, labelsize=SMALL)
    axes.annotate(name, (0, 1), (-16, 8.5), "axes fraction", "offset points", color=GREY, fontsize=SMALL, ha="right")


def _square(x: str, y: str, title: str, report: Report) -> tuple[Figure, Axes]:
    figure = new_figure(5.2, 6.3)
    axes = inches(figure, 0.65, 1.35, 0.2, 0.6)
    # Room around 0 and 1, where good detectors have their curves.
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
    tidy(axes)
    heading(figure, title, shortened(subject(report), 70), left=0.65)
    return figure, axes


def _curves(axes: Axes, report: Report, curve: Callable[[Frames], tuple[Array, Array]], key: str, name: str) -> None:
    """The curve over all videos and over the abnormal ones; in place of one that is undefined, the reason."""
    label = f"{name}  {percent(report.metrics[key])} %  (95 %: {span(report.intervals[key])})"
    if math.isnan(report.metrics[key]):
        axes.text(0.5, 0.5, report.undefined["all videos"].replace(": ", ":\n"), ha="center", va="center", color=VERMILION,
                  fontsize=TEXT, backgroundcolor="white", zorder=4)
    else:
        axes.plot(*curve(Frames(report.videos)), color=BLUE, linewidth=2.2, label=label, zorder=2)
    if not math.isnan(report.metrics[f"{key}_sub"]):
        abnormal = Frames([video for video in report.videos if video.abnormal])
        axes.plot(*curve(abnormal), color=VERMILION, linewidth=1.2, zorder=3,
                  label=f"{name} of abnormal videos  {percent(report.metrics[f'{key}_sub'])} %")
