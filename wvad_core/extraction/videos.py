"""Which videos paths stand for, and what each is called."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InputError
from ..video.opening import ADDRESS
from ..video.pictures import is_picture_folder

SUFFIXES = {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
            ".vob", ".webm", ".wmv"}
"""Of the files in a folder that are taken for videos; a file that is given by itself may have any."""


def find_videos(paths: Sequence[str]) -> dict[str, str]:
    """{name: path or address} of videos, in their order. A folder stands for all videos in it and in its subfolders, and a
    folder of pictures for one video.

    A video is called as its file without the suffix, as its folder of pictures, or as the last part of its address.
    Raises InputError for a path where nothing is, for a folder without videos, and for two videos of one name.
    """
    found: dict[str, str] = {}
    for path in paths:
        for name, source in _named(path):
            if found.setdefault(name, source) != source:
                raise InputError(f"{found[name]} and {source} are both called {name}, expected videos of different names")
    return found


def _named(path: str) -> Iterator[tuple[str, str]]:
    if ADDRESS.match(path):
        yield Path(urlsplit(path).path).stem or urlsplit(path).netloc.replace(":", "_"), path
    elif os.path.isdir(path):
        videos = list(_in_folder(Path(path)))
        if not videos:
            raise InputError(f"{path}: no videos in it, expected {', '.join(sorted(SUFFIXES))}, or folders of pictures")
        yield from ((video.name if video.is_dir() else video.stem, str(video)) for video in videos)
    elif os.path.isfile(path):
        yield Path(path).stem, path
    else:
        raise InputError(f"{path}: no such file, expected a video, a folder or an address")


def _in_folder(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, onerror=_refuse):
        videos = [Path(root, file) for file in sorted(files) if Path(file).suffix.lower() in SUFFIXES and file[0] != "."]
        if not videos and is_picture_folder(Path(root)):
            yield Path(root).resolve() if root == "." else Path(root)
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from videos


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error


def sizes(videos: Mapping[str, str]) -> dict[str, int]:
    """{name: bytes} of {name: path or address}."""
    return {name: size(source) for name, source in videos.items()}


def size(source: str) -> int:
    """Bytes of a video, for the progress of many; 0 of an address."""
    path = Path(source)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
