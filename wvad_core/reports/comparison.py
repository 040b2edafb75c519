"""Reports of the same videos compared: how much better one is than another, and how sure that is."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError, listing
from ..scoring import metrics
from ..scoring.evaluation import Frames, VideoScores
from . import storage, text
from .results import Report

LOGGER = logging.getLogger("wvad")
CLASS_AUC, DETECTION = "AUC of a class, by its probability", "temporal detection, mAP at IoU"
BEST = "best"
"""The folder of a training run that holds the report of its best weights."""
COMPARED = {"auc": metrics.roc_auc, "ap": metrics.pr_auc}
"""What `metrics.bootstrap` resamples."""


@dataclass(frozen=True)
class Difference:
    """A metric of one report minus that of the first.

    value: the difference, above 0 where this one is better than the first. NaN where the metric is undefined.
    interval: (low, high), 95 % of the differences over the resamples of the videos.
    wins: the fraction of the resamples in which this one is better than the first, ties by halves.
    """
    value: float
    interval: tuple[float, float]
    wins: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` gives.

    names, reports: one for each report, the first of which the others are compared with.
    differences: {"auc", "ap": Difference}, for each report but the first.
    replicates: how many resamples there were.
    """
    names: tuple[str, ...]
    reports: tuple[Report, ...] = field(repr=False)
    differences: tuple[dict[str, Difference], ...]
    replicates: int

    def table(self) -> str:
        """The reports, their metrics side by side, and the differences from the first one, in percent."""
        numbers = [f"[{i}]" for i in range(1, len(self.names) + 1)]
        lines = [f"{number:<5}{name}{_subject(report)}"
                 for number, name, report in zip(numbers, self.names, self.reports)]
        lines += ["", f"{'':<42}" + "".join(f"{number:>26}" for number in numbers)]
        lines += [f"{text.TITLES[key]:<42}" + "".join(f"{cell(report, key):>26}" for report in self.reports)
                  for key in text.TITLES if any(key in report.metrics for report in self.reports)]
        lines += [line for title, rows in (class_rows(self.reports) if any(r.classes for r in self.reports) else ())
                  for line in ("", f"{title:<42}" + "".join(f"{number:>26}" for number in numbers),
                               *(f"{name:<42}" + "".join(f"{value:>26}" for value in values) for name, values in rows))]
        lines += ["", f"{'difference from [1]':<28}{'':<6}{'percent':>9}   {'95 % interval':<20}better in"]
        for number, differences in zip(numbers[1:], self.differences):
            lines += [f"{text.TITLES[key].split(' (')[0]:<28}{number:<6}{100 * found.value:>+9.2f}   "
                      f"{'{:+.2f} to {:+.2f}'.format(*(100 * end for end in found.interval)):<20}{100 * found.wins:.1f} %"
                      for key, found in differences.items()]
        videos = len(self.reports[0].videos)
        return "\n".join([*lines, "", f"intervals: 95 % over the {videos} videos; {self.replicates} resamples of them, the "
                                      "same for all, give those of the differences and how often one is better"])


def compare(reports: Sequence[Report], names: Sequence[str], replicates: int = 1000, seed: int = 0) -> Comparison:
    """Compare reports with the first of them, by the bootstrap over whole videos.

    Each of the R = `replicates` resamples draws V of the V videos with replacement (see `metrics.bootstrap`), the same
    ones for all reports, so that what makes videos hard or easy for all leaves the differences.
    Raises InputError where there are fewer than two reports, and where they are not of the same videos with the same
    abnormal frames; it names what differs. Reports of different protocols, whose frames may differ, are compared with a
    warning that is logged.
    """
    if len(reports) < 2:
        raise InputError(f"found {len(reports)} to compare, expected two reports or more")
    first = {video.name: video for video in reports[0].videos}
    protocols = [report.about.get("protocol", "uniform") for report in reports]
    if len(set(protocols)) > 1:
        LOGGER.warning("reports of different protocols are compared: %s; differences may be those of the protocols",
                       ", ".join(f"{name} {protocol}" for name, protocol in zip(names, protocols)))
    for report, name, protocol in zip(reports[1:], names[1:], protocols[1:]):
        _check_alike(first, names[0], {video.name: video for video in report.videos}, name, protocol == protocols[0])
    values, resampled = zip(*(_resample(report, replicates, seed) for report in reports))
    differences = tuple({key: _difference(values[0][key], values[i][key], resampled[0][key], resampled[i][key])
                         for key in COMPARED} for i in range(1, len(reports)))
    return Comparison(tuple(names), tuple(reports), differences, replicates)


def load_run(folder: str | Path) -> Report:
    """The report in a folder: a saved one, or that of a training run's best weights.

    Raises InputError as `Report.load`, and for a folder of several training runs.
    """
    folder = Path(folder)
    if (folder / BEST / storage.REPORT).exists():
        return Report.load(folder / BEST)
    runs = [path.parents[1] for path in sorted(folder.glob(f"*/{BEST}/{storage.REPORT}"))]
    if runs and not (folder / storage.SCORES).exists():
        raise InputError(f"{folder}: holds {len(runs)} training runs, expected one of them, such as {runs[0]}")
    return Report.load(folder)


def _resample(report: Report, replicates: int, seed: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The metrics over all frames, and over the resamples' frames. Videos are drawn by their sorted names."""
    videos = sorted(report.videos, key=lambda video: video.name)
    frames = Frames(videos)
    resampled = metrics.bootstrap(frames.abnormal_fraction, frames.scores, frames.weights, frames.video_index, replicates, seed)
    return {key: frames.metric(function) for key, function in COMPARED.items()}, resampled


def _difference(first: float, other: float, of_first: np.ndarray, of_other: np.ndarray) -> Difference:
    differences = of_other - of_first
    differences = differences[~np.isnan(differences)]
    wins = np.mean((np.sign(differences) + 1) / 2) if len(differences) else np.nan
    return Difference(other - first, metrics.percentile_interval(differences), float(wins))


def _check_alike(first: dict[str, VideoScores], first_name: str, other: dict[str, VideoScores], name: str,
                 same_frames: bool) -> None:
    """Raise InputError unless two reports are of the same videos, snippets and, of one protocol, abnormal frames."""
    missing = ((first_name, other.keys() - first.keys()), (name, first.keys() - other.keys()))
    if any(names for _, names in missing):
        lines = [f"not in {report}: {listing(sorted(names), 3)}".replace("\n  ", ", ")
                 for report, names in missing if names]
        raise InputError(f"{name}: not of the same videos as {first_name}; {'; '.join(lines)}")
    for video in first.values():
        ours, theirs = other[video.name].abnormal_fraction, video.abnormal_fraction
        if len(ours) != len(theirs):
            raise InputError(f"{name}: video {video.name} has {len(ours)} snippets, {len(theirs)} in {first_name}")
        if same_frames and not np.array_equal(ours, theirs):
            raise InputError(f"{name}: video {video.name} has other abnormal frames than in {first_name}, from snippet "
                             f"{np.flatnonzero(ours != theirs)[0]} on")


def cell(report: Report, key: str) -> str:
    """A metric in percent, with its interval in brackets where it has one; a dash where the report lacks it."""
    if key not in report.metrics:
        return "-"
    interval = f" ({text.span(report.intervals[key])})" if key in report.intervals else ""
    return text.percent(report.metrics[key]) + interval


def class_rows(reports: Sequence[Report]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """[(title, [(what, its value in percent in each report)])]: AUC of classes, and the mAP of temporal detection."""
    names = dict.fromkeys(name for report in reports for name in report.classes)
    ious = dict.fromkeys(iou for report in reports for iou in report.detection)
    aucs = [(name, [_percent(report.classes.get(name, {}).get("auc")) for report in reports]) for name in names]
    return [(CLASS_AUC, aucs), (DETECTION, [(iou, [_percent(report.detection.get(iou)) for report in reports]) for iou in ious])]


def _percent(value: float | None) -> str:
    return "-" if value is None else text.percent(value)


def _subject(report: Report) -> str:
    """What was run, as far as the report says."""
    known = [str(report.about[key]) for key in ("method", "backend", "dataset", "checkpoint") if report.about.get(key)]
    known += text.protocol_words(report.about)
    return f": {', '.join(known)}" if known else ""
