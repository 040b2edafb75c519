"""What a checkpoint file holds, whatever its format.

A file of this library says in its metadata what it is: `method`, `config` (JSON), `version` (of the library that wrote
it), `sha256` (of the tensors); and, where it was made of one that leaves something open, `assumed` (JSON). Other files
have tensors only, or metadata of their own.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from ..errors import InputError, one_line
from .assumed import Assumed

KEYS = ("method", "config", "version", "sha256")


@dataclass(frozen=True, eq=False)
class Contents:
    """tensors: {name: array}, in the file's order, in its dtypes; metadata: {key: text}, written beside them."""
    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def describe(tensors: Mapping[str, np.ndarray], method: str, config: Mapping[str, Any],
             assumed: Assumed = Assumed()) -> Contents:
    """The contents of a checkpoint of this library. assumed: what is not certain of it."""
    metadata = {"method": method, "config": json.dumps(config), "version": version("wvad"), "sha256": digest(tensors)}
    return Contents(dict(tensors), metadata | assumed.metadata())


def description(contents: Contents, source: str) -> tuple[str, dict[str, Any]] | None:
    """Method and configuration as the metadata have them; None where the file is not this library's.

    Raises InputError where the metadata are not whole, or the tensors not those that were written.
    """
    metadata = contents.metadata
    if not {"method", "config"} & set(metadata):
        return None
    missing = [key for key in KEYS if key not in metadata]
    if missing:
        there = ", ".join(key for key in KEYS if key in metadata)
        raise InputError(f"{source}: its metadata has {there}, as this library's checkpoints have, but no "
                         f"{', '.join(missing)}")
    if digest(contents.tensors) != metadata["sha256"]:
        raise InputError(f"{source}: the tensors do not have the hash in the metadata, the file has been altered")
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: the configuration in the metadata is not JSON ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise InputError(f"{source}: the configuration in the metadata is {type(config).__name__}, expected an object")
    return one_line(metadata["method"], 100), config


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
