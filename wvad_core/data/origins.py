"""Where features come from: what `features.json` says of the files beside and below it.

    {"origin": what they are made by (see ../origin.py), "videos": {NAME: {"snippets": T, "frame_rate": ..., ...}}}

`wvad extract` writes it. Features without one, as most published ones, are of unknown origin. It counts for the files of its
folder, and of the folders in it that have none of their own.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, listing, one_line
from ..origin import KEY, Origin, from_dict
from .features import CROP
from .npy import opened
from .video_features import VideoFeatures

FILE = "features.json"
LARGEST = 1 << 26
"""Bytes of it: fifty times those of the largest published set."""


@dataclass(frozen=True, eq=False)
class Record:
    """What one features.json says. videos: {name: what it has of it}."""
    path: Path
    origin: Origin
    videos: Mapping[str, Mapping[str, Any]]

    def entry(self, file: Path) -> Mapping[str, Any] | None:
        """What it has of the video that a file is of; None where it does not know the file."""
        crop = CROP.fullmatch(file.stem)
        return self.videos.get(file.stem) or (self.videos.get(crop[1]) if crop else None)


def read_origins(folder: str | Path, features: Mapping[str, VideoFeatures]) -> tuple[Origin | None, dict[str, float]]:
    """The origin of the features of all videos, None where it is not known; and {video: frames a second}, where known.

    features: of the folder, by the videos' names. Raises InputError for a features.json that cannot be read or is none, for
    files that it does not know, or knows with another T; and where the videos are of different origins, or of some the
    origin is not known.
    """
    records: dict[Path, Record | None] = {}
    origins: dict[Record | None, str] = {}
    rates: dict[str, float] = {}
    flaws = []
    for name, video in features.items():
        for file in video.files:
            record = _record(file.parent, Path(folder), records)
            origins.setdefault(record, name)
            if record is None:
                continue
            entry = record.entry(file)
            if entry is None:
                flaws.append(f"{name}: {record.path} does not know {file.name}, expected what an extraction has finished")
            elif entry.get("snippets") != video.shape[1]:
                flaws.append(f"{name}: {file.name} has T = {video.shape[1]}, {record.path} says {one_line(entry.get('snippets'), 40)}")
            elif rate := _rate(entry.get("frame_rate")):
                rates[name] = rate
    if flaws:
        raise InputError(f"{folder}: features that are not those of their {FILE}\n  {listing(list(dict.fromkeys(flaws)))}")
    return _one_origin(str(folder), origins), rates


def _one_origin(folder: str, origins: Mapping[Record | None, str]) -> Origin | None:
    """The origin that all have. origins: {what is known of files: the first video of it}. Raises InputError for several."""
    (first, name), *others = origins.items() or [(None, "")]
    for record, other in others:
        if first is None or record is None:
            of, known, unknown = (record, other, name) if first is None else (first, name, other)
            assert of is not None
            raise InputError(f"{folder}: {known} has features of {of.origin} ({of.path}), {unknown} of unknown origin, expected one "
                             "origin")
        if differences := first.origin.differences(record.origin):
            raise InputError(f"{folder}: {name} has features of {first.origin} ({first.path}), {other} of {record.origin} "
                             f"({record.path}); they differ in {'; '.join(differences[:4])}, expected one origin")
    return first and first.origin


def _record(folder: Path, top: Path, known: dict[Path, Record | None]) -> Record | None:
    """What is said of the files of a folder, in it or above it up to the top; None where nothing is."""
    if folder not in known:
        path = folder / FILE
        if path.exists() or path.is_symlink():
            known[folder] = _read(path)
        else:
            known[folder] = None if folder in (top, folder.parent) else _record(folder.parent, top, known)
    return known[folder]


def read(path: Path) -> dict[str, Any]:
    """What a features.json has, with videos, whatever these are like. Raises InputError for one that has none."""
    try:
        with opened(path) as file:
            text = file.read(LARGEST + 1)
        values = json.loads(text) if len(text) <= LARGEST else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({one_line(error, 100)}), expected what an extraction wrote") from error
    if not (isinstance(values, dict) and isinstance(values.get("videos"), dict)):
        raise InputError(f"{path}: has no videos, expected what an extraction wrote")
    return values


def _read(path: Path) -> Record:
    values = read(path)
    if not all(isinstance(about, dict) for about in values["videos"].values()):
        raise InputError(f"{path}: has no videos, expected what an extraction wrote")
    return Record(path, from_dict(values.get(KEY), str(path)), values["videos"])


def _rate(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 0 < value < 1e6 else None
