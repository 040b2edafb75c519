"""safetensors files: this library's own, MindSpore's, anybody's. https://github.com/huggingface/safetensors

Eight bytes with the length of a header, the header in JSON (names, dtypes, shapes, places, metadata), the tensors' bytes.
"""
from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from ml_dtypes import bfloat16  # which makes it a dtype that safetensors finds by its name
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...errors import InputError, one_line
from ...files import written_whole
from ..contents import Contents, checked_size

NAME = "safetensors"
SUFFIXES = (".safetensors",)


def recognises(path: Path) -> bool:
    """The ninth byte opens the header."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def read(path: Path) -> Contents:
    """Raises InputError unless the file is whole. The library bounds the header, and checks all places against the size."""
    checked_size(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return Contents({name: _ours(file.get_tensor(name)) for name in file.keys()}, file.metadata() or {})
    except AttributeError as error:  # of the numpy module, which has no such dtype
        raise InputError(f"{path}: holds tensors of a type that NumPy lacks ({one_line(error)})") from error
    except (SafetensorError, OSError, TypeError, ValueError, MemoryError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({one_line(error)})") from error


def _ours(tensor: np.ndarray) -> np.ndarray:
    """MindSpore, once it is imported, has a bfloat16 of its own under that name."""
    return tensor.view(bfloat16) if tensor.dtype.name == "bfloat16" else tensor


def write(path: Path, contents: Contents) -> None:
    """Whole or not at all. Raises InputError where the folder cannot be written, or for a dtype that the format lacks, and
    Failure where the disk is full."""
    # ascontiguousarray makes a scalar a vector; its shape is part of the format
    tensors = {name: np.ascontiguousarray(t).reshape(np.shape(t)) for name, t in contents.tensors.items()}
    with written_whole(path) as temporary:
        try:
            save_file(tensors, temporary, contents.metadata)
        except SafetensorError as error:
            if code := re.search(r"os error (\d+)", str(error)):  # the system's, which the library gives as a text
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            raise InputError(f"{path}: cannot be written ({one_line(error)})") from error
