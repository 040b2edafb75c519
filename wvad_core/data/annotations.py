"""Tables of videos, and the ground truth that they make.

A table is a CSV file with the columns

    video,split,category,frames,intervals
    Arson011,test,Arson,1266,150-420 680-1267

one video a line: its name, `train` or `test`, its category, its number of frames, and its anomalous intervals
[start, end), in frames counted from 0. Category, frames and intervals are left empty where they are not known. A sixth
column, fps, may give the frame rate, in frames a second, which is for times that people read: 30 in UCF-Crime, whose
authors fixed it there, and 24 in XD-Violence, whose clips have as many frames for each second that their names count.

A snippet is 16 frames. The ground truth of a video of T snippets is its intervals drawn on 16 T frames; all that
the metrics need of it is each snippet's abnormal fraction k / 16, which is exact in binary. A test set may also be known
as one timeline over all its videos, end to end in the table's order: a `<table>_test_timeline.csv` beside a bundled
table, or an array of the user's own. What is anomalous of which class, segment_classes.py says.
"""
from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, one_line

SNIPPET = 16
"""Frames in a snippet."""

COLUMNS = ("video", "split", "category", "frames", "intervals")
FRAME_RATE = "fps"
"""A column that a table may have besides."""
SPLITS = ("train", "test")
TABLES = Path(__file__).with_name("tables")
TIMELINE, CLASS_SEGMENTS, TRAIN_CATEGORIES = "_test_timeline", "_class_segments", "_train_categories"
"""Behind a table's name, what may lie beside it."""
NUMBER = re.compile("[0-9]{1,15}")
CONTROL = re.compile("[\x00-\x1f\x7f]")
LONGEST = 255
"""Characters of a name: files cannot have longer ones."""
MOST = 1 << 24
"""Bytes of a table that is taken: those of a hundred thousand videos."""


@dataclass(frozen=True)
class Video:
    """One line of a table.

    name: as the features' files have it. split: "train" or "test". category: "Normal", an anomaly's, several joined by "-",
    or "" where it is not known.
    frames: how many it has; None where that is not known.
    intervals: its anomalous ones, [start, end), in frames counted from 0.
    frame_rate: frames a second; None where that is not known.
    """

    name: str
    split: str
    category: str
    frames: int | None
    intervals: tuple[tuple[int, int], ...]
    frame_rate: float | None = None

    @property
    def abnormal(self) -> bool | None:
        """Whether the category is an anomaly; None where the category is unknown."""
        return self.category != "Normal" if self.category else None

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories one by one: XD-Violence joins those of one video, as in "B1-B2-G"."""
        return tuple(self.category.split("-")) if self.category else ()


def bundled_tables() -> dict[str, Path]:
    """The tables that come with the library: {"ucf-crime": its CSV file, ...}."""
    files = sorted(TABLES.glob("*.csv"))
    return {file.stem.replace("_", "-"): file for file in files if not file.stem.endswith((TIMELINE, CLASS_SEGMENTS, TRAIN_CATEGORIES))}


def load_table(name_or_csv: str | Path) -> tuple[Video, ...]:
    """The videos of a bundled table (by name) or of a CSV file of one's own (by path), in the table's order.

    Raises InputError, which names the file, the line, what was found and what was expected.
    """
    path = table_path(name_or_csv)
    videos: dict[str, Video] = {}
    for where, row in rows(path, COLUMNS, (*COLUMNS, FRAME_RATE)):
        video = _video(row, where)
        if video.name in videos:
            raise InputError(f"{where}: video {short(video.name)} is there twice, expected each video once")
        videos[video.name] = video
    if not videos:
        raise InputError(f"{path}: no videos, expected one on each line after the first")
    return tuple(videos.values())


def frame_labels(video: Video, snippets: int) -> np.ndarray:
    """The video's intervals drawn on the frames of its snippets, clipped at their end: (16 T,) bool."""
    return _drawn(video.intervals, SNIPPET * snippets)


def abnormal_fraction(video: Video, snippets: int) -> np.ndarray:
    """The fraction k / 16 of each snippet's frames that are abnormal: (T,) float64, exact."""
    return _fractions(frame_labels(video, snippets))


def split_timeline(timeline: np.ndarray, videos: Sequence[Video], snippets: Sequence[int]) -> list[np.ndarray]:
    """Cut one ground truth over all the videos into each video's abnormal fraction per snippet.

    timeline: (F,) or (F, 1), 0 or 1 for each frame, in any numeric dtype, the videos end to end.
    snippets: each video's T; F must be 16 sum(T).
    Returns the fractions of each video, (T,) float64, as `abnormal_fraction` does.
    Raises InputError when the values are not 0 and 1, or the length is wrong: by how much, and what it should be.
    """
    frames = np.asarray(timeline)
    if frames.ndim == 2 and frames.shape[1] == 1:
        frames = frames[:, 0]
    if frames.ndim != 1 or frames.dtype.kind not in "biuf":
        raise InputError(f"the ground truth has shape {frames.shape} and dtype {frames.dtype}, "
                         "expected one number for each frame, (F,)")
    wrong = np.flatnonzero((frames != 0) & (frames != 1))
    if wrong.size:
        raise InputError(f"the ground truth has {frames[wrong[0]]} at frame {wrong[0]}, expected only 0 and 1")
    expected = SNIPPET * sum(snippets)
    if len(frames) != expected:
        off = f"{abs(len(frames) - expected)} too {'many' if len(frames) > expected else 'few'}"
        raise InputError(f"the ground truth has {len(frames)} frames, {off}: the features of {len(videos)} videos "
                         f"have {sum(snippets)} snippets, that is {expected} frames{_conventions(videos)}")
    return np.split(_fractions(frames != 0), np.cumsum(snippets)[:-1])


def bundled_timeline(name_or_csv: str | Path) -> np.ndarray | None:
    """The (F,) bool timeline that lies beside a bundled table, or None where there is none."""
    table = bundled_tables().get(_bundled_name(name_or_csv))
    path = table and table.with_name(f"{table.stem}{TIMELINE}.csv")
    if not path or not path.exists():
        return None
    total, starts, ends = np.loadtxt(path, int, delimiter=",", skiprows=1, ndmin=2).T
    return _drawn(zip(starts, ends), total[0])


def _drawn(intervals: Iterable[tuple[int, int]], frames: int) -> np.ndarray:
    labels = np.zeros(frames, bool)
    for start, end in intervals:
        labels[start:end] = True
    return labels


def _fractions(labels: np.ndarray) -> np.ndarray:
    return labels.reshape(-1, SNIPPET).mean(axis=1)


def _conventions(videos: Sequence[Video]) -> str:
    """What the two published ways to count snippets would give, where the table knows every video's frames."""
    frames = [video.frames for video in videos if video.frames]
    if len(frames) < len(videos):
        return ""
    up = SNIPPET * sum(-(-count // SNIPPET) for count in frames)
    down = SNIPPET * sum((count - 1) // SNIPPET for count in frames)
    return (f" (by the table, ceil(frames / {SNIPPET}) snippets a video would make {up} frames, "
            f"floor((frames - 1) / {SNIPPET}) would make {down})")


def _bundled_name(name_or_csv: str | Path) -> str:
    return str(name_or_csv).replace("_", "-")


def table_path(name_or_csv: str | Path) -> Path:
    """The file of a table, of a bundled one's by its name. Raises InputError where there is none."""
    tables = bundled_tables()
    path = tables.get(_bundled_name(name_or_csv), Path(name_or_csv))
    if path.is_file():
        return path
    if path.suffix == ".csv":
        raise InputError(f"{path}: " + ("no file that can be read" if path.exists() else "no such file"))
    raise InputError(f"{name_or_csv}: no such dataset, expected {', '.join(tables)} or the path of a CSV file")


def rows(path: Path, *known: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file, each with its file and line for messages; every row has every column.

    known: the columns that it may have, in any order. Raises InputError for others.
    """
    columns: list[str] = []
    for where, cells in _lines(path):
        if not columns:
            columns = cells
            if sorted(columns) not in map(sorted, known):
                raise InputError(f"{path}: the columns are {short(','.join(columns))}, expected {','.join(known[0])}")
        elif len(cells) != len(columns):
            raise InputError(f"{where}: {len(cells)} cells, expected {len(columns)}: {','.join(columns)}")
        else:
            yield where, dict(zip(columns, cells))
    if not columns:
        raise InputError(f"{path}: the columns are missing, expected {','.join(known[0])}")


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The lines of a CSV file that are not empty, in cells, each with the file and the number that it begins at."""
    where = str(path)
    try:
        if (size := path.stat().st_size) > MOST:
            raise InputError(f"{path}: {size / 1e6:.0f} MB, expected a table of at most {MOST / 1e6:.0f} MB")
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            while True:
                where = f"{path}, line {reader.line_num + 1}"
                if (cells := next(reader, None)) is None:
                    return
                if cells:
                    yield where, cells
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except csv.Error as error:
        raise InputError(f"{where}: not CSV ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def short(text: str) -> str:
    """What a table has, for a message, which is one line and not as long as a hostile table's."""
    return one_line(text, 100)


def _video(row: dict[str, str], where: str) -> Video:
    name, split, category, frames, intervals = (row[column].strip() for column in COLUMNS)
    if not name:
        raise InputError(f"{where}: no name in the column video")
    for column, text in (("video", name), ("category", category)):
        if CONTROL.search(text) or len(text) > LONGEST:
            raise InputError(f"{where}: {column} {short(repr(text))}, expected at most {LONGEST} characters, none of control")
    if split not in SPLITS:
        raise InputError(f"{where}: split {short(repr(split))}, expected {' or '.join(SPLITS)}")
    if frames and not (NUMBER.fullmatch(frames) and int(frames)):
        raise InputError(f"{where}: frames {short(repr(frames))}, "
                         "expected a whole number above 0, or nothing if not known")
    known = int(frames) if frames else None
    video = Video(name, split, category, known, tuple(_interval(text, known, where) for text in intervals.split()),
                  _frame_rate(row.get(FRAME_RATE, "").strip(), where))
    if video.abnormal is False and video.intervals:
        raise InputError(f"{where}: intervals {short(repr(intervals))} in a video of category Normal, expected none")
    return video


def _frame_rate(text: str, where: str) -> float | None:
    if not re.fullmatch(r"([0-9]{1,6}(\.[0-9]{1,12})?)?", text) or (text and not float(text)):
        raise InputError(f"{where}: fps {short(repr(text))}, "
                         "expected frames a second, a number above 0, or nothing if not known")
    return float(text) if text else None


def _interval(text: str, frames: int | None, where: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (NUMBER.fullmatch(first) and NUMBER.fullmatch(last)):
        raise InputError(f"{where}: interval {short(repr(text))}, "
                         "expected start-end in frames, several with a space between")
    start, end = int(first), int(last)
    if start >= end:
        raise InputError(f"{where}: interval {text} starts at its end or after it, expected start < end")
    # The published annotations end up to two frames after the last frame: one snippet of grace.
    if frames and (start >= frames or end > frames + SNIPPET):
        raise InputError(f"{where}: interval {text} lies beyond the video's {frames} frames")
    return start, end
