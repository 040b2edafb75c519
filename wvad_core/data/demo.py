"""The demo set: a small dataset made from a seed, to try everything without a download.

    Dataset.open("demo", demo_features(), split="test")

Its table is bundled (tables/demo.csv); its features are written when they are first asked for, in the layout that the
method at hand takes; demo/ has a checkpoint trained on it for each method (`wvad train`), and for those that train with
companions METHOD.NAME.npy. What the videos show is drawn by demo_scenes.py.
"""
from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import cannot_write
from ..progress import progress_bar
from ..registry import module_name
from . import demo_scenes
from .annotations import COLUMNS, Video
from .cache import cache_folder, private
from .demo_scenes import CROPS, crop_features, demo_videos, patch_features

Array = np.ndarray
DEMO = "demo"
"""The name of its table."""


def _crops(video: Video) -> dict[str, Array]:
    """A file for each crop, (T, D), as published for UCF-Crime."""
    return {f"{video.name}__{crop}.npy": features for crop, features in enumerate(crop_features(video))}


def _single(video: Video) -> dict[str, Array]:
    """One file of one feature a snippet, (T, D): the mean of the crops."""
    return {f"{video.name}.npy": np.asarray(sum(crop_features(video)) / np.float32(CROPS))}


def _patches(video: Video) -> dict[str, Array]:
    """One file of the crops and, behind them, the patches, (T, N, D), in half precision."""
    together = np.concatenate([crop_features(video), patch_features(video)])
    return {f"{video.name}.npy": together.swapaxes(0, 1).astype(np.float16)}


LAYOUTS: dict[str, Callable[[Video], dict[str, Array]]] = {"crops": _crops, "single": _single, "patches": _patches}
"""The files of a video in each layout that a method may take."""
MARK = "layout.txt"
"""Says which layout a whole folder has."""


def demo_features(folder: str | Path | None = None, layout: str = "crops") -> Path:
    """The folder with the features of all the demo set's videos, which is written first where it is not there.

    layout: what a video's features are: "crops", "single" or "patches" (see `LAYOUTS`).
    folder: by default one in the user's cache (see cache.py), of this version of the demo set.
    The folder appears whole or not at all; several processes may ask for it at once.
    Raises InputError when it cannot be written, or holds other files without the demo set's; Failure on a full disk.
    """
    folder = Path(folder) if folder is not None else _cache(layout)
    if _is_complete(folder, layout):
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: not the whole demo set in its layout {layout!r}, expected that, an empty folder or none")
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        for video in progress_bar(demo_videos(), "writing the demo set", unit="video", delay=2):
            for name, features in LAYOUTS[layout](video).items():
                np.save(temporary / name, features)
        (temporary / MARK).write_text(layout, encoding="utf-8")
        temporary.rename(folder)
    except OSError as error:
        if not _is_complete(folder, layout):  # else another process was first
            raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def demo_checkpoint(method: str) -> Path:
    """The bundled checkpoint of a method, trained on the demo set. Raises InputError where there is none."""
    folder = Path(__file__).with_suffix("")
    path = folder / f"{module_name(method)}.safetensors"
    if not path.is_file():
        found = ", ".join(sorted(file.stem.replace("_", "-") for file in folder.glob("*.safetensors")))
        raise InputError(f"the demo set has no checkpoint of {method}, expected one of {found}")
    return path


def demo_companions(method: str) -> dict[str, Path]:
    """{name: bundled .npy file} of what a method trains with on the demo set besides the videos."""
    files = Path(__file__).with_suffix("").glob(f"{module_name(method)}.*.npy")
    return {file.name.split(".")[1]: file for file in sorted(files)}


def default_method() -> str:
    """The method that the demo takes where none is named: that of the smallest bundled checkpoint."""
    files = Path(__file__).with_suffix("").glob("*.safetensors")
    return min(files, key=lambda file: (file.stat().st_size, file.stem)).stem.replace("_", "-")


def demo_table() -> str:
    """The text of tables/demo.csv. As in the published tables, only test videos have their intervals."""
    lines = [",".join(COLUMNS)]
    lines += [f"{video.name},{video.split},{video.category},{video.frames},"
              + " ".join(f"{start}-{end}" for start, end in video.intervals) for video in demo_videos()]
    return "\n".join(lines) + "\n"


def _cache(layout: str) -> Path:
    """A folder named after the generator's hash, so that a changed one never meets the files of an older one."""
    sources = b"".join(Path(file).read_bytes() for file in (__file__, demo_scenes.__file__))
    return private(cache_folder()) / f"demo-{layout}-{hashlib.sha256(sources).hexdigest()[:8]}"


def _is_complete(folder: Path, layout: str) -> bool:
    """A folder is renamed into place whole, so its mark stands for all of it."""
    return (folder / MARK).is_file() and (folder / MARK).read_text(encoding="utf-8") == layout
