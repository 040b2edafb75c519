"""Files that are written whole or not at all, their locks, and what a disk that takes no more is to the person at the keyboard."""
from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .errors import Failure, InputError

LOGGER = logging.getLogger("wvad")
FULL = {errno.ENOSPC, errno.EIO, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""How a system says that a disk, or a quota, is full, or broken."""


def cannot_write(path: str | Path, error: OSError) -> InputError | Failure:
    """What to raise for an error of the system's: Failure where the disk takes no more, else InputError."""
    return (Failure if error.errno in FULL else InputError)(f"{path}: cannot be written ({error.strerror or error})")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise what `cannot_write` makes of an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it becomes `path` when the block ends well, and is removed when it does not.

    Raises InputError when the folder cannot be written, Failure when the disk is full.
    """
    path = Path(path)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with writing(path):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
        LOGGER.debug("written %s", path)
    finally:
        temporary.unlink(missing_ok=True)


def lock_file(path: Path) -> Any:
    """The lock of a file, a filelock.FileLock that nobody holds yet. It ends with its process, however that ends.

    Raises InputError for a link in the file's place.
    """
    from filelock import FileLock  # imports much that nothing else needs

    if path.is_symlink():
        raise InputError(f"{path}: a link, expected a lock file; nothing is written through links")
    return FileLock(path)


def locked_folder(path: Path, busy: str) -> Any:
    """Hold the lock of a file for the folder that it is in, which is made where it is not there; to be released.

    Raises InputError where another process holds it, with the words `busy`, and for a link in the file's place; and what
    `cannot_write` makes of an error of the system's.
    """
    lock = lock_file(path)
    from filelock import Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{path.parent}: {busy}") from None
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    return lock


def leftovers(path: Path) -> list[Path]:
    """The temporary files of `written_whole(path)` that are there: those of processes that were killed, or are at work."""
    pattern = re.compile(rf"\.{re.escape(path.stem)}-[a-z0-9_]{{8}}{re.escape(path.suffix)}")
    found = path.parent.iterdir() if path.parent.is_dir() else ()
    return [file for file in found if pattern.fullmatch(file.name) and stat.S_ISREG(file.lstat().st_mode)]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as JSON, whole or not at all; a number that is not finite becomes null."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(plain(values), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """A value made ready for JSON: lists for tuples, None for what is not finite, Python's numbers for NumPy's."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
