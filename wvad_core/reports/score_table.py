"""scores.csv, read again: the rows of one video."""
from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from ..errors import InputError, did_you_mean, one_line
from .scored_videos import COLUMNS


def read_scores(path: Path, video: str) -> np.ndarray:
    """The scores of one video, (T,), of a file as `scored_videos.write_scores` writes it.

    Memory does not grow with the other videos. Raises InputError for a file that is none, and for a video that is not in it.
    """
    scores: list[float] = []
    names: set[str] = set()
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
                raise InputError(f"{path}: has no column {', '.join(missing)}, expected {','.join(COLUMNS)}")
            for row in rows:
                names.add(row["video"])
                if row["video"] == video:
                    scores.append(_score(row, len(scores), f"{path}, line {rows.line_num}"))
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not scores:
        raise InputError(f"{path}: has no video {video}{did_you_mean(video, names)}; --name takes one of its {len(names)}")
    return np.array(scores)


def _score(row: dict[str, str], expected: int, where: str) -> float:
    try:
        snippet, score = int(row["snippet"]), float(row["score"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: no row of a snippet ({one_line(error, 100)})") from error
    if snippet != expected:
        raise InputError(f"{where}: snippet {snippet}, expected {expected}")
    if not math.isfinite(score):
        raise InputError(f"{where}: score {score}, expected a finite number")
    return score
