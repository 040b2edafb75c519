"""Videos drawn from a seed and written by PyAV, for tests that read them back."""
from __future__ import annotations

from pathlib import Path

import av
import numpy as np

LOSSLESS = {"codec": "libx264rgb", "pix_fmt": "rgb24", "options": {"qp": "0", "preset": "ultrafast"}}
"""H.264 of the pixels themselves: what is read back is what was drawn."""


def frames(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """(count, height, width, 3) uint8: squares of colour that move to the right, and some noise."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    moving = np.stack([np.roll(squares[:height, :width], 3 * k, axis=1) for k in range(max(count, 1))])[:count]
    return moving ^ rng.integers(0, 4, moving.shape, np.uint8)


def write(path: Path, pictures, codec: str = "libx264", pix_fmt: str = "yuv420p", rate: int = 25, options=None, rotation: int = 0,
          times=None, container=None) -> Path:
    """Encode pictures (T, H, W, 3). times: of each frame, in 1 / rate seconds; rotation: what players turn the frames by."""
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        file.start_encoding()
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = times[index] if times else index
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    """A file with sound alone."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path
