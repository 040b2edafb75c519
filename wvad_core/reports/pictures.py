"""The pictures of a report and of a training run, as PNG files."""
from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import written_whole
from ..progress import progress_bar
from . import drawing, figures
from .contact_sheet import contact_sheet
from .results import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_NAME = 75
"""Characters of a video's name that its file keeps."""


def draw(report: Report, folder: str | Path) -> int:
    """Write roc.png, precision_recall.png, videos.png, a sheet of all videos, and scores/NAME.png of every video; of a method
    that tells classes apart, confusion.png.

    Returns how many pictures that is. Characters of NAME that are no letter, digit, dot, dash, underscore or equals sign
    become underscores; where two videos would have one file, a checksum of the name follows it.
    Raises ImportError when matplotlib is not installed.
    """
    drawing.new_figure(1, 1)  # first of all, since it fails without matplotlib
    folder = Path(folder)
    write(figures.roc(report), folder / "roc.png")
    write(figures.precision_recall(report), folder / "precision_recall.png")
    write(contact_sheet(report), folder / "videos.png")
    if report.classes:
        write(figures.confusion(report), folder / "confusion.png")
    detail, limits = figures.subject(report), figures.score_limits(report.videos)
    names = file_names([video.name for video in report.videos])
    for video, name in progress_bar(zip(report.videos, names), "drawing", total=len(names), unit="video"):
        write(figures.timeline(video, detail, limits), folder / "scores" / f"{name}.png")
    return 3 + bool(report.classes) + len(names)


def write(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, pil_kwargs={"compress_level": 4})


def file_names(videos: Sequence[str]) -> list[str]:
    """The videos' files, without suffix: safe on every file system, and unique where capitals do not count."""
    safe = [re.sub(r"^\.|[^\w.=-]", "_", name)[:LONGEST_NAME] for name in videos]
    times = Counter(name.lower() for name in safe)
    return [f"{name}-{zlib.crc32(video.encode()):08x}" if times[name.lower()] > 1 else name
            for name, video in zip(safe, videos)]
