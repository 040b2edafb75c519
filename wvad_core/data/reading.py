"""The features of one video, read from disk without a table."""
from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import InputError
from .features import CROP, CROPS, Files, most_crops, open_video
from .video_features import Header, header

COUNTS = (CROPS, 5, 1, 16, 31, 59)
"""What a crop axis may have, the likeliest first: crops, and 10 crops with the patches of one, two or three sizes."""


def read_features(path: str | Path, crops: int | None = None) -> np.ndarray:
    """The features of a video, (N, T, D) float32, whichever way its file has the axes.

    path: NAME.npy, (T, D), (T, N, D) or (N, T, D); or NAME, with or without .npy, of files NAME__0.npy, NAME__1.npy ...
    or NAME_0.npy, NAME_1.npy ..., a crop each.
    crops: the size of the crop axis, patches included. Without it, in a file of three axes, that is 10, else 5, 1, 16,
    31 or 59, the first of these that an axis has; where both have it, the file is (T, N, D), as in a folder of features.

        detector.score(wv.data.read_features("i3d/Abuse028_x264.npy"))

    Raises InputError, which names the file, for what a folder of features is refused for.
    """
    path = Path(path)
    files: Files = {None: [path]} if os.path.lexists(path) and not path.is_dir() else _of_crops(path)
    headers = {file: header(file) for same in files.values() for file in same}
    try:
        video = open_video(files, headers, crop_count(files, headers, crops), 1)
    except InputError as error:
        raise InputError(f"{path.parent}: {error}") from error
    if crops not in (None, video.shape[0]):
        raise InputError(f"{path}: {video.shape[0]} crops, expected {crops}")
    return video.read()


def _of_crops(path: Path) -> Files:
    """The files of a video's crops, {crop: [file]}."""
    name, files = path.name.removesuffix(".npy"), {}
    for file in sorted(path.parent.glob("*.npy")) if path.parent.is_dir() else ():
        match = CROP.fullmatch(file.stem)
        if match and match[1] == name:
            files.setdefault(int(match[2]), []).append(file)
    if not files:
        raise InputError(f"{path}: no such file, nor {name}__0.npy, {name}__1.npy ... or {name}_0.npy, {name}_1.npy ... "
                         "beside it")
    return files


def crop_count(files: Files, headers: Mapping[Path, Header], crops: int | None) -> int:
    """The size of the crop axis."""
    if None not in files:
        return most_crops(files)
    (path,), shape = files[None], headers[files[None][0]]
    if isinstance(shape, str) or len(shape) == 2:
        return 1
    found = crops or next((count for count in COUNTS if count in shape[:2]), None)
    if found is None:
        raise InputError(f"{path.name} has shape {shape}, neither of whose first two axes is of a size that crops have "
                         f"({', '.join(map(str, COUNTS))}); crops=N names it")
    return found
