"""Which class each anomalous segment of a table's videos is of.

By default a video's intervals are of its category, and of each of them where it has several. Where segments of several classes
overlap, or a video of several categories has some of each, a file beside the table says so, TABLE_class_segments.csv:

    video,category,start,end
    Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6,B2,157,180

A line for each segment [start, end), in frames counted from 0. It then speaks for all videos, the normal ones too, whose frames
are segments of the class Normal where it says so. Of the bundled tables XD-Violence has one, as published.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError, did_you_mean
from .annotations import CLASS_SEGMENTS, NUMBER, TRAIN_CATEGORIES, Video, rows, short, table_path

COLUMNS = ("video", "category", "start", "end")
Segments = tuple[tuple[str, int, int], ...]


def class_segments(name_or_csv: str | Path, videos: Sequence[Video]) -> dict[str, Segments]:
    """{video: ((category, start, end), ...)} of a table's videos; those that are not known are left out.

    These are, without a file for them, abnormal videos without intervals or without a category.
    Raises InputError, which names the file, the line, what was found and what was expected.
    """
    path = table_path(name_or_csv)
    beside = path.with_name(f"{path.stem}{CLASS_SEGMENTS}.csv")
    if not beside.exists():
        return {video.name: tuple((category, *interval) for category in video.categories for interval in video.intervals)
                for video in videos if video.abnormal is False or video.intervals and video.categories}
    found: dict[str, list[tuple[str, int, int]]] = {video.name: [] for video in videos}
    for where, row in rows(beside, COLUMNS):
        name, category, start, end = (row[column].strip() for column in COLUMNS)
        if name not in found:
            raise InputError(f"{where}: video {short(repr(name))}, expected one of {path.name}{did_you_mean(name, found)}")
        if not category:
            raise InputError(f"{where}: no name in the column category")
        if not (NUMBER.fullmatch(start) and NUMBER.fullmatch(end) and int(start) < int(end)):
            raise InputError(f"{where}: from {short(repr(start))} to {short(repr(end))}, expected frames with start < end")
        found[name].append((category, int(start), int(end)))
    return {name: tuple(segments) for name, segments in found.items()}


def train_categories(name_or_csv: str | Path) -> dict[str, tuple[str, ...]]:
    """{video: its categories} of training videos whose table only says that they are anomalous, of a file beside it:

        video,category
        01_0026,fighting-chasing

    in TABLE_train_categories.csv; {} where there is none, and for what is no table. Of the bundled tables ShanghaiTech has
    one, the labels of Pu et al. (2024). Raises InputError, which names the file, the line, what was found and what was expected.
    """
    try:
        path = table_path(name_or_csv)
    except InputError:
        return {}
    beside = path.with_name(f"{path.stem}{TRAIN_CATEGORIES}.csv")
    if not beside.exists():
        return {}
    return {row["video"].strip(): tuple(row["category"].strip().split("-")) for _, row in rows(beside, ("video", "category"))}
