"""Companions: arrays that belong to a dataset and to none of its videos, such as the features of its categories' texts.

    Dataset.open("ucf-crime", "i3d", "train", companions={"prompts": "prompts.npy"})

Every batch has them (`Batch.companions`); a network asks for one by "companions.NAME" among its `extras`.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, one_line
from .npy import read_array

Array = np.ndarray


def read_companions(given: Mapping[str, Any] | None) -> dict[str, Array]:
    """The companions as arrays that cannot be written to, of arrays or paths of .npy files.

    Real numbers come in float32, but for float64 where it comes as an array; whole numbers as int64. Raises InputError
    for a file that cannot be read, for what are no numbers, for an array without values and for one that is not finite.
    """
    return {name: _companion(name, value) for name, value in (given or {}).items()}


def parse_companions(words: Iterable[str]) -> dict[str, str]:
    """{name: path} of NAME=FILE words, as the command line takes them. Raises InputError for others, and a name twice."""
    found: dict[str, str] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not (name and path):
            raise InputError(f"companion {word!r}: expected NAME=FILE, such as prompts=prompts.npy")
        if name in found:
            raise InputError(f"companion {name} is given twice, expected one file")
        found[name] = path
    return found


def companions_sha256(companions: Mapping[str, Array]) -> str | None:
    """The SHA-256 of all companions, whatever their order: names, dtypes, shapes and values. None where there are none."""
    state = hashlib.sha256()
    for name in sorted(companions):
        values = np.ascontiguousarray(companions[name])
        state.update(f"{name} {values.dtype.str} {list(values.shape)}\n".encode())
        state.update(values.tobytes())
    return state.hexdigest() if companions else None


def _companion(name: str, given: Any) -> Array:
    from_file = isinstance(given, (str, Path))
    what = f"companion {name}" + (f": {given}" if from_file else "")
    try:
        values = read_array(given, what) if from_file else np.asarray(given)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what}: no array of numbers ({one_line(error)})") from error
    if values.dtype.kind not in "fiu" and values.dtype.name != "bfloat16":
        raise InputError(f"{what}: is of type {values.dtype}, expected numbers such as float32")
    if not values.size:
        raise InputError(f"{what}: has shape {values.shape}, expected values")
    if values.dtype.kind in "iu":
        kind: Any = np.int64
    else:
        kind = np.float64 if values.dtype == np.float64 and not from_file else np.float32
    with np.errstate(over="ignore"):
        made = values.astype(kind, copy=values.flags.writeable)  # what the caller does to it later reaches no batch
    if bad := np.argwhere(~np.isfinite(made)).tolist():
        raise InputError(f"{what}: has {values[tuple(bad[0])]} at {bad[0]}, expected finite numbers")
    made.flags.writeable = False
    return made
