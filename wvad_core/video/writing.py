"""Writing a video, frame by frame, by PyAV."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, one_line
from ..files import written_whole
from .source import required

CODECS = ("libx264", "libopenh264", "mpeg4")
"""The first that is there encodes."""
CLOCK = 90000
"""Ticks a second of the frames' times."""


@contextmanager
def written_video(path: Path, frame_rate: float, preset: str = "medium") -> Iterator[Callable[[np.ndarray, float], None]]:
    """Give a function that takes the frames one after the other, (H, W, 3) uint8 RGB of one size with even H and W, each with its
    time in seconds. The file appears when the block ends well. preset: of x264, how much time it takes for smaller files.

    Raises InputError where it cannot be encoded, or written; Failure where the disk is full.
    """
    av = required("av", "PyAV", f"{path}: writing videos")
    with written_whole(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
                writer = _Writer(av, container, frame_rate, preset)
                yield writer.append
                writer.end()
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and error.errno in range(1, 134):
                raise OSError(error.errno, error.strerror) from error
            raise InputError(f"{path}: cannot be written as a video ({one_line(error)})") from error


class _Writer:
    def __init__(self, av: Any, container: Any, frame_rate: float, preset: str):
        self._av, self._container, self._stream, self._last, self._preset = av, container, None, -1, preset
        self._rate = Fraction(frame_rate).limit_denominator(1001)

    def append(self, frame: np.ndarray, time: float) -> None:
        if self._stream is None:
            self._stream = self._opened(*frame.shape[:2])
        made = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._last = max(round(time * CLOCK), self._last + 1)
        made.pts, made.time_base = self._last, Fraction(1, CLOCK)
        self._container.mux(self._stream.encode(made))

    def end(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())

    def _opened(self, height: int, width: int) -> Any:
        codec = next((name for name in CODECS if name in self._av.codecs_available and _encodes(self._av, name)), None)
        if codec is None:
            raise InputError(f"this PyAV encodes none of {', '.join(CODECS)}, expected one of them")
        options = {"preset": self._preset} if codec == CODECS[0] else {}
        stream = self._container.add_stream(codec, rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        return stream


def _encodes(av: Any, name: str) -> bool:
    try:
        return av.codec.Codec(name, "w").is_encoder
    except ValueError:  # UnknownCodecError is one
        return False
