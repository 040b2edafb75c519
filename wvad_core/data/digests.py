"""Digests of a dataset: whether it is the same one, wherever it lies and whenever its files were written."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import InputError
from .dataset import Dataset
from .video_features import READERS

BLOCK = 1 << 14
"""Bytes of a sample."""
SAMPLES = 4
"""That are taken of a large file: at its start, at its end, and between them."""


def table_sha256(datasets: Iterable[Dataset]) -> str:
    """The SHA-256 of what the table says of the videos of datasets, in their order, and of their labels."""
    return _sha256(repr((item.video, item.abnormal)) for dataset in datasets for item in dataset)


def features_sha256(dataset: Dataset) -> str:
    """The SHA-256 of the features of all videos, in their order: shapes, and of each file its size and what it holds.

    A file of up to 64 KiB counts whole, of a larger one four samples of 16 KiB do: other features differ everywhere.
    Neither names nor times count, so that a copy is the same. Raises InputError for a file that cannot be read.
    """
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(_sampled, (file for item in dataset for file in item.features.files))
        shapes = (repr((item.features.shape, item.features.crop_axis)) for item in dataset)
        return _sha256((*shapes, *found))


def _sampled(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            size, state = file.seek(0, 2), hashlib.sha256()
            if size <= SAMPLES * BLOCK:
                places, length = (0,), size
            else:
                places, length = (i * (size - BLOCK) // (SAMPLES - 1) for i in range(SAMPLES)), BLOCK
            for place in places:
                file.seek(place)
                state.update(file.read(length))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{size} {state.hexdigest()}"


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
