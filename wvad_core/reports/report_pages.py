"""The pages of a report and of a comparison: metrics, their curves, each video's scores over its ground truth."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..data.annotations import SNIPPET
from ..scoring import class_metrics, metrics
from ..scoring.evaluation import Frames, VideoScores, misranked_by_video
from . import text
from .comparison import CLASS_AUC, COMPARED, DETECTION, Comparison, cell, class_rows
from .figures import anomalies, score_limits, subject
from .page import Page, PagePlot, PageTable, PageVideo
from .results import Report

Line = tuple[str, ArrayLike, ArrayLike]

INTERVAL = "In percent; in brackets, 95 % bootstrap intervals over videos."
WRONG = ("In the list, wrong: of the pairs of a video's frames with frames of the other class, anywhere in the set, "
         "those that are in the wrong order.")
CLASS_NOTES = {CLASS_AUC: "In percent, over all frames: those of the class's segments against all others.",
               DETECTION: "In percent: the mean, over all classes, of the average precision of segments that are found."}


def of_report(report: Report) -> Page:
    """The page of an evaluation. Videos have the fraction of their pairs of frames that is in the wrong order."""
    misranked = misranked_by_video(report.videos)
    videos = [_video(video, misranked=None if np.isnan(wrong) else float(wrong))
              for video, wrong in zip(report.videos, misranked)]
    return Page(title=_title(report), videos=videos, limits=score_limits(report.videos), note=subject(report),
                tables=_tables([report], ["percent"]), plots=_plots([report], [""]))


def of_comparison(comparison: Comparison) -> Page:
    """The page of reports side by side: each video has the curves of all of them."""
    first, *others = comparison.reports
    scores = [{video.name: video.scores for video in report.videos} for report in others]
    videos = [_video(video, others=[of[video.name] for of in scores]) for video in first.videos]
    numbers = [f"[{i}]" for i in range(1, len(comparison.names) + 1)]
    names = [f"{number} {name}" for number, name in zip(numbers, comparison.names)]
    all_metrics, *categories = _tables(comparison.reports, numbers)
    return Page(title=f"Comparison of {len(names)} runs", videos=videos, runs=names,
                note="\n".join(f"{name}: {subject(report)}" for name, report in zip(names, comparison.reports)),
                limits=score_limits([video for report in comparison.reports for video in report.videos]),
                tables=[all_metrics, _differences(comparison, numbers), *categories],
                plots=_plots(comparison.reports, names))


def _title(report: Report) -> str:
    known = [str(report.about[key]) for key in ("method", "dataset") if report.about.get(key)]
    return "Evaluation" + (f" of {known[0]}" if known else "") + (f" on {known[1]}" if len(known) > 1 else "")


def _video(video: VideoScores, others: Sequence[ArrayLike] = (), misranked: float | None = None) -> PageVideo:
    """Times are in frames where no frame rate is known."""
    rate = video.frame_rate or 1.0
    snippet, label = SNIPPET / rate, "abnormal" if video.abnormal else "normal"
    truth = [(start / rate, end / rate) for start, end in anomalies(video.abnormal_fraction)]
    return PageVideo(video.name, snippet * np.arange(len(video.scores)), video.scores, snippet * len(video.scores),
                     truth=truth, category=", ".join(video.categories) or label, others=others, misranked=misranked,
                     in_frames=video.frame_rate is None)


def _tables(reports: Sequence[Report], names: Sequence[str]) -> list[PageTable]:
    """The metrics, and those of the categories where there are any; a column, or two, for each report."""
    undefined = dict.fromkeys(f"nan for {group}: {reason}" for report in reports
                              for group, reason in report.undefined.items())
    keys = [key for key in text.TITLES if any(key in report.metrics for report in reports)]
    rows = [[text.TITLES[key], *(cell(report, key) for report in reports)] for key in keys]
    notes = [INTERVAL, *([WRONG] if len(reports) == 1 else []), *undefined]
    tables = [PageTable("Metrics", ["", *names], rows, "\n".join(notes))]
    if any(report.categories for report in reports):
        tables.append(_categories(reports, names))
    if any(report.classes for report in reports):
        tables += [PageTable(title[:1].upper() + title[1:], ["", *names], [[what, *values] for what, values in rows],
                             CLASS_NOTES[title]) for title, rows in class_rows(reports)]
    if len(reports) == 1 and reports[0].classes:
        tables.append(_confusion(reports[0]))
    return tables


def _confusion(report: Report) -> PageTable:
    """The predicted classes of videos, in percent of each category's."""
    names = list(report.classes)
    counts = class_metrics.confusion(report.videos, names)
    rows = [[name, str(row.sum()), *(f"{100 * count / row.sum():.0f}" if count else "" for count in row)]
            for name, row in zip(names, counts)]
    return PageTable("Predicted classes", ["", "videos", *names], rows,
                     "In percent of the videos of each category, by row: the class with the highest mean of its T // 16 + 1 highest "
                     "probabilities.")


def _categories(reports: Sequence[Report], names: Sequence[str]) -> PageTable:
    columns = [f"{key.upper()} {name if len(reports) > 1 else ''}".strip() for key in COMPARED for name in names]
    none = {"videos": 0} | dict.fromkeys(COMPARED, math.nan)
    rows = []
    for category in sorted({category for report in reports for category in report.categories}):
        found = [report.categories.get(category, none) for report in reports]
        rows.append([category, str(max(of["videos"] for of in found)),
                     *(text.percent(of[key]) for key in COMPARED for of in found)])
    return PageTable("Categories", ["", "videos", *columns], rows,
                     "In percent, over the frames of a category's own videos.")


def _differences(comparison: Comparison, names: Sequence[str]) -> PageTable:
    rows = [[f"{text.TITLES[key].split(' (')[0]} of {name}", f"{100 * found.value:+.2f}",
             "{:+.2f} to {:+.2f}".format(*(100 * end for end in found.interval)), f"{100 * found.wins:.1f} %"]
            for name, differences in zip(names[1:], comparison.differences) for key, found in differences.items()]
    return PageTable(f"Differences from {names[0]}", ["", "percent", "95 % interval", "better in"], rows,
                     f"The paired bootstrap over the {len(comparison.reports[0].videos)} videos: "
                     f"{comparison.replicates} resamples, the same for all.")


def _plots(reports: Sequence[Report], names: Sequence[str]) -> list[PagePlot]:
    """ROC and precision-recall curves: of one report over all and over the abnormal videos, of several over all."""
    plots = []
    abnormal = Frames(reports[0].videos).abnormal_frames()
    for title, x, y, key, chance in (
            ("ROC curve", "false-positive rate", "true-positive rate", "auc", ("chance, 50.00 %", (0, 1), (0, 1))),
            ("Precision-recall curve", "recall", "precision", "ap",
             (f"chance, {text.percent(abnormal)} %: the abnormal frames", (0, 1), (abnormal, abnormal)))):
        lines = [line for report, name in zip(reports, names)
                 for line in _lines(report, name, key, abnormal=len(reports) == 1)]
        reasons = dict.fromkeys(report.undefined.get("all videos", "not known") for report in reports
                                if math.isnan(report.metrics.get(key, math.nan)))
        plots.append(PagePlot(title, x, y, lines, chance, "\n".join(reasons)))
    return plots


def _lines(report: Report, name: str, key: str, abnormal: bool) -> list[Line]:
    groups = [("all videos", key, report.videos)]
    if abnormal:
        groups.append(("abnormal videos", f"{key}_sub", tuple(video for video in report.videos if video.abnormal)))
    return [(f"{name or group}, {key.upper()} {text.percent(report.metrics[metric])} %", *_curve(Frames(videos), key))
            for group, metric, videos in groups if not math.isnan(report.metrics.get(metric, math.nan))]


def _curve(frames: Frames, key: str) -> tuple[ArrayLike, ArrayLike]:
    if key == "auc":
        return frames.apply(metrics.roc_curve)[:2]
    precision, recall, _ = frames.apply(metrics.precision_recall_curve)
    return recall, precision
