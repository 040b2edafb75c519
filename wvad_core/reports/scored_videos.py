"""What scoring videos without annotation leaves in a folder: scores.csv, events.json, events.jsonl, pictures, report.html."""
from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..checkpoints.threshold import Threshold
from ..files import locked_folder, plain, write_json, written_whole
from ..progress import progress_bar
from ..scoring.events import Event, event_id, messages
from ..scoring.videos import ScoredVideo
from ..scoring.watching import NOMINAL_RATE
from . import drawing, event_figures, page, pictures

SCORES, EVENTS, MESSAGES, LOCK = "scores.csv", "events.json", "events.jsonl", ".lock"
COLUMNS = ("video", "snippet", "start", "end", "score")
"""Of scores.csv; behind them one for each class, CLASS NAME."""
CLASS = "class "


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is not there, for one process. Raises InputError where another one has it."""
    lock = locked_folder(folder / LOCK, "another process writes into it, expected a folder of its own")
    try:
        yield
    finally:
        lock.release()


def save(folder: Path, videos: Sequence[ScoredVideo], threshold: Threshold | None, about: Mapping[str, Any],
         probabilities: bool, truth: Mapping[str, Sequence[tuple[float, float]]] | None = None) -> str:
    """Write everything, each file whole or not at all; what is there then, in words.

    about: method, checkpoint, ... plain data. probabilities: whether scores are, and so have a scale from 0 to 1.
    truth: {name: ((start, end), ...)}, the seconds that are anomalous, where that is known; the page shows them.
    """
    limits = (0.0, 1.0) if probabilities and threshold else None
    write_scores(folder / SCORES, videos)
    write_json(folder / EVENTS, {"about": dict(about), "threshold": None if threshold is None else asdict(threshold),
                                 "videos": {video.name: _video(video) for video in videos}})
    write_messages(folder / MESSAGES, videos, threshold)
    subject = ", ".join(str(value) for key, value in about.items() if key in ("method", "checkpoint") and value)
    shown = [page_video(video, (truth or {}).get(video.name, ())) for video in videos]
    page.write(folder / page.PAGE, page.Page("Anomaly scores", shown, threshold.high if threshold else None, limits, subject))
    return f"written to {folder}: {SCORES}, {EVENTS}, {MESSAGES}, {page.PAGE}{_draw(folder, videos, threshold, subject, limits)}"


def write_scores(path: Path, videos: Sequence[ScoredVideo]) -> None:
    """A row for each snippet: its number, its seconds (empty where no frame rate is known), its score, its class probabilities."""
    names = list(dict.fromkeys(name for video in videos for name in video.classes))
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *(CLASS + name for name in names)])
        for video in videos:
            seconds = [f"{time:.3f}" if video.frame_rate else "" for time in video.times]
            classes = [video.classes.get(name) for name in names]
            for t, score in enumerate(video.scores):
                writer.writerow([video.name, t, seconds[t], seconds[t + 1], f"{score:.9g}",
                                 *("" if of is None else f"{of[t]:.9g}" for of in classes)])


def write_messages(path: Path, videos: Sequence[ScoredVideo], threshold: Threshold | None) -> None:
    """The messages of all events, a line of JSON each, as a recorder that sees the videos would send them."""
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        if threshold is None:
            return
        for video in videos:
            for message in messages(video.name, video.scores, video.times, threshold, video.classes):
                file.write(json.dumps(plain(_timed(message.as_dict(), video)), allow_nan=False) + "\n")


def page_video(video: ScoredVideo, truth: Sequence[tuple[float, float]] = ()) -> page.PageVideo:
    """A video as the page shows it. truth: the seconds that are anomalous, where that is known."""
    unit = 1.0 if video.frame_rate else NOMINAL_RATE  # the page counts frames where no frame rate is known
    events = [page.PageEvent(event.start * unit, event.end * unit, event.peak_time * unit, event.peak, event.class_name)
              for event in video.events]
    media = video.source if video.is_video and Path(video.source).is_file() else None
    return page.PageVideo(video.name, video.times[:-1] * unit, video.scores, float(video.times[-1]) * unit, events, media=media,
                          truth=[(start * unit, end * unit) for start, end in truth],
                          thumbnails=[(time * unit, jpeg) for time, jpeg in video.key_frames], classes=video.classes or None,
                          in_frames=video.frame_rate is None)


def _video(video: ScoredVideo) -> dict[str, Any]:
    return {"source": video.source, "snippets": len(video.scores), "frame_rate": video.frame_rate, "remarks": video.remarks,
            "peak": float(video.scores.max()), "events": [_event(event, video) for event in video.events]}


def _event(event: Event, video: ScoredVideo) -> dict[str, Any]:
    return _timed({"id": event_id(video.name, event), **asdict(event)}, video)


def _timed(values: dict[str, Any], video: ScoredVideo) -> dict[str, Any]:
    """An event's values, its seconds only where they are known."""
    unknown = () if video.frame_rate else ("start", "end", "peak_time")
    return {key: None if key in unknown else value for key, value in values.items()}


def _draw(folder: Path, videos: Sequence[ScoredVideo], threshold: Threshold | None, detail: str,
          limits: tuple[float, float] | None) -> str:
    """Draw scores/NAME.png of all videos; what is said of it."""
    try:
        drawing.new_figure(1, 1)
    except ImportError as error:
        return f"; no pictures, {error}"
    names = pictures.file_names([video.name for video in videos])
    for video, name in progress_bar(zip(videos, names), "drawing", total=len(names), unit="video"):
        figure = event_figures.events(video, threshold.high if threshold else None, detail, limits)
        pictures.write(figure, folder / "scores" / f"{name}.png")
    return f" and {len(names)} pictures"
