"""Feature folders, read in every published layout and matched to videos by name.

    NAME__0.npy .. NAME__9.npy   one file for each crop, (T, D): UCF-Crime has 10 crops, XD-Violence 5
    NAME_0.npy .. NAME_9.npy     the same, as published for ShanghaiTech
    NAME.npy                     one file for each video: (T, D) is one crop, (T, N, D) or (N, T, D) are N = 10

NAME is the video's name in the table; `_x264`, `_i3d` or both may follow it. Files may lie in subfolders, and files
of other videos are left alone. A name is first looked up whole: cam_1.npy is crop 1 of the video cam only where the
table has no video cam_1.

In a file of three axes the crop axis is the one of size 10. Where both are, the folder's other videos decide, else
(T, N, D), the more common layout. Where most files have no axis of 10 (crops with patches are 16, 31 or 59 together),
the size that most of them share takes its place.

Opening a folder reads headers only. Values are float16, float32 or float64; nothing is unpickled. A file that changes after
its folder was opened is looked at again whenever it is read: its shape and type, and that its values are finite.
"""
from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..errors import InputError, listing, one_line
from .annotations import SNIPPET, Video
from .video_features import Header, VideoFeatures, header

LAYOUTS = "NAME__0.npy, NAME__1.npy ... or NAME_0.npy, NAME_1.npy ... (a crop each) or NAME.npy (a video each)"
SUFFIXES = ("", "_x264", "_i3d", "_x264_i3d")
CROP = re.compile(r"(.+?)__?([0-9])")
CROPS = 10
"""Crops in a file that holds all of a video's."""
GRACE = 2
"""Snippets by which the features and the table's frames may disagree: the ways to count the last ones differ."""
Files = dict[int | None, list[Path]]
"""A video's files by crop; None stands for a file that holds the whole video."""


class Missing(InputError):
    """A file that is not there."""


def open_features(folder: str | Path, videos: Sequence[Video], others: Collection[Video] = (),
                  feature_dim: int | None = None) -> dict[str, VideoFeatures]:
    """Find the features of `videos` in a folder, check their headers, and give them by the videos' names.

    others: the table's other videos, so that their files are known for what they are.
    feature_dim: the D that is needed, where one is.
    Raises InputError with all that is wrong with any video: no file, a crop missing or there twice, a file that is
    empty, cut short, pickled or of the wrong dtype or shape, a D or a number of crops unlike the other videos', a T
    that the table's frames do not make.
    """
    folder = Path(folder)
    found, remark = _find_files(folder, {video.name for video in (*videos, *others)})
    headers = {file: header(file) for video in videos for files in found[video.name].values() for file in files}
    agreed = conventions([found[video.name] for video in videos], headers)
    opened: dict[str, VideoFeatures] = {}
    flaws: dict[str, str] = {}
    for video in videos:
        try:
            opened[video.name] = open_video(found[video.name], headers, *agreed)
        except InputError as error:
            flaws[video.name] = str(error) + (remark if isinstance(error, Missing) else "")
    dims = Counter(features.shape[2] for features in opened.values())
    dim = max(dims, key=dims.__getitem__, default=feature_dim)
    for video in videos:
        if video.name in opened and (flaw := _disagreement(video, opened[video.name].shape, dim)):
            flaws[video.name] = flaw
    lines = [f"{video.name}: {flaws[video.name]}" for video in videos if video.name in flaws]
    if dim is not None and feature_dim not in (None, dim):
        lines.insert(0, f"{dims[dim]} videos: D = {dim}, expected {feature_dim}")
    if lines:
        raise InputError(f"{folder}: the features cannot be used\n  {listing(lines)}")
    return opened


def _find_files(folder: Path, names: set[str]) -> tuple[dict[str, Files], str]:
    """The files of every name, {} where there are none; and what might hold more and could not be read, "" where nothing."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected a folder of features")
    found: dict[str, Files] = {name: {} for name in names}
    paths, closed = walk(folder)
    remark = one_line("".join(f"; {flaw}" for flaw in closed[:2])) + (f" (and {len(closed) - 2} more)" if closed[2:] else "")
    for path in paths:
        if match := _match(path.stem, names):
            name, crop = match
            found[name].setdefault(crop, []).append(path)
    if not any(found.values()):
        seen = one_line(", ".join(path.name for path in paths[:3])) + (", ..." if len(paths) > 3 else "")
        raise InputError(f"{folder}: none of the {len(paths)} .npy files is named after a video of the table "
                         f"(found {seen or 'nothing'}; a video of the table is {min(names)}), expected {LAYOUTS}{remark}")
    return found, remark


def walk(folder: Path) -> tuple[list[Path], list[str]]:
    """The .npy files in a folder and its subfolders, each of which is entered once, and those that cannot be; links too."""
    files, closed, entered, folders = [], [], set(), [folder]
    while folders:
        current = folders.pop()
        if (real := os.path.realpath(current)) in entered:
            continue  # a link back, or a second way
        entered.add(real)
        try:
            with os.scandir(current) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
                    _sort(entry, files, folders, closed, folder)
        except OSError as error:
            closed.append(f"the folder {current.relative_to(folder)} cannot be read ({error.strerror})")
    return sorted(files), sorted(closed)


def _sort(entry: os.DirEntry, files: list[Path], folders: list[Path], closed: list[str], folder: Path) -> None:
    path, named = Path(entry.path), entry.name.endswith(".npy")
    try:
        if entry.is_dir():
            folders.append(path)
            closed.extend([f"{path.relative_to(folder)} is a folder"] if named else [])
        elif named:
            files.append(path)
        elif entry.is_symlink():
            path.stat()
    except OSError as error:  # of a link: whatever it was to lead to
        if named:
            files.append(path)
        else:
            closed.append(f"the link {path.relative_to(folder)} cannot be followed ({error.strerror})")


def _match(stem: str, names: Collection[str]) -> tuple[str, int | None] | None:
    """The video and the crop that a file is named after."""
    readings: list[tuple[str, int | None]] = [(stem, None)]
    if parts := CROP.fullmatch(stem):
        readings.append((parts[1], int(parts[2])))
    for base, crop in readings:
        for suffix in SUFFIXES:
            if base.removesuffix(suffix) in names:
                return base.removesuffix(suffix), crop
    return None


def conventions(videos: Sequence[Files], headers: Mapping[Path, Header]) -> tuple[int, int]:
    """What the folder's videos agree on: the number of crops, and the crop axis where two axes have that size."""
    counts = Counter(most_crops(files) for files in videos if files and None not in files)
    if counts:
        return max(counts, key=lambda crops: (counts[crops], crops)), 1
    shapes = [headers[files[None][0]] for files in videos if files]
    stacks = [shape for shape in shapes if not isinstance(shape, str) and len(shape) == 3]
    if not stacks:
        return 1, 1
    sizes = Counter(size for shape in stacks for size in dict.fromkeys((shape[1], shape[0])))
    crops = CROPS if 2 * sizes[CROPS] >= len(stacks) else max(sizes, key=sizes.__getitem__)
    first, second = (sum(shape[axis] == crops for shape in stacks) for axis in (0, 1))
    return crops, 0 if first > second else 1


def most_crops(files: Files) -> int:
    """How many crops there are, of a video with a file for each: one more than the last one's number."""
    return 1 + max(crop for crop in files if crop is not None)


def open_video(files: Files, headers: Mapping[Path, Header], crops: int, crop_axis: int) -> VideoFeatures:
    """Put one video together. Raises InputError without the video's name."""
    if not files:
        raise Missing("no feature file")
    for same in files.values():
        if len(same) > 1:
            raise InputError(f"{same[0]} and {same[1]} are both there, expected one of them")
    found = {crop: headers[file] for crop, (file,) in files.items()}
    flaws = [f"{files[crop][0].name} {flaw}" for crop, flaw in found.items() if isinstance(flaw, str)]
    if flaws:
        raise InputError(flaws[0] + (f" (and {len(flaws) - 1} more of its files)" if len(flaws) > 1 else ""))
    shapes = {crop: shape for crop, shape in found.items() if not isinstance(shape, str)}
    if None not in files:
        return _open_crops({crop: file for crop, (file,) in files.items() if crop is not None},
                           {crop: shape for crop, shape in shapes.items() if crop is not None}, crops)
    if len(files) > 1:
        raise InputError(f"{files[None][0].name} and files for its crops are both there, expected one or the other")
    return _open_whole(files[None][0], shapes[None], crops, crop_axis)


def _open_whole(file: Path, shape: tuple[int, ...], crops: int, crop_axis: int) -> VideoFeatures:
    if len(shape) == 2 and crops == 1:
        return VideoFeatures((file,), (1, shape[0], shape[1]))
    axes = [axis for axis in (0, 1) if len(shape) == 3 and shape[axis] == crops]
    if not axes:
        raise InputError(f"{file.name} has shape {shape}, expected {crops} crops as in the other videos")
    axis = axes[0] if len(axes) == 1 else crop_axis
    return VideoFeatures((file,), (crops, shape[1 - axis], shape[-1]), axis)


def _open_crops(files: Mapping[int, Path], shapes: Mapping[int, tuple[int, ...]], crops: int) -> VideoFeatures:
    missing = [str(crop) for crop in range(crops) if crop not in files]
    if missing:
        raise Missing(f"no file of crop {', '.join(missing)}, expected crops 0 to {crops - 1}")
    if max(files) >= crops:
        raise InputError(f"{files[max(files)].name} is too many, expected crops 0 to {crops - 1} as elsewhere")
    common = Counter(shapes.values()).most_common(1)[0][0]
    expected = f"{common} as in the other crops" if len(common) == 2 else "(T, D)"
    for crop in range(crops):
        if len(shapes[crop]) != 2 or shapes[crop] != common:
            raise InputError(f"{files[crop].name} has shape {shapes[crop]}, expected {expected}")
    return VideoFeatures(tuple(files[crop] for crop in range(crops)), (crops, common[0], common[1]))


def _disagreement(video: Video, shape: tuple[int, int, int], dim: int | None) -> str | None:
    """What the features of a video have unlike the other videos' D or the table's frames."""
    _, snippets, own_dim = shape
    if own_dim != dim:
        return f"D = {own_dim}, expected {dim} as in the other videos"
    if video.frames and abs(snippets - (due := math.ceil(video.frames / SNIPPET))) > GRACE:
        return f"T = {snippets}, expected {due} (give or take {GRACE}) for the table's {video.frames} frames"
    return None
