"""A video with the curve of its scores below the picture, and a cursor that runs along it."""
from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..data.annotations import SNIPPET
from ..data.features import GRACE
from ..errors import InputError
from ..scoring.watching import NOMINAL_RATE
from ..video.opening import open
from ..video.source import required
from ..video.writing import written_video
from .figures import clock

INK, PAPER, CURVE, ALARM = (31, 35, 40), (255, 255, 255), (0, 114, 178), (213, 94, 0)
FILLED, GRID = (204, 227, 240), (228, 231, 235)
LEAST_WIDTH, SHARE, MARGIN = 160, 0.25, 4
"""Pixels of a picture's width; of its height that the curve gets; around the curve."""
FINER = 2
"""How many times larger the curve is drawn, to be smooth."""


def render(source: Any, scores: np.ndarray, path: Path, high: float | None = None, frame_rate: float | None = None,
           advance: Callable[[int], None] = lambda frames: None) -> int:
    """Write an mp4; how many frames it has. Memory does not grow with the video; sound is left out.

    source: whatever `wv.video.open` takes. scores: (T,). high: the threshold, a line. advance: called with 1 for each frame.
    Raises InputError for a video that cannot be read, and for one that is not as long as its scores; nothing is written then.
    """
    required("PIL.Image", "Pillow", f"{path}: drawing curves")
    opened, count, curve = open(source, frame_rate=frame_rate), 0, None
    frames = iter(opened)
    with closing(frames):  # type: ignore[type-var]
        first = next(frames)
        rate = opened.frame_rate or NOMINAL_RATE
        with written_video(path, rate) as append:
            origin = first[1]
            for frame, time in _with(first, frames):
                curve = curve or Curve(scores, frame.shape[0], frame.shape[1], high)
                seconds = count / rate if time is None or origin is None else time - origin
                append(curve.below(frame, count, seconds), seconds)
                count += 1
                advance(1)
            if abs(-(-count // SNIPPET) - len(scores)) > GRACE:
                raise InputError(f"{opened.name}: {count} frames, and {len(scores)} snippets of scores, expected the scores "
                                 f"of this video, {-(-count // SNIPPET)} snippets give or take {GRACE}")
    return count


def _with(first: Any, others: Any) -> Any:
    yield first
    yield from others


class Curve:
    """The curve of a video whose first frame is (height, width); drawn once, but for the cursor.

    The scale is 0 to 1 where that holds all scores and the threshold, otherwise their range.
    """

    def __init__(self, scores: np.ndarray, height: int, width: int, high: float | None):
        self.scores, self.high = scores, high
        self.size = (height + height % 2, max(width, LEAST_WIDTH) + max(width, LEAST_WIDTH) % 2)
        self.height = max(48, int(height * SHARE) // 2 * 2)
        ends = [float(scores.min()), float(scores.max()), *([] if high is None else [high])]
        self.low, self.top = (0.0, 1.0) if min(ends) >= 0 and max(ends) <= 1 else (min(ends), max(max(ends), min(ends) + 1e-6))
        self._panel = self._drawn()

    def below(self, frame: np.ndarray, index: int, seconds: float) -> np.ndarray:
        """The frame, black around it where it is smaller, and the curve with the cursor at frame `index`."""
        made = np.zeros((self.size[0] + self.height, self.size[1], 3), np.uint8)
        picture = self._fitted(frame)
        top, left = ((full - own) // 2 for full, own in zip(self.size, picture.shape))
        made[top:top + picture.shape[0], left:left + picture.shape[1]] = picture
        made[self.size[0]:] = self._with_cursor(index, seconds)
        return made

    def _fitted(self, frame: np.ndarray) -> np.ndarray:
        """As RGB, no larger than the first one."""
        if frame.shape[2] == 2:
            frame = np.concatenate([frame, np.full_like(frame[..., :1], 128)], axis=2)  # optical flow
        (height, width), (most_height, most_width) = frame.shape[:2], self.size
        if height <= most_height and width <= most_width:
            return frame
        from PIL import Image

        scale = min(most_height / height, most_width / width)
        return np.asarray(Image.fromarray(frame).resize((max(1, int(width * scale)), max(1, int(height * scale)))))

    def _with_cursor(self, index: int, seconds: float) -> np.ndarray:
        from PIL import Image, ImageDraw

        panel, snippet = self._panel.copy(), min(index // SNIPPET, len(self.scores) - 1)
        x = round(min(self._x(index / SNIPPET), self.size[1] - MARGIN - 1))
        above = self.high is not None and self.scores[snippet] >= self.high
        panel[:, max(x - 1, 0):x + 1] = ALARM if above else INK
        text = Image.fromarray(panel)
        word = f"{clock(int(seconds))}  {self.scores[snippet]:.3f}"
        draw = ImageDraw.Draw(text)
        left = MARGIN + 2 if x > self.size[1] / 2 else self.size[1] - MARGIN - 2 - draw.textlength(word)
        draw.rectangle((left - 2, 1, left + draw.textlength(word) + 1, 13), fill=PAPER)
        draw.text((left, 2), word, fill=ALARM if above else INK)
        return np.asarray(text)

    def _drawn(self) -> np.ndarray:
        from PIL import Image, ImageDraw

        width = self.size[1]
        panel = Image.new("RGB", (width * FINER, self.height * FINER), PAPER)
        draw = ImageDraw.Draw(panel)
        levels = np.repeat([self._y(float(score)) * FINER for score in self.scores], 2)
        steps = np.repeat([self._x(t) * FINER for t in range(len(self.scores) + 1)], 2)[1:-1]
        points, base = list(zip(steps.tolist(), levels.tolist())), (self.height - MARGIN) * FINER
        draw.polygon([(points[0][0], base), *points, (points[-1][0], base)], fill=FILLED)
        for level in (self.low, self.top):
            draw.line([(0, self._y(level) * FINER), (width * FINER, self._y(level) * FINER)], fill=GRID, width=FINER)
        draw.line(points, fill=CURVE, width=FINER + 1)
        if self.high is not None:
            draw.line([(0, self._y(self.high) * FINER), (width * FINER, self._y(self.high) * FINER)], fill=ALARM, width=FINER)
        return np.asarray(panel.resize((width, self.height), Image.Resampling.BOX))

    def _x(self, snippet: float) -> float:
        return MARGIN + snippet * (self.size[1] - 2 * MARGIN) / len(self.scores)

    def _y(self, score: float) -> float:
        return self.height - MARGIN - (score - self.low) * (self.height - 2 * MARGIN) / (self.top - self.low)
