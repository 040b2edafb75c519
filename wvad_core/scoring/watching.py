"""A source of frames that is watched on its way to an extractor: its times, and a small picture of each snippet."""
from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np

from ..data.annotations import SNIPPET
from ..video.source import Frame, Source

WIDTH, QUALITY = 192, 80
"""Of the small pictures: pixels, and of JPEG."""
NOMINAL_RATE = 25.0
"""Frames a second where that is not known; `ScoredVideo.frame_rate` is None then."""


class Watched(Source):
    """The frames of another source as they are.

    starts: seconds at which each snippet begins, counted from the first frame's time; None where a frame has no time.
    pictures: of each snippet a JPEG, of its middle frame; none of optical flow, nor where Pillow is missing.
    """

    def __init__(self, source: Source):
        super().__init__(source.name, source.frame_rate)
        self.source = source
        self.starts: list[float | None] = []
        self.pictures: list[bytes | None] = []
        self._last: float | None = None

    def _frames(self) -> Iterator[Frame]:
        self.starts, self.pictures, waiting, first = [], [], None, None
        for index, (frame, time) in enumerate(self.source):
            self.frame_rate, self.expected_frames = self.source.frame_rate, self.source.expected_frames
            first = time if index == 0 else first
            self._last = None if time is None or first is None else time - first
            if index % SNIPPET == 0:
                self._keep(waiting)
                self.starts.append(self._last)
                waiting = frame
            elif index % SNIPPET == SNIPPET // 2:
                waiting = self._keep(frame)
            yield frame, time
        self._keep(waiting)

    def _keep(self, frame: np.ndarray | None) -> None:
        """A picture of a frame, where one is waiting for it."""
        if frame is not None:
            self.pictures.append(thumbnail(frame))

    def times(self, snippets: int) -> np.ndarray:
        """(T + 1,) seconds: where each of so many snippets begins, and where the last one ends. Where the file's own times do not
        rise from frame to frame, those of an even frame rate."""
        rate = self.source.frame_rate or NOMINAL_RATE
        known = [*self.starts, None if self._last is None else self._last + 1 / rate][:snippets + 1]
        times = np.array([np.nan if time is None else time for time in known])
        if len(times) == snippets + 1 and np.all(np.diff(times) > 0):
            return times
        return np.arange(snippets + 1) * SNIPPET / rate

    def remarks(self) -> list[str]:
        return self.source.remarks()


def thumbnail(frame: np.ndarray, width: int = WIDTH) -> bytes | None:
    """A frame (H, W, 3) as a small JPEG."""
    try:
        from PIL import Image
    except ImportError:
        return None
    if frame.shape[2] != 3:
        return None
    picture, made = Image.fromarray(frame), io.BytesIO()
    height = max(1, round(width * picture.height / picture.width))
    picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2).save(made, "JPEG", quality=QUALITY)
    return made.getvalue()
