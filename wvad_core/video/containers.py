"""Video files and network streams, decoded by PyAV packet by packet."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, one_line
from .source import Frame, Source, check_size, required

NO_CONTAINERS = {"tty": "text", "concat": "a playlist", "hls": "a playlist", "dash": "a playlist", "imf": "a playlist",
                 "sdp": "a session description"}
"""What FFmpeg opens besides videos: {its name for it: ours}."""
TRIES = 8
"""Failing reads in a row after which a container is taken to end there."""
PATIENCE = 10.0
"""Seconds that a network stream may take to open, and to go on."""


class Container(Source):
    """The first video stream of a file or an address, as it is to be shown: turned as the file says, in 8 bits.

    Every decoded frame is one frame, whatever its time stamp. A packet that cannot be decoded is counted, and the next
    one is taken. Nothing is opened before the first frame is asked for.

    url: as FFmpeg takes it. options: FFmpeg's. patience: seconds to wait for what does not answer; None for ever.
    """

    def __init__(self, name: str, url: str, options: dict[str, str], patience: float | None = None):
        super().__init__(name)
        self._url, self._options, self._patience = url, options, patience

    def _frames(self) -> Iterator[Frame]:
        av = required("av", "PyAV", f"{self.name}: reading videos")
        with self._opened(av) as container:
            stream = self._video_stream(container)
            converter = av.video.reformatter.VideoReformatter()
            time = None
            for packet in self._packets(av, container, stream):
                for frame in self._decoded(av, stream, packet):
                    time = None if frame.pts is None else float(frame.pts * stream.time_base)
                    yield self._picture(frame, converter), time
            self._compare(time, _length(container, stream))

    @contextmanager
    def _opened(self, av: Any) -> Iterator[Any]:
        try:
            container = av.open(self._url, options=self._options, timeout=self._patience)
        except (av.error.FFmpegError, UnicodeError, ValueError) as error:
            raise InputError(f"{self.name}: cannot be read as a video ({self._reason(av, error)})") from error
        with container:
            if what := NO_CONTAINERS.get(container.format.name):
                raise InputError(f"{self.name}: is {what}, expected a video")
            yield container

    def _video_stream(self, container: Any) -> Any:
        pictures = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
        if not pictures:
            found = ", ".join(sorted({s.type for s in container.streams})) or "no stream"
            raise InputError(f"{self.name}: no video stream (found {found}), expected a video")
        stream = pictures[0]
        stream.thread_type = "NONE"  # the fastest at the sizes of surveillance videos
        rate = stream.average_rate or stream.guessed_rate
        self.frame_rate, self.expected_frames = float(rate) if rate else self.frame_rate, stream.frames or None
        return stream

    def _packets(self, av: Any, container: Any, stream: Any) -> Iterator[Any]:
        """The stream's packets; None behind the last one, which asks a decoder for what it has kept."""
        failed = 0
        while failed < TRIES:
            try:
                for packet in container.demux(stream):
                    failed = 0
                    if packet.size:
                        yield packet
                break
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                failed += 1
                self.damaged += 1
                if failed == TRIES or self._is_timeout(av, error):
                    self.early_end = self._reason(av, error)
                    break
        yield None

    def _decoded(self, av: Any, stream: Any, packet: Any) -> list[Any]:
        try:
            frames = stream.decode(packet)
        except av.error.EOFError:  # of a decoder that was emptied before
            return []
        except (av.error.FFmpegError, ValueError):
            self.damaged += 1
            return []
        self.damaged += any(frame.is_corrupt for frame in frames)
        return frames

    def _picture(self, frame: Any, converter: Any) -> np.ndarray:
        check_size(frame.height, frame.width, self.name)
        picture = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        turns = frame.rotation // 90 if frame.rotation % 90 == 0 else 0
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def _compare(self, time: float | None, length: float | None) -> None:
        """Note a last frame that lies long before the end that the container tells of."""
        if time is not None and length and length - time > max(1, length / 20) and not self.early_end:
            self.early_end = f"the file says {length:.1f} s, its last frame is at {time:.1f} s"

    def _is_timeout(self, av: Any, error: Exception) -> bool:
        return self._patience is not None and isinstance(error, (av.error.ExitError, av.error.TimeoutError))

    def _reason(self, av: Any, error: Exception) -> str:
        if self._is_timeout(av, error):
            return f"no answer within {self._patience:g} s"
        return one_line(getattr(error, "strerror", None) or error)


def _length(container: Any, stream: Any) -> float | None:
    """Seconds until the end of the video, as the container has it; a hint."""
    if stream.duration:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else None


def video_file(path: Path) -> Container:
    """A video file. Other files that it may name are not opened, nor addresses."""
    return Container(str(path), f"file:{path}", {"protocol_whitelist": "file"})


def stream(address: str, patience: float = PATIENCE) -> Container:
    """A network stream. address: rtsp://, http:// and what else FFmpeg speaks. patience: seconds to wait for an answer."""
    options = {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}
    return Container(address, address, options, patience)
