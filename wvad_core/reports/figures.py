"""Pictures of a report: its ROC and precision-recall curves, and the anomaly score over time of every video; and of a
training run.

They need matplotlib, which is imported when something is drawn and not before.
"""
from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from ..data.annotations import SNIPPET
from ..files import written_whole
from ..scoring import metrics
from ..scoring.evaluation import Frames, VideoScores
from .results import Report
from .text import percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray

BLUE, RED, GREY = "#1f5fa8", "#e4572e", "#8a8f98"
DPI = 100
LONGEST_NAME = 75
"""Characters of a video's name that its file keeps."""
LONGEST_TITLE = 90
CROWDED = 500
"""Snippets from which on the curve is drawn thin."""


def draw(report: Report, folder: str | Path) -> int:
    """Write roc.png, precision_recall.png and scores/NAME.png of every video; return how many pictures that is.

    Characters of NAME that are no letter, digit, dot, dash, underscore or equals sign become underscores; where two
    videos would share a file, a checksum of the name follows it.
    Raises ImportError when matplotlib is not installed.
    """
    figure = _figure(9, 3)  # first of all, since it fails without matplotlib
    folder = Path(folder)
    _write(_roc(report), folder / "roc.png")
    _write(_precision_recall(report), folder / "precision_recall.png")
    timeline = _Timeline(figure, report.videos)
    names = file_names([video.name for video in report.videos])
    for video, name in tqdm(zip(report.videos, names), "drawing", len(names), leave=False, unit="video", disable=None):
        timeline.show(video)
        _write(figure, folder / "scores" / f"{name}.png")
    return 2 + len(names)


def draw_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw a training run: the loss and its terms over the steps, above the judgements. See `loop.Journal`.

    Raises ImportError when matplotlib is not installed.
    """
    figure = _figure(9, 6)
    losses, judged = figure.subplots(2, sharex=True)
    ends = np.cumsum([0] + [max(line["step"] for line in history if line["stage"] == stage)
                            for stage in sorted({line["stage"] for line in history})])
    for axes, chosen, title in ((losses, [line for line in history if "total" in line], "loss"),
                                (judged, [line for line in history if "judged" in line], "judged")):
        for name in dict.fromkeys(name for line in chosen for name in line if name not in ("stage", "step")):
            steps, values = zip(*((ends[line["stage"] - 1] + line["step"], line[name]) for line in chosen if name in line))
            bold = name in ("total", "judged")
            axes.plot(steps, values, label=name, linewidth=1.6 if bold else 0.9, marker="." if name == "judged" else "",
                      color=BLUE if bold else None)
        for end in ends[1:-1]:
            axes.axvline(end, color=GREY, linewidth=0.8)
        axes.set_ylabel(title)
        _tidy(axes)
    losses.set_yscale("symlog", linthresh=1e-2)
    losses.legend(frameon=False, fontsize=9)
    judged.set_xlabel("step" if len(ends) == 2 else "step, stage after stage")
    figure.tight_layout()
    _write(figure, path)


def file_names(videos: Sequence[str]) -> list[str]:
    """The videos' files, without suffix: safe on every file system, and unique where capitals do not count."""
    safe = [re.sub(r"^\.|[^\w.=-]", "_", name)[:LONGEST_NAME] for name in videos]
    times = Counter(name.lower() for name in safe)
    return [f"{name}-{zlib.crc32(video.encode()):08x}" if times[name.lower()] > 1 else name
            for name, video in zip(safe, videos)]


def anomalies(share: Array) -> list[tuple[int, int]]:
    """The anomalous intervals [start, end), in frames, that a video's abnormal shares (T,) stand for.

    A snippet that is abnormal in part is so at its end where an interval starts in it, and at its beginning otherwise.
    """
    frames = np.rint(SNIPPET * share).astype(int)
    edges = np.flatnonzero(np.diff(frames > 0, prepend=False, append=False))
    found = []
    for first, last in zip(edges[::2], edges[1::2] - 1):
        start = SNIPPET * first if first == last else SNIPPET * (first + 1) - frames[first]
        found.append((int(start), int(SNIPPET * last + frames[last])))
    return found


def _figure(width: float, height: float) -> Figure:
    """A figure without pyplot, so that no window system and none of its global state has a part in it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is not installed: pip install matplotlib") from error
    return Figure((width, height), dpi=DPI, facecolor="white")


def _write(figure: Figure, path: Path) -> None:
    with written_whole(path) as temporary:
        figure.savefig(temporary, pil_kwargs={"compress_level": 4})


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(color=GREY, labelsize=9)
    axes.grid(color="#e7e9ec", linewidth=0.8)
    axes.set_axisbelow(True)


# The two curves.


def _roc(report: Report) -> Figure:
    def curve(part: Frames) -> tuple[Array, Array]:
        return metrics.roc_curve(part.abnormal_fraction, part.scores)[:2]

    figure, axes = _square("false-positive rate", "true-positive rate", f"ROC, {_subject(report)}")
    _curves(axes, report, curve, "auc", "AUC")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="chance  50.00 %")
    figure.legend(loc="lower center", frameon=False, fontsize=9)
    return figure


def _precision_recall(report: Report) -> Figure:
    def curve(part: Frames) -> tuple[Array, Array]:
        precision, recall, _ = metrics.precision_recall_curve(part.abnormal_fraction, part.scores)
        return recall, precision

    figure, axes = _square("recall", "precision", f"Precision and recall, {_subject(report)}")
    _curves(axes, report, curve, "ap", "AP")
    rate = float(Frames(report.videos).abnormal_fraction.mean())
    axes.axhline(rate, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label=f"abnormal frames  {percent(rate)} %")
    figure.legend(loc="lower center", frameon=False, fontsize=9)
    return figure


def _square(x: str, y: str, title: str) -> tuple[Figure, Axes]:
    figure = _figure(5.4, 6)
    axes = figure.add_axes((0.12, 0.195, 0.84, 0.756), xlim=(0, 1), ylim=(0, 1), xlabel=x, ylabel=y)
    _tidy(axes)
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    return figure, axes


def _curves(axes: Axes, report: Report, curve: Callable[[Frames], tuple[Array, Array]], key: str, name: str) -> None:
    """The curve over all videos and over the abnormal ones; in place of one that is undefined, the reason."""
    low, high = report.intervals[key]
    label = f"{name}  {percent(report.metrics[key])} %  (95 %: {percent(low)} to {percent(high)})"
    if math.isnan(report.metrics[key]):
        axes.text(0.5, 0.5, report.undefined["all videos"].replace(": ", ":\n"), ha="center", color=RED)
    else:
        axes.plot(*curve(Frames(report.videos)), color=BLUE, linewidth=2, label=label, zorder=3, clip_on=False)
    if not math.isnan(report.metrics[f"{key}_sub"]):
        abnormal = Frames([video for video in report.videos if video.abnormal])
        axes.plot(*curve(abnormal), color=RED, linewidth=1.2, zorder=2, clip_on=False,
                  label=f"{name} of abnormal videos  {percent(report.metrics[f'{key}_sub'])} %")


def _subject(report: Report) -> str:
    return ", ".join(str(report.about[key]) for key in ("method", "dataset") if key in report.about)


# A video.


class _Timeline:
    """One figure for all videos, which all have one scale of scores; a video that exceeds it gets more room."""

    def __init__(self, figure: Figure, videos: Sequence[VideoScores]):
        scores = np.concatenate([video.scores for video in videos])
        probabilities = scores.min() >= 0 and scores.max() <= 1
        self.low = min(0.0, float(scores.min()))
        self.high = 1.0 if probabilities else float(np.percentile(scores, 99.5))
        self.axes = figure.add_axes((0.08, 0.17, 0.905, 0.72), xlabel="frame (shaded: anomalous by annotation)",
                                    ylabel="anomaly score")
        _tidy(self.axes)
        self.axes.locator_params(axis="y", nbins=6)
        # Titles and labels with a place of their own: to find one takes matplotlib longer than to draw the curve.
        self.axes.xaxis.set_label_coords(0.5, -0.13)
        self.axes.yaxis.set_label_coords(-0.06, 0.5)
        self.titles = [self.axes.set_title("", loc=side, y=1.0, fontsize=10, parse_math=False)
                       for side in ("left", "right")]
        self.area = self.axes.stairs([0], color=BLUE, alpha=0.12, fill=True)
        self.curve = self.axes.stairs([0], color=BLUE, baseline=None)
        self.shades: list[Artist] = []

    def show(self, video: VideoScores) -> None:
        frames = SNIPPET * np.arange(len(video.scores) + 1)
        self.area.set_data(video.scores, frames)
        self.curve.set_data(video.scores, frames)
        self.curve.set_linewidth(1.5 if len(video.scores) < CROWDED else 0.8)
        for shade in self.shades:
            shade.remove()
        self.shades = [self.axes.axvspan(start, end, color=RED, alpha=0.2, linewidth=0, zorder=0.5)
                       for start, end in anomalies(video.abnormal_fraction)]
        high = max(self.high, float(video.scores.max()), self.low + 1e-6)
        self.axes.set(xlim=(0, frames[-1]), ylim=(self.low, self.low + 1.03 * (high - self.low)))
        kind = ", ".join(video.categories) or ("abnormal" if video.abnormal else "normal")
        for title, text in zip(self.titles, (_shortened(video.name), kind)):
            title.set_text(text)


def _shortened(name: str) -> str:
    half = LONGEST_TITLE // 2
    return name if len(name) <= LONGEST_TITLE else f"{name[:half]}...{name[-half:]}"
