"""How far the work on several videos is: a progress bar by their bytes, with frames a second."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType

import numpy as np

from ..progress import progress_bar
from ..video.source import Source

Advance = Callable[[str, float, int], None]
"""Takes a video's name, the fraction of it that is done besides, and so many frames."""


class Pace:
    """`with` it, the bar is shown.

    what: the work, in a word. sizes: {name of a video: bytes}. hidden: the bar. frames: how many were taken in `seconds`, until now.
    """

    def __init__(self, what: str, sizes: Mapping[str, int], hidden: bool = False):
        self._what, self._sizes, self._hidden, self._begun = what, sizes, hidden, time.monotonic()
        self.frames = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def advance(self, name: str, fraction: float, frames: int) -> None:
        """See `Advance`."""
        self.frames += frames
        self._bar.set_postfix_str(f"{self.frames / max(self.seconds, 1e-9):.1f} frames/s, {name}", refresh=False)
        self._bar.update(fraction * self._sizes[name])

    def __enter__(self) -> Pace:
        self._bar = progress_bar(desc=self._what, hidden=self._hidden, total=sum(self._sizes.values()), unit="B", unit_scale=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()


def followed(clips: Iterable[np.ndarray], source: Source, name: str, advance: Advance) -> Iterator[np.ndarray]:
    """The clips of a source's frames; `advance` hears of each when the next one is asked for, and at last of the rest."""
    shown, frames = 0.0, 0
    for clip in clips:
        yield clip
        decoded = source.frames  # which grows meanwhile: decoding is one clip ahead
        fraction = min(decoded / source.expected_frames, 1) if source.expected_frames else 0.0
        advance(name, max(fraction - shown, 0), decoded - frames)
        shown, frames = max(fraction, shown), decoded
    advance(name, 1 - shown, source.frames - frames)
