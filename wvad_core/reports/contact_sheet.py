"""All videos of a report on one sheet, small, those that a detector does worst on first."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..data.annotations import SNIPPET
from ..scoring.evaluation import VideoScores, misranked_by_video
from .drawing import BLUE, GREY, INK, PALE, TEXT, TINY, VERMILION, heading, inches, new_figure, shortened
from .figures import anomalies, score_limits, subject
from .results import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray

MOST = 240
"""Videos on a sheet; of more, the worst of the abnormal and the worst of the normal ones."""
COLUMNS = 12
"""At most."""
CELL = (1.75, 0.86)
"""Width and height of a video's place, in inches; of which the curve has the lower part."""
CURVE = (1.6, 0.52)
HEAD, TITLE, LEFT = 0.8, 0.22, 0.2
"""Inches above the first row, of a class's title, and left of all."""
NAME = 23
"""Characters of a name."""


@dataclass
class Sheet:
    """What is drawn, in inches from the lower left corner, gathered to be drawn at once.

    matplotlib takes ten times as long for as many axes.
    """
    lines: list[Array] = field(default_factory=list)
    areas: list[Array] = field(default_factory=list)
    shades: list[Array] = field(default_factory=list)
    frames: list[Array] = field(default_factory=list)


def contact_sheet(report: Report, most: int = MOST) -> Figure:
    """The scores of all videos over time as small multiples, the abnormal videos first, of each class the worst first.

    The worse a video, the more of its frames' pairs with frames of the other class, anywhere in the set, are in the
    wrong order: the percentage beside its name (`metrics.misranked_fraction`). Where there are no such pairs the order is
    that of the set. The scale of scores is the same for all; time is not, each curve is as long as its video.
    most: videos on the sheet; of more, the worst of each class, half of them of each as far as there are so many.
    """
    misranked = misranked_by_video(report.videos)
    worst_first = np.argsort(-misranked, kind="stable")
    groups = [[i for i in worst_first if report.videos[i].abnormal == label] for label in (True, False)]
    kept = _kept([len(group) for group in groups], most)
    columns = int(np.clip(np.ceil(np.sqrt(sum(kept) / 2)), 3, COLUMNS))
    rows = [-(-count // columns) for count in kept]
    width, height = 0.25 + CELL[0] * columns, HEAD + sum(TITLE + CELL[1] * count for count in rows if count)
    figure = new_figure(width, height)
    axes = inches(figure, 0, 0, 0, 0)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    legend = "shaded: anomalous by annotation; percent: pairs of frames in the wrong order"
    heading(figure, "Anomaly scores, the worst videos first", f"{shortened(subject(report), 80)}\n{legend}".strip(), left=LEFT)
    sheet, limits, top = Sheet(), score_limits(report.videos), height - HEAD
    for name, group, count, lines in zip(("abnormal", "normal"), groups, kept, rows):
        if not count:
            continue
        axes.text(LEFT, top, _title(name, count, len(group)), fontsize=TEXT, color=INK, fontweight="bold", va="top")
        top -= TITLE
        for place, i in enumerate(group[:count]):
            left, bottom = LEFT + CELL[0] * (place % columns), top - CELL[1] * (place // columns + 1) + 0.2
            _add(sheet, report.videos[i], limits, left, bottom)
            error = "" if np.isnan(misranked[i]) else f"{100 * misranked[i]:.1f} %"
            for x, text, align in ((left, _name(report.videos[i].name), "left"), (left + CURVE[0], error, "right")):
                axes.text(x, bottom + CURVE[1] + 0.05, text, fontsize=TINY, color=INK, ha=align, parse_math=False)
        top -= CELL[1] * lines
    _draw(axes, sheet)
    return figure


def _kept(counts: Sequence[int], most: int) -> list[int]:
    """How many videos of each of two classes are shown: the half, or more where the other class has fewer."""
    first = min(counts[0], max(most - most // 2, most - counts[1]))
    return [first, min(counts[1], most - first)]


def _title(name: str, shown: int, count: int) -> str:
    return f"{name} videos ({count})" if shown == count else f"{name} videos (the worst {shown} of {count})"


def _name(name: str) -> str:
    """Cut at its end: names that are long begin with what they come from and where."""
    return name if len(name) <= NAME else f"{name[:NAME - 1]}…"


def _add(sheet: Sheet, video: VideoScores, limits: tuple[float, float], left: float, bottom: float) -> None:
    """A video's curve, with the lower left corner of its frame there."""
    low, high = limits
    (width, height), count = CURVE, len(video.scores)
    x = left + np.repeat(np.arange(count + 1), 2)[1:-1] * width / count
    y = bottom + np.clip(np.repeat(video.scores, 2) - low, 0, high - low) * 0.96 * height / (high - low)
    sheet.lines.append(np.column_stack([x, y]))
    sheet.areas.append(np.column_stack([[x[0], *x, x[-1]], [bottom, *y, bottom]]))
    frame = width / (SNIPPET * count)
    sheet.shades += [_box(left + start * frame, bottom, (end - start) * frame, height)
                     for start, end in anomalies(video.abnormal_fraction)]
    sheet.frames.append(_box(left, bottom, width, height))


def _box(left: float, bottom: float, width: float, height: float) -> Array:
    return np.array([(left, bottom), (left + width, bottom), (left + width, bottom + height), (left, bottom + height)])


def _draw(axes: Axes, sheet: Sheet) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    axes.add_collection(PolyCollection(sheet.frames, facecolor="none", edgecolor=PALE, linewidth=0.8, zorder=1))
    axes.add_collection(PolyCollection(sheet.shades, facecolor=VERMILION, alpha=0.22, linewidth=0, zorder=2))
    axes.add_collection(PolyCollection(sheet.areas, facecolor=BLUE, alpha=0.12, linewidth=0, zorder=3))
    axes.add_collection(LineCollection(sheet.lines, color=BLUE, linewidth=0.7, zorder=4))
    axes.add_collection(LineCollection([frame[:2] for frame in sheet.frames], color=GREY, linewidth=0.6, zorder=5))
