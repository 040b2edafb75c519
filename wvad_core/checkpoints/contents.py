"""What a checkpoint file holds, whatever its format.

A file of this library says in its metadata what it is: `method`, `config` (JSON), `version` (of the library that wrote
it), `format_version` and `sha256`; where it was made of one that leaves something open, `assumed` (JSON); where it was
calibrated, `threshold` (JSON); and, where that is known, `origin` (JSON) of the features that it was trained on. Other files
have tensors only, or metadata of their own.

`format_version` is "2": `sha256` is that of all other metadata and of the tensors. In version 1, which has no
`format_version`, it is that of the tensors alone.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, one_line
from ..origin import Origin
from .assumed import Assumed
from .threshold import Threshold

KEYS = ("method", "config", "version", "sha256")
FORMAT, FORMAT_VERSION = "format_version", "2"
LARGEST = 16 * 2**30
"""Bytes of a file that is read: ten times the largest published checkpoint with all of a training run's state."""


@dataclass(frozen=True, eq=False)
class Contents:
    """tensors: {name: array}, in the file's order, in its dtypes; metadata: {key: text}, written beside them."""
    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def checked_size(path: Path) -> int:
    """The bytes of a file that is to be read. Raises InputError where there is none, and for more than any checkpoint has:
    a sparse file may claim more than a disk."""
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    size = path.stat().st_size
    if size > LARGEST:
        raise InputError(f"{path}: has {size} bytes, expected a checkpoint of at most {LARGEST}")
    return size


def describe(tensors: Mapping[str, np.ndarray], method: str, config: Mapping[str, Any],
             assumed: Assumed = Assumed(), threshold: Threshold | None = None, origin: Origin | None = None) -> Contents:
    """The contents of a checkpoint of this library. assumed: what is not certain of it. threshold: a detector's. origin: that of
    the features that a detector was trained on."""
    metadata = {"method": method, "config": json.dumps(config), "version": version("wvad"), FORMAT: FORMAT_VERSION}
    metadata |= assumed.metadata() | (threshold.metadata() if threshold else {}) | (origin.metadata() if origin else {})
    return Contents(dict(tensors), metadata | {"sha256": checksum(tensors, metadata)})


def description(contents: Contents, source: str) -> tuple[str, dict[str, Any]] | None:
    """Method and configuration as the metadata have them; None where the file is not this library's.

    Raises InputError where the metadata are not whole, or metadata and tensors not those that were written.
    """
    metadata = contents.metadata
    if not {"method", "config"} & set(metadata):
        return None
    missing = [key for key in KEYS if key not in metadata]
    if missing:
        there = ", ".join(key for key in KEYS if key in metadata)
        raise InputError(f"{source}: its metadata has {there}, as this library's checkpoints have, but no "
                         f"{', '.join(missing)}")
    _check_hash(contents, source)
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: the configuration in the metadata is not JSON ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise InputError(f"{source}: the configuration in the metadata is {type(config).__name__}, expected an object")
    return one_line(metadata["method"], 100), config


def is_hashed(metadata: Mapping[str, str]) -> bool:
    """Whether the hash of a file of this library covers its metadata, as it does from version 2 of the format on."""
    return FORMAT in metadata


def _check_hash(contents: Contents, source: str) -> None:
    metadata = contents.metadata
    found = metadata.get(FORMAT, FORMAT_VERSION)
    if found != FORMAT_VERSION:
        raise InputError(f"{source}: of version {one_line(found, 20)} of the format of checkpoints, expected 1 or "
                         f"{FORMAT_VERSION}; a later version of this library reads it, or it has been altered")
    hashed, what = (checksum(contents.tensors, metadata), "metadata and tensors") if is_hashed(metadata) else (
        digest(contents.tensors), "the tensors")
    if hashed != metadata["sha256"]:
        raise InputError(f"{source}: {what} do not have the hash in the metadata, the file has been altered")


def completed(contents: Contents, tensors: Mapping[str, np.ndarray], source: str) -> Contents:
    """The contents with tensors besides, which a published checkpoint lacks because its network takes them as an input.

    tensors: {published name: array}. Raises InputError for one that the file has, and for a file of this library: it is
    whole.
    """
    there = [name for name in tensors if name in contents.tensors]
    if there or (tensors and KEYS[0] in contents.metadata):
        raise InputError(f"{source}: was given {', '.join(there or tensors)} besides, expected only what a published "
                         "checkpoint lacks")
    return Contents(contents.tensors | dict(tensors), contents.metadata)


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of all tensors: names, dtypes, shapes and bytes, in the order of the names."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        state.update(f"{name} {tensor.dtype.str} {list(np.shape(tensors[name]))}\n".encode())
        state.update(tensor.tobytes())
    return state.hexdigest()


def checksum(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of all that a file says: its metadata but `sha256` itself, and the `digest` of its tensors, as JSON."""
    said = {key: value for key, value in metadata.items() if key != "sha256"}
    return hashlib.sha256(json.dumps([said, digest(tensors)], sort_keys=True).encode()).hexdigest()
