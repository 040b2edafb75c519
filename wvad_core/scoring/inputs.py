"""What is to be scored: videos, and features of videos, by their paths alone; no table says which there are."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.features import CROP, CROPS, Files, conventions, open_video, walk
from ..data.origins import read_origins
from ..data.reading import crop_count
from ..data.video_features import Header, VideoFeatures, header
from ..errors import InputError
from ..extraction.videos import SUFFIXES, find_videos
from ..origin import Origin


@dataclass(frozen=True)
class Input:
    """One video.

    name: what it is called: as its file without suffix and number of crop. source: a path or an address; of features, their
    first file. features: where they are given. frame_rate, origin: of their video, and what they are made by, where a
    features.json says it. flaw: what is wrong with them, in a line; "" where nothing is seen.
    """
    name: str
    source: str
    features: VideoFeatures | None = None
    frame_rate: float | None = None
    origin: Origin | None = None
    flaw: str = ""

    @property
    def is_video(self) -> bool:
        return self.features is None and not self.flaw


def find_inputs(paths: Sequence[str], crops: int | None = None) -> tuple[Input, ...]:
    """The videos that paths stand for, in their order.

    A path is a video, a folder of videos or of pictures, an address; a .npy file of features, a folder of such files in any layout
    that `data.features` has, or NAME of NAME__0.npy, NAME__1.npy .... Files NAME_0.npy to NAME_9.npy are the crops of one video
    where all ten are there, (T, D) each; others of such names are videos. crops: in a file, where that is known.
    Raises InputError for a path where nothing is, for a folder without any, and for two videos of one name.
    """
    found: dict[str, Input] = {}
    for made in (made for group in _grouped(paths) for made in _inputs(group, crops)):
        before = found.setdefault(made.name, made)
        if before.source != made.source:
            raise InputError(f"{before.source} and {made.source} are both called {made.name}, expected videos of different names")
    return tuple(found.values())


def _grouped(paths: Sequence[str]) -> list[list[str]]:
    """The paths, .npy files that follow one another in one group: those of crops belong together."""
    groups: list[list[str]] = []
    for path in paths:
        if groups and path.endswith(".npy") and groups[-1][-1].endswith(".npy"):
            groups[-1].append(path)
        else:
            groups.append([path])
    return groups


def _inputs(group: Sequence[str], crops: int | None) -> Iterable[Input]:
    path = Path(group[0])
    if path.is_dir():
        files = walk(path)[0]
        if not files:
            return [Input(name, source) for name, source in find_videos(group).items()]
        if videos := [inner for inner in path.rglob("*") if inner.suffix.lower() in SUFFIXES]:
            raise InputError(f"{path}: has features ({files[0].name}) and videos ({videos[0].name}), expected one or the other")
        return with_origins(path, _features(files, crops))
    if group[0].endswith(".npy"):
        return _by_folder(_features([Path(file) for file in group], crops))
    if not os.path.lexists(path):
        if files := [file for sign in ("__", "_") for file in sorted(path.parent.glob("*.npy"))
                     if file.stem[:-1] == path.name + sign and file.stem[-1].isdigit()]:
            return _by_folder(_features(files, crops))
    return [Input(name, source) for name, source in find_videos(group).items()]


def with_origins(folder: Path, inputs: Iterable[Input]) -> list[Input]:
    """Features that are in a folder or below it, with what features.json says of them. Raises InputError as `read_origins`."""
    inputs = list(inputs)
    origin, rates = read_origins(folder, {made.name: made.features for made in inputs if made.features})
    return [replace(made, origin=origin, frame_rate=made.frame_rate or rates.get(made.name)) for made in inputs]


def _by_folder(inputs: Sequence[Input]) -> list[Input]:
    """The same for files that are given one by one: each folder by itself."""
    folders = dict.fromkeys(Path(made.source).parent for made in inputs)
    return [made for folder in folders for made in with_origins(folder, [one for one in inputs if Path(one.source).parent == folder])]


def _features(paths: Sequence[Path], crops: int | None) -> list[Input]:
    if missing := next((path for path in paths if not os.path.lexists(path)), None):
        raise InputError(f"{missing}: no such file, expected features, a video, a folder or an address")
    headers = {path: header(path) for path in paths}
    videos = _by_name(paths, headers)
    counts = conventions(list(videos.values()), headers)
    stacks = sum(not isinstance(shape, str) and len(shape) == 3 for shape in headers.values())
    return [_opened(name, files, headers, (crops, counts[1]) if crops else counts if stacks != 1 else None)
            for name, files in videos.items()]


def _opened(name: str, files: Files, headers: Mapping[Path, Header], agreed: tuple[int, int] | None) -> Input:
    """agreed: crops, and the axis they are on where two may be; None where a file is to say it by itself."""
    source = str(next(iter(files.values()))[0])
    try:
        features = open_video(files, headers, *(agreed or (crop_count(files, headers, None), 1)))
        return Input(name, source, features)
    except InputError as error:
        return Input(name, source, flaw=f"{Path(source).parent}: {error}")


def _by_name(paths: Sequence[Path], headers: Mapping[Path, Header]) -> dict[str, Files]:
    """The files of every video, those of crops together."""
    crops: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for path in paths:
        if match := CROP.fullmatch(path.stem):
            sign = path.stem[len(match[1]):-1]
            crops.setdefault((match[1], sign), {}).setdefault(match[2], []).append(path)
    together = {key for key, files in crops.items() if key[1] == "__" or _are_crops(files, headers)}
    videos: dict[str, Files] = {}
    for path in paths:
        match = CROP.fullmatch(path.stem)
        if match and (match[1], path.stem[len(match[1]):-1]) in together:
            videos.setdefault(match[1], {}).setdefault(int(match[2]), []).append(path)
        else:
            videos.setdefault(path.stem, {}).setdefault(None, []).append(path)
    return videos


def _are_crops(files: Mapping[str, Sequence[Path]], headers: Mapping[Path, Header]) -> bool:
    """Whether files NAME_0, NAME_1 ... are as published for ShanghaiTech: ten crops, and not as many videos."""
    shapes = [headers[path] for same in files.values() for path in same]
    return len(files) == CROPS and all(not isinstance(shape, str) and len(shape) == 2 and shape == shapes[0] for shape in shapes)
