"""One way into all sources of frames."""
from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError
from .containers import stream, video_file
from .pictures import picture_folder
from .source import Frames, Source

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def open(source: str | Path | Iterable[Any], name: str | None = None, frame_rate: float | None = None) -> Source:
    """The frames of a video file, of a folder of pictures, of a network stream's address (rtsp://, http:// ...), or of
    any iterable of arrays, (H, W, 3) uint8 RGB.

    name: what messages call it; default: the path, or the address. frame_rate: frames a second, where the source does
    not say it itself. A folder's pictures are optical flow where they come in pairs of x and y: frames (H, W, 2).

    Files are opened when frames are asked for; what is wrong with one is told then. Raises InputError for a path where
    nothing is.
    """
    made = _made(source)
    made.name, made.frame_rate = name or made.name, frame_rate or made.frame_rate
    return made


def _made(source: Any) -> Source:
    if isinstance(source, Source):
        return source
    if isinstance(source, str) and ADDRESS.match(source):
        return stream(source)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            return picture_folder(path)
        if not path.is_file():
            raise InputError(f"{path}: {'is no file' if path.exists() else 'no such file'}, expected a video, a folder "
                             "of pictures or an address")
        return video_file(path)
    if isinstance(source, Iterable):
        return Frames(source)
    raise InputError(f"a {type(source).__name__} is no video, expected a path, an address or frames")
