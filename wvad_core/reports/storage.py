"""The two files of a saved report, report.json and scores.npz, each written whole or not at all.

    report.json     "format", "scores_sha256" (of the other file, so that the two are known to belong together), then what
                    `Report` holds but the arrays, and "sha256", of all these values
    scores.npz      two arrays a video, a number for each snippet of 16 frames: NAME/scores, its anomaly scores, and
                    NAME/abnormal_fraction; of a method that tells classes apart NAME/class_probabilities too

Those of format 1, which had no hash of report.json, are read as well; and those of wvad 0.1.0, which had neither hash, named
the second array NAME/share and knew no categories of the videos.
"""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.formats import npz
from ..data.npy import opened
from ..errors import InputError
from ..files import plain, write_json, written_whole

Array = np.ndarray

REPORT, SCORES = "report.json", "scores.npz"
FORMAT = 2
LARGEST = 1 << 28
"""Bytes of either file: a hundred times those of the largest published test set."""


def write(folder: Path, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a report's values and arrays into a folder. Raises InputError where it cannot be written."""
    with written_whole(folder / SCORES) as path:
        np.savez(path, **arrays)
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    written = {"format": FORMAT, "scores_sha256": checksum, **plain(values)}
    write_json(folder / REPORT, written | {"sha256": _digest(written)})


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The values and the arrays of a saved report.

    Raises InputError, in one line, where a file is missing, damaged, of a later format, altered, not the other one's, or no
    report's.
    """
    values = _values(folder / REPORT)
    path = folder / SCORES
    content = _content(path, f"expected it beside {REPORT}")
    checksum = hashlib.sha256(content).hexdigest()
    if "format" in values and checksum != values.get("scores_sha256"):
        raise InputError(f"{path}: not the scores that {REPORT} was written with, or altered since")
    try:
        if not content.startswith(b"PK"):  # whereas zipfile looks for the end of an archive
            raise InputError("no archive")
        arrays = npz.read(path).tensors
    except InputError as error:
        raise InputError(f"{path}: damaged, or no .npz file of arrays") from error
    return (values, arrays) if "format" in values else _of_0_1_0(values, arrays)


def _values(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(_content(path, "expected the folder of a saved report").decode())
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged, or not JSON") from error
    if isinstance(values, dict) and {"best", "last"} <= values.keys():
        raise InputError(f"{path}: the summary of a training run, expected the report of an evaluation; wvad train saves "
                         f"that of its best weights in {path.with_name('best')}")
    if not isinstance(values, dict) or not {"about", "metrics"} <= values.keys():
        raise InputError(f"{path}: not the report of an evaluation, expected one that Report.save has written")
    version, checksum = values.get("format"), values.pop("sha256", None)
    if version not in (None, 1, FORMAT):
        raise InputError(f"{path}: format {version}, expected {FORMAT}; another version of wvad wrote it")
    if (version == FORMAT or checksum is not None) and checksum != _digest(values):
        raise InputError(f"{path}: does not have the hash that it was written with, it has been altered")
    return values


def _content(path: Path, expected: str) -> bytes:
    """A file's bytes. Raises InputError, which says what was expected, where they cannot be read or are too many."""
    try:
        with opened(path) as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST:
                raise InputError(f"{path}: has {size} bytes, expected at most {LARGEST}")
            return file.read(LARGEST)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {expected}") from error


def _digest(values: Mapping[str, Any]) -> str:
    """The SHA-256 of values as JSON has them, whatever their order and the space between them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _of_0_1_0(values: dict[str, Any], arrays: dict[str, Array]) -> tuple[dict[str, Any], dict[str, Array]]:
    """The same in today's format. A video's label is by its abnormal frames; its categories are not known."""
    old, new = "share", "abnormal_fraction"
    renamed = {name.removesuffix(old) + new if name.endswith(f"/{old}") else name: value
               for name, value in arrays.items()}
    videos = [{"name": name, "categories": [], "abnormal": bool(renamed[f"{name}/{new}"].any()), "frame_rate": None}
              for name in (key.removesuffix(f"/{new}") for key in renamed if key.endswith(f"/{new}"))]
    return values | {"videos": videos}, renamed
