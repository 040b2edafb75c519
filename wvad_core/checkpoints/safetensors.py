"""This library's checkpoints: one safetensors file with method, configuration, library version and a hash.

Metadata: `method`, `config` (JSON), `version` (of the library that wrote it), `sha256` (of the tensors).
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import InputError
from ..files import written_whole

KEYS = ("method", "config", "version", "sha256")


def digest(weights: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of all tensors: names, dtypes, shapes and bytes, in the order of the names."""
    state = hashlib.sha256()
    for name in sorted(weights):
        tensor = np.ascontiguousarray(weights[name])
        state.update(f"{name} {tensor.dtype.str} {list(np.shape(weights[name]))}\n".encode())
        state.update(tensor.tobytes())
    return state.hexdigest()


def write(path: str | Path, weights: Mapping[str, np.ndarray], method: str, config: Mapping) -> None:
    """Write a checkpoint, whole or not at all."""
    metadata = {"method": method, "config": json.dumps(config), "version": version("wvad"), "sha256": digest(weights)}
    with written_whole(path) as temporary:
        # ascontiguousarray makes a scalar a vector; its shape is part of the format
        save_file({n: np.ascontiguousarray(w).reshape(np.shape(w)) for n, w in weights.items()}, temporary, metadata)


def read(path: str | Path) -> tuple[str, dict, dict[str, np.ndarray]]:
    """Read a checkpoint: method, configuration, weights. Raises InputError where the file is not whole and unaltered."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({' '.join(str(error).split())})") from error
    missing = [key for key in KEYS if key not in metadata]
    if missing:
        raise InputError(f"{path}: not a checkpoint of this library, its metadata has no {', '.join(missing)}")
    if digest(weights) != metadata["sha256"]:
        raise InputError(f"{path}: the tensors do not have the hash in the metadata, the file has been altered")
    try:
        return metadata["method"], json.loads(metadata["config"]), weights
    except ValueError as error:
        raise InputError(f"{path}: the configuration in the metadata is not JSON ({error})") from error
