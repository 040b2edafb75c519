"""The two files of a saved report, report.json and scores.npz, each written whole or not at all.

    report.json     "format", "scores_sha256" (of the other file, so that the two are known to belong together), then what
                    `Report` holds but the arrays
    scores.npz      two arrays a video, a number for each snippet of 16 frames: NAME/scores, its anomaly scores, and
                    NAME/abnormal_fraction

Those of wvad 0.1.0, which named the second array NAME/share and knew no categories of the videos, are read as well.
"""
from __future__ import annotations

import hashlib
import json
import threading
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import write_json, written_whole

Array = np.ndarray

REPORT, SCORES = "report.json", "scores.npz"
FORMAT = 1
PARSING = threading.Lock()
"""Held while NumPy reads a header: CPython 3.11's parser, at work in two threads, can end with a SystemError (gh-106905)."""


def write(folder: Path, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a report's values and arrays into a folder. Raises InputError where it cannot be written."""
    with written_whole(folder / SCORES) as path:
        np.savez(path, **arrays)
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(folder / REPORT, {"format": FORMAT, "scores_sha256": checksum, **values})


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The values and the arrays of a saved report.

    Raises InputError, in one line, where a file is missing, damaged, of a later format, not the other one's, or no
    report's.
    """
    values = _values(folder / REPORT)
    path = folder / SCORES
    try:
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected it beside {REPORT}") from error
    if "format" in values and checksum != values.get("scores_sha256"):
        raise InputError(f"{path}: not the scores that {REPORT} was written with, or altered since")
    try:
        with PARSING, np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged, or no .npz file of arrays") from error
    return (values, arrays) if "format" in values else _of_0_1_0(values, arrays)


def _values(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected the folder of a saved report") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged, or not JSON") from error
    if isinstance(values, dict) and {"best", "last"} <= values.keys():
        raise InputError(f"{path}: the summary of a training run, expected the report of an evaluation; wvad train saves "
                         f"that of its best weights in {path.with_name('best')}")
    if not isinstance(values, dict) or not {"about", "metrics"} <= values.keys():
        raise InputError(f"{path}: not the report of an evaluation, expected one that Report.save has written")
    if values.get("format", FORMAT) != FORMAT:
        raise InputError(f"{path}: format {values['format']}, expected {FORMAT}; another version of wvad wrote it")
    return values


def _of_0_1_0(values: dict[str, Any], arrays: dict[str, Array]) -> tuple[dict[str, Any], dict[str, Array]]:
    """The same in today's format. A video's label is by its abnormal frames; its categories are not known."""
    old, new = "share", "abnormal_fraction"
    renamed = {name.removesuffix(old) + new if name.endswith(f"/{old}") else name: value
               for name, value in arrays.items()}
    videos = [{"name": name, "categories": [], "abnormal": bool(renamed[f"{name}/{new}"].any()), "frame_rate": None}
              for name in (key.removesuffix(f"/{new}") for key in renamed if key.endswith(f"/{new}"))]
    return values | {"videos": videos}, renamed
