"""The picture of a video that was scored without annotation: its curve, its events, the frames at their peaks."""
from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from ..data.annotations import SNIPPET
from ..scoring.videos import ScoredVideo
from .drawing import BLUE, GREY, INK, SMALL, VERMILION, heading, inches, new_figure, shortened, tidy
from .figures import CROWDED, LONGEST_NAME, clock, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 6
"""Key frames in a picture."""
FRAME_HEIGHT = 1.05
"""Inches that key frames take, with their times."""


def events(video: ScoredVideo, high: float | None, detail: str = "", limits: tuple[float, float] | None = None) -> Figure:
    """The scores over the snippets, above the time, or the frames where no frame rate is known; events shaded.

    high: the score that an event reaches, a line; without one the scale is the video's own range. detail: what stands below
    the name. limits: of the scores, where a scale is known.
    """
    below = FRAME_HEIGHT if video.key_frames else 0
    low, top = limits or (float(video.scores.min()), float(video.scores.max()))
    top, count = max(top, float(video.scores.max()), low + 1e-6), len(video.scores)
    figure = new_figure(9, 3.1 + below)
    axes = inches(figure, 0.7, 0.55 + below, 0.15, 0.78)
    axes.set(xlim=(0, count), ylim=(low, low + 1.04 * (top - low)), xlabel=f"snippet of {SNIPPET} frames", ylabel="anomaly score")
    axes.locator_params(axis="y", nbins=6)
    axes.locator_params(axis="x", integer=True)
    tidy(axes)
    axes.stairs(video.scores, color=BLUE, alpha=0.12, fill=True, baseline=low)
    axes.stairs(video.scores, color=BLUE, baseline=None, linewidth=1.5 if count < CROWDED else 0.8)
    for event in video.events:
        axes.axvspan(event.first, event.last, color=VERMILION, alpha=0.22, linewidth=0, zorder=0.5)
    if high is not None:
        axes.axhline(high, color=VERMILION, linewidth=0.8, linestyle="--")
    time_axis(axes, count, video.frame_rate)
    word = f"{len(video.events)} event{'' if len(video.events) == 1 else 's'}" if high is not None else "no threshold known"
    heading(figure, shortened(video.name, LONGEST_NAME), detail, word, 0.7)
    _key_frames(figure, axes, video)
    return figure


def _key_frames(figure: Figure, axes: Axes, video: ScoredVideo) -> None:
    """The frames at the peaks in a row, each with its time, and a mark on the curve."""
    frames = video.key_frames
    if len(frames) > SHOWN:
        peaks = video.scores[np.searchsorted(video.times, [time for time, _ in frames], "right") - 1]
        frames = tuple(frames[i] for i in sorted(np.argsort(-peaks, kind="stable")[:SHOWN]))
    width, height = figure.get_size_inches()
    for place, (seconds, jpeg) in enumerate(frames):
        from PIL import Image  # which has made them

        left = 0.7 + place * 1.38
        corner = (left / width, 0.12 / height, 1.3 / width, (FRAME_HEIGHT - 0.32) / height)
        shown = figure.add_axes(corner)
        shown.imshow(np.asarray(Image.open(io.BytesIO(jpeg))))
        shown.set_axis_off()
        snippet = int(np.searchsorted(video.times, seconds, "right")) - 1
        word = clock(seconds) if video.frame_rate else f"snippet {snippet}"
        figure.text((left + 0.65) / width, (FRAME_HEIGHT - 0.18) / height, f"{word}   {video.scores[snippet]:.3g}", ha="center",
                    fontsize=SMALL, color=INK)
        axes.plot([snippet + 0.5], [video.scores[snippet]], "o", color=GREY, markersize=3)
