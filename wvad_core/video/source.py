"""What all sources of frames have in common, and frames that a caller hands over."""
from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import InputError

Frame = tuple[np.ndarray, "float | None"]
"""A frame (H, W, C) uint8, C = 3 (RGB) or 2 (flow, x and y), and its time in seconds, where that is known."""
MOST_PIXELS = 1 << 26
"""Of a frame: 8192 x 8192. What claims more is damaged, or made to fill the memory."""


class Source:
    """The frames of a video, in their order; iterating gives each with its time in seconds, or None: (H, W, 3) uint8
    RGB, or (H, W, 2) optical flow, x and y.

    It need not know where it ends. Its frames may differ in size. How often it can be iterated is its kind's matter: a
    file as often as one likes, a stream once.

    name: what messages call it.
    frame_rate: frames a second, for times that people read; None where it is not known, or not yet.
    expected_frames: how many a container says that there are; a hint. None where it is not known, or not yet.
    frames: how many the last iteration has given so far.
    damaged: how many packets could not be decoded, or not wholly.
    """

    def __init__(self, name: str, frame_rate: float | None = None):
        self.name, self.frame_rate = name, frame_rate
        self.expected_frames: int | None = None
        self.frames = self.damaged = 0
        self.sizes: dict[tuple[int, int], int] = {}
        self.early_end = ""

    def __iter__(self) -> Iterator[Frame]:
        """The frames. Raises InputError, which names the source, where there are none, or one that is no frame."""
        self.frames = self.damaged = 0
        self.sizes, self.early_end = {}, ""
        for frame, time in self._frames():
            height, width, _ = frame.shape
            self.sizes.setdefault((height, width), self.frames)
            self.frames += 1
            yield frame, time
        if not self.frames:
            lost = f" ({self._lost()})" if self.damaged else ""
            raise InputError(f"{self.name}: no frames{lost}, expected a video")

    def _frames(self) -> Iterator[Frame]:
        raise NotImplementedError

    def _lost(self) -> str:
        return f"{self.damaged} damaged packet{'s' if self.damaged > 1 else ''}" if self.damaged else ""

    def remarks(self) -> list[str]:
        """What the last iteration came upon that a reader of its results should know, a few words each."""
        lines = [self._lost()] if self.damaged else []
        if self.early_end:
            lines.append(f"ends early: {self.early_end}")
        if self.expected_frames and self.expected_frames != self.frames:
            lines.append(f"the file says {self.expected_frames} frames, {self.frames} were decoded")
        for (height, width), frame in list(self.sizes.items())[1:]:
            lines.append(f"{width} x {height} from frame {frame} on")
        return lines


class Frames(Source):
    """Frames of any iterable, a generator without end too: each (H, W, 3), or (H, W, 2) flow, uint8."""

    def __init__(self, frames: Iterable[Any], name: str = "frames", frame_rate: float | None = None):
        super().__init__(name, frame_rate)
        self._given = frames

    def _frames(self) -> Iterator[Frame]:
        channels = (2, 3)
        for index, values in enumerate(self._given):
            frame = np.array(values, order="C")  # a copy: a caller may fill one array again and again
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in channels or 0 in frame.shape:
                raise InputError(f"{self.name}, frame {index}: {frame.dtype} of shape {frame.shape}, expected uint8 "
                                 "(H, W, 3) RGB or (H, W, 2) flow, as the frames before")
            channels = frame.shape[2:]
            yield frame, time_of(index, self.frame_rate)


def check_size(height: int, width: int, where: str) -> None:
    """Raise InputError for a frame of more than MOST_PIXELS."""
    if height * width > MOST_PIXELS:
        raise InputError(f"{where}: frames of {width} x {height}, expected at most {MOST_PIXELS} pixels")


def time_of(index: int, frame_rate: float | None) -> float | None:
    return index / frame_rate if frame_rate else None


def required(module: str, package: str, purpose: str) -> ModuleType:
    """Import a module of the extra `video`. Raises InputError that says what to install where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{purpose} needs {package}, which cannot be imported: pip install \"wvad[video]\"") from error
