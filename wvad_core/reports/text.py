"""A report, and a comparison of several, as text for a terminal."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .comparison import Comparison
    from .results import Report

# What a report holds, in its order, as people call it.
TITLES = {
    "auc": "AUC", "ap": "AP (trapezoidal, as published)", "average_precision": "average precision (step rule)",
    "auc_sub": "AUC_sub (abnormal videos)", "ap_sub": "AP_sub (abnormal videos)",
    "false_alarm_rate": "false-alarm rate at 0.5",
    "false_alarm_rate_abnormal": "false-alarm rate at 0.5, abnormal videos",
    "false_alarm_rate_normal": "false-alarm rate at 0.5, normal videos", "video_accuracy": "video accuracy at 0.5"}


def table(report: Report) -> str:
    """The metrics in percent, one a line, with their intervals; then the categories, and why what is nan is."""
    lines = [f"{'':<42}{'percent':>9}   95 % interval over videos"]
    for key, value in report.metrics.items():
        interval = f"   {span(report.intervals[key])}" if key in report.intervals else ""
        lines.append(f"{TITLES[key]:<42}{percent(value):>9}{interval}")
    if report.categories:
        lines += ["", f"{'category':<28}{'videos':>8}{'AUC':>9}{'AP':>9}"]
        lines += [f"{name:<28}{of['videos']:>8}{percent(of['auc']):>9}{percent(of['ap']):>9}"
                  for name, of in report.categories.items()]
    if report.undefined:
        lines += ["", *(f"nan for {name}: {reason}" for name, reason in report.undefined.items())]
    return "\n".join(lines)


def percent(value: float) -> str:
    """0.1234 as "12.34"."""
    return f"{100 * value:.2f}"


def span(interval: tuple[float, float]) -> str:
    """An interval in percent: "12.34 to 56.78"."""
    low, high = interval
    return f"{percent(low)} to {percent(high)}"


def comparison(compared: Comparison) -> str:
    """The reports, their metrics side by side, and the differences from the first one, in percent."""
    numbers = [f"[{i}]" for i in range(1, len(compared.names) + 1)]
    lines = [f"{number:<5}{name}{_subject(report)}"
             for number, name, report in zip(numbers, compared.names, compared.reports)]
    lines += ["", f"{'':<42}" + "".join(f"{number:>26}" for number in numbers)]
    lines += [f"{TITLES[key]:<42}" + "".join(f"{_cell(report, key):>26}" for report in compared.reports)
              for key in TITLES if any(key in report.metrics for report in compared.reports)]
    lines += ["", f"{'difference from [1]':<28}{'':<6}{'percent':>9}   {'95 % interval':<20}better in"]
    for number, differences in zip(numbers[1:], compared.differences):
        lines += [f"{TITLES[key].split(' (')[0]:<28}{number:<6}{100 * found.value:>+9.2f}   "
                  f"{'{:+.2f} to {:+.2f}'.format(*(100 * end for end in found.interval)):<20}{100 * found.wins:.1f} %"
                  for key, found in differences.items()]
    videos = len(compared.reports[0].videos)
    return "\n".join([*lines, "", f"intervals: 95 % over the {videos} videos; {compared.replicates} resamples of them, the "
                                  "same for all, give those of the differences and how often one is better"])


def _cell(report: Report, key: str) -> str:
    if key not in report.metrics:
        return "-"
    interval = f" ({span(report.intervals[key])})" if key in report.intervals else ""
    return percent(report.metrics[key]) + interval


def _subject(report: Report) -> str:
    """What was run, as far as the report says."""
    known = [str(report.about[key]) for key in ("method", "backend", "dataset", "checkpoint") if report.about.get(key)]
    return f": {', '.join(known)}" if known else ""
