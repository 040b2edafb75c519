"""report.html: one file for people to look at, that opens offline in any browser and asks no server for anything.

A `Page` says what is on it; `write` puts it, as JSON, into page_files/page.html with its style and its scripts. What a
name holds is text there and nothing else: JSON is written in ASCII and without < > &, scripts set texts and never
markup, links are percent-encoded, and the page forbids itself (Content-Security-Policy) every script but its own and
every address but that of a video's file.
"""
from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike

from ..files import plain, written_whole

PAGE = "report.html"
"""The name of the file in a folder of results."""
STYLES = ("page.css",)
SCRIPTS = ("elements.js", "chart.js", "plots.js", "player.js", "list.js", "page.js")
"""In their order on the page, which is one script."""
DIGITS = 4
"""Decimals that a score keeps, of the range of its video's scores."""


@dataclass(frozen=True)
class PageEvent:
    """A stretch of a video that a detector takes for anomalous.

    start, end, peak_time: seconds. peak: the highest score, at peak_time. class_: its most probable class, if any.
    """
    start: float
    end: float
    peak_time: float
    peak: float
    class_: str | None = None


@dataclass(frozen=True, eq=False)
class PageVideo:
    """A video and its T scores.

        PageVideo("shop_017", np.arange(115) * 16 / 25, scores, duration=73.6, media="videos/shop_017.mp4")

    seconds: (T,), rising, where the snippet of each score begins. scores: (T,), finite.
    duration: seconds at which the last snippet ends; without it the last is as long as the one before it.
    events: in any order. truth: ((start, end), ...) in seconds, anomalous by annotation.
    media: the video's file, as a path; the page links to it, from its own folder.
    thumbnails: ((seconds, bytes of a JPEG file), ...).
    category: what is known about it, "Fight" or "Normal".
    classes: {name: (T,) probabilities}. others: (T,) scores of the further runs of a comparison, in their order.
    misranked: how badly it is scored, a fraction in [0, 1] (`metrics.misranked_fraction`), where that is known.
    in_frames: whether no frame rate is known, so that all `seconds` of the video, and of its events, count frames.
    """
    name: str
    seconds: ArrayLike
    scores: ArrayLike
    duration: float | None = None
    events: Sequence[PageEvent] = ()
    truth: Sequence[tuple[float, float]] = ()
    media: str | Path | None = None
    thumbnails: Sequence[tuple[float, bytes]] = ()
    category: str | None = None
    classes: Mapping[str, ArrayLike] | None = None
    others: Sequence[ArrayLike] = ()
    misranked: float | None = None
    in_frames: bool = False


@dataclass(frozen=True)
class PageTable:
    """A table of texts: the words above its columns, and its rows, each as long as those."""
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, eq=False)
class PagePlot:
    """Lines in the unit square, of a ROC curve, say.

    lines: ((label, x (n,), y (n,)), ...). chance: one that is dashed.
    """
    title: str
    x_label: str
    y_label: str
    lines: Sequence[tuple[str, ArrayLike, ArrayLike]]
    chance: tuple[str, ArrayLike, ArrayLike] | None = None
    note: str = ""


@dataclass(frozen=True)
class Page:
    """All that is on a page.

    title, note: its heading, and what stands below. videos: in any order; the page sorts them by peak score.
    threshold: the score from which on a snippet counts as anomalous; where None is known the page says so.
    limits: (low, high), the scale of scores of all videos; without it, and without a threshold, each video's curve is
        shown relative to the range of its own scores.
    runs: the names of the runs that are compared; the first one's scores are `PageVideo.scores`.
    tables, plots: the metrics of a test set, where there are any.
    """
    title: str
    videos: Sequence[PageVideo]
    threshold: float | None = None
    limits: tuple[float, float] | None = None
    note: str = ""
    runs: Sequence[str] = ()
    tables: Sequence[PageTable] = ()
    plots: Sequence[PagePlot] = ()


def write(path: str | Path, page: Page) -> None:
    """Write a page, whole or not at all. Raises InputError where the folder cannot be written."""
    folder = os.path.abspath(Path(path).parent)
    values = {"title": page.title, "note": page.note, "threshold": page.threshold, "limits": _limits(page),
              "runs": list(page.runs), "tables": [_table(table) for table in page.tables],
              "plots": [_plot(plot) for plot in page.plots], "videos": [_video(video, folder) for video in page.videos]}
    with written_whole(path) as temporary:
        temporary.write_text(_document(page.title, values), encoding="utf-8")


def _document(title: str, values: dict[str, Any]) -> str:
    style = "\n".join(map(_page_file, STYLES))
    script = '"use strict";\n' + "\n".join(map(_page_file, SCRIPTS))
    fields = {"policy": f"default-src 'none'; img-src data:; media-src 'self' file:; style-src '{_hash(style)}'; "
                        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'",
              "title": _text(title), "style": style, "script": script, "data": _json(values)}
    parts = _page_file("page.html").split("@@")  # text @@name@@ text ...: nothing that is filled in is looked at again
    return "".join(fields[part] if i % 2 else part for i, part in enumerate(parts))


def _page_file(name: str) -> str:
    return (resources.files(__name__.rpartition(".")[0]) / "page_files" / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """How a Content-Security-Policy names the one script, or style, that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _json(values: dict[str, Any]) -> str:
    """JSON in ASCII that has no character of markup, so that nothing in it ends the element around it."""
    text = json.dumps(plain(values), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(text: str) -> str:
    """A text as HTML, all but plain letters and digits by their numbers; what cannot be printed is U+FFFD."""
    return "".join(c if c.isascii() and c.isalnum() else f"&#{ord(c) if c.isprintable() else 0xFFFD};" for c in text)


def _limits(page: Page) -> list[float] | None:
    """The scale of scores: as given, else, where a threshold is known, 0 and 1 or the range of all scores."""
    if page.limits is not None or page.threshold is None:
        return None if page.limits is None else list(page.limits)
    ends = [float(end) for video in page.videos for end in (np.min(video.scores), np.max(video.scores))]
    return [min(0.0, *ends, page.threshold), max(1.0 if max(ends, default=0) <= 1 else 0.0, *ends, page.threshold)]


def _video(video: PageVideo, folder: str) -> dict[str, Any]:
    """What the script is told of a video; what is not known is left out."""
    seconds, scores = (np.asarray(values, np.float64) for values in (video.seconds, video.scores))
    classes = {name: np.asarray(values, np.float64) for name, values in (video.classes or {}).items()}
    others = [np.asarray(values, np.float64) for values in video.others]
    shapes = {values.shape for values in (seconds, scores, *classes.values(), *others)}
    if len(shapes) != 1 or seconds.ndim != 1 or not seconds.size:
        raise ValueError(f"{video.name}: times and scores of shapes {sorted(shapes)}, expected (T,) of all")
    last = seconds[-1] - seconds[-2] if len(seconds) > 1 else 1.0
    values = {"name": video.name, "seconds": _times(seconds), "scores": _rounded(scores), "in_frames": video.in_frames,
              "duration": round(float(seconds[-1] + last if video.duration is None else video.duration), 3),
              "events": [_event(event) for event in sorted(video.events, key=lambda event: event.start)],
              "truth": [[round(float(end), 3) for end in ends] for ends in video.truth],
              "media": None if video.media is None else _link(video.media, folder),
              "thumbnails": [[round(float(time), 3), base64.b64encode(jpeg).decode()]
                             for time, jpeg in sorted(video.thumbnails)],
              "category": video.category, "classes": [[name, _rounded(of)] for name, of in classes.items()],
              "others": [_rounded(of) for of in others],
              "misranked": None if video.misranked is None else round(float(video.misranked), 4)}
    return {key: value for key, value in values.items() if value is not None and value != []}


def _times(seconds: np.ndarray) -> list[float] | dict[str, float]:
    """The times, or, where they are even to a thousandth, the first and the step."""
    step = float(seconds[-1] - seconds[0]) / max(len(seconds) - 1, 1)
    if np.abs(seconds - seconds[0] - step * np.arange(len(seconds))).max() < 5e-4:
        return {"first": float(seconds[0]), "step": step}
    return np.round(seconds, 3).tolist()


def _rounded(values: np.ndarray) -> list[float]:
    """With DIGITS decimals where the values have a range of 1, more or fewer where it is smaller or larger."""
    extent = float(np.ptp(values))
    decimals = DIGITS + (math.floor(-math.log10(extent)) if extent > 0 else DIGITS)
    return np.round(values, decimals).tolist()


def _event(event: PageEvent) -> list[Any]:
    times = (round(float(time), 3) for time in (event.start, event.end, event.peak_time))
    return [*times, float(f"{event.peak:.{DIGITS + 2}g}"), event.class_]


def _link(media: str | Path, folder: str) -> str:
    """A file's address relative to the page's folder, percent-encoded; an absolute one where that does not exist."""
    file = os.path.abspath(media)
    try:
        return quote(os.fsencode(os.path.relpath(file, folder).replace(os.sep, "/")))
    except ValueError:  # another drive
        return Path(file).as_uri()


def _table(table: PageTable) -> dict[str, Any]:
    return {"title": table.title, "columns": list(table.columns), "rows": [list(row) for row in table.rows],
            "note": table.note}


def _plot(plot: PagePlot) -> dict[str, Any]:
    return {"title": plot.title, "x_label": plot.x_label, "y_label": plot.y_label, "note": plot.note,
            "lines": [_line(*line) for line in plot.lines], "chance": plot.chance and _line(*plot.chance)}


def _line(label: str, x: ArrayLike, y: ArrayLike, most: int = 500) -> dict[str, Any]:
    """A line of at most so many points more than it needs to be seen, evenly spaced along it."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) > most:
        along = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        kept = np.unique(np.concatenate([[0], np.searchsorted(along, np.linspace(0, along[-1], most)), [len(x) - 1]]))
        x, y = x[kept.clip(0, len(x) - 1)], y[kept.clip(0, len(x) - 1)]
    return {"label": label, "x": np.round(x, 4).tolist(), "y": np.round(y, 4).tolist()}
