"""A report as text for a terminal: the names of the metrics, percents, the table."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a report holds, in its order, as people call it.
TITLES = {
    "auc": "AUC", "ap": "AP (trapezoidal, as published)", "average_precision": "average precision (step rule)",
    "auc_sub": "AUC_sub (abnormal videos)", "ap_sub": "AP_sub (abnormal videos)",
    "false_alarm_rate": "false-alarm rate at 0.5",
    "false_alarm_rate_abnormal": "false-alarm rate at 0.5, abnormal videos",
    "false_alarm_rate_normal": "false-alarm rate at 0.5, normal videos", "video_accuracy": "video accuracy at 0.5",
    "published_auc": "AUC as its authors take it", "published_ap": "AP as its authors take it",
    "published_false_alarm_rate": "false-alarm rate as its authors take it"}


def table(metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]],
          categories: Mapping[str, Mapping[str, float]], undefined: Mapping[str, str],
          classes: Mapping[str, Mapping[str, float]] | None = None, detection: Mapping[str, float] | None = None) -> str:
    """The metrics in percent, one a line, with their intervals; then the categories, the classes, and why what is nan is.

    Arguments are as the fields of a Report.
    """
    lines = [f"{'':<42}{'percent':>9}   95 % interval over videos"]
    for key, value in metrics.items():
        interval = f"   {span(intervals[key])}" if key in intervals else ""
        lines.append(f"{TITLES[key]:<42}{percent(value):>9}{interval}")
    if categories:
        lines += ["", f"{'category':<28}{'videos':>8}{'AUC':>9}{'AP':>9}"]
        lines += [f"{name:<28}{of['videos']:>8}{percent(of['auc']):>9}{percent(of['ap']):>9}"
                  for name, of in categories.items()]
    if classes:
        lines += ["", f"{'class, by its probability':<28}{'segments':>8}{'AUC':>9}"]
        lines += [f"{name:<28}{of['segments']:>8}{percent(of['auc']):>9}" for name, of in classes.items()]
    if detection:
        lines += ["", f"{'temporal detection, mAP at IoU':<32}" + "".join(f"{iou:>9}" for iou in detection),
                  f"{'':<32}" + "".join(f"{percent(value):>9}" for value in detection.values())]
    if undefined:
        lines += ["", *(f"nan for {name}: {reason}" for name, reason in undefined.items())]
    return "\n".join(lines)


def protocol_words(about: Mapping[str, Any]) -> tuple[str, ...]:
    """That a report is of another protocol than the uniform one, as it is to be seen beside what else it is about."""
    return () if about.get("protocol", "uniform") == "uniform" else (f"{about['protocol']} protocol",)


def percent(value: float) -> str:
    """0.1234 as "12.34"."""
    return f"{100 * value:.2f}"


def span(interval: tuple[float, float]) -> str:
    """An interval in percent: "12.34 to 56.78"."""
    low, high = interval
    return f"{percent(low)} to {percent(high)}"
