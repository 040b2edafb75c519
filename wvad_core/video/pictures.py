"""A folder of pictures, one a frame; optical flow as pairs of them."""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, one_line
from .source import Frame, Source, check_size, required, time_of

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
AXIS = re.compile(r"(?:(?<=flow)|(?<![a-z]))([xyuv])(?![a-z])", re.IGNORECASE)
"""What says that a name is of one axis of the flow: flow_x_00001, img-000001x, x."""
AXES = {"x": 0, "u": 0, "y": 1, "v": 1}


class Pictures(Source):
    """Pictures in files, in the order that people count in: frame_2 before frame_10.

    files: each one file, or two of them, the flow's x and y.
    """

    def __init__(self, name: str, files: Sequence[tuple[Path, ...]], frame_rate: float | None = None):
        super().__init__(name, frame_rate)
        self.files, self.expected_frames = files, len(files)

    def _frames(self) -> Iterator[Frame]:
        for index, group in enumerate(self.files):
            planes = [_read(file, "RGB" if len(group) == 1 else "L") for file in group]
            if len({plane.shape for plane in planes}) > 1:
                raise InputError(f"{group[0]} and {group[-1].name} differ in size, expected the flow of one frame")
            yield planes[0] if len(planes) == 1 else np.stack(planes, axis=2), time_of(index, self.frame_rate)


def picture_folder(folder: Path, frame_rate: float | None = None) -> Pictures:
    """The pictures of a folder. They are optical flow where they lie in two folders, x and y (or u and v, flow_x and
    flow_y), or where their names say so, in pairs: flow_x_00001.jpg and flow_y_00001.jpg, 00001x.jpg and 00001y.jpg.

    Raises InputError where there are none, and for flow of which an axis is missing.
    """
    try:
        entries = sorted(folder.iterdir(), key=natural)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    files = _pictures(entries)
    if not files:
        axes = [(axis, entry) for entry in entries if entry.is_dir() and (axis := _axis(entry.name)[1]) is not None]
        files = [file for _, entry in axes for file in _pictures(sorted(entry.iterdir(), key=natural))]
    if not files:
        raise InputError(f"{folder}: no pictures, expected a folder of {', '.join(sorted(SUFFIXES))}")
    return Pictures(str(folder), _grouped(folder, files), frame_rate)


def is_picture_folder(folder: Path) -> bool:
    """Whether a folder holds pictures, or the two folders of a flow's pictures."""
    entries = list(folder.iterdir())
    axes = {_axis(entry.name)[1] for entry in entries if entry.is_dir()}
    return bool(_pictures(entries)) or axes == {0, 1}


def natural(path: Path) -> list[tuple[int, str]]:
    """The key by which frame_2 comes before frame_10."""
    return [(int(part), "") if re.fullmatch("[0-9]+", part) else (-1, part) for part in re.split("([0-9]+)", path.name)]


def _pictures(entries: Sequence[Path]) -> list[Path]:
    return [path for path in entries
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()]


def _axis(name: str) -> tuple[str, int | None]:
    """A name without what says of which axis of the flow it is, and that axis."""
    found = AXIS.search(name)
    return (name, None) if found is None else (name[:found.start()] + name[found.end():], AXES[found[1].lower()])


def _grouped(folder: Path, files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """One file a frame, or the pairs of a flow."""
    frames: dict[str, dict[int | None, Path]] = {}
    for file in files:
        name = str(file.relative_to(folder).with_suffix(""))
        frame, axis = _axis(name)
        frames.setdefault(frame, {})[axis] = file
    if not any(len(group) == 2 and None not in group for group in frames.values()):
        return [(file,) for file in files]
    for group in frames.values():
        if set(group) != {0, 1}:
            raise InputError(f"{next(iter(group.values()))}: has no other axis beside it, expected pairs of x and y")
    return [(group[0], group[1]) for group in frames.values()]


def _read(file: Path, mode: str) -> np.ndarray:
    image = required("PIL.Image", "Pillow", f"{file}: reading pictures")
    try:
        with image.open(file) as opened:
            check_size(opened.height, opened.width, str(file))
            if opened.mode.startswith(("I", "F")):
                raise InputError(f"{file}: more than 8 bits a channel ({opened.mode}), expected 8")
            return np.asarray(opened.convert(mode))
    except InputError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error ...
        raise InputError(f"{file}: cannot be read as a picture ({one_line(error)})") from error
