"""The files of a run's folder: their names, what may be in their places, and the lock of them all."""
from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import leftovers, locked_folder
from .saved_state import parsed

PLAN, HISTORY, REPORT, CURVES = "recipe.json", "history.jsonl", "report.json", "curves.png"
BEST, LAST, STATE = "best.safetensors", "last.safetensors", "state.safetensors"
LOCK = ".lock"
WRITTEN = (PLAN, HISTORY, BEST, LAST, STATE, REPORT, CURVES, LOCK)
LARGEST = 1 << 24
"""Bytes of a file in JSON that is read: far more than any recipe's."""
REPORTS = ("best", "last")
"""Folders, each with a report's files."""


def check_places(folder: Path) -> None:
    """Raise InputError where a link, or what else is no file, is in place of a file that is written; likewise of a folder."""
    for names, right, expected in ((WRITTEN, stat.S_ISREG, "a file"), (REPORTS, stat.S_ISDIR, "a folder")):
        for path in (folder / name for name in names):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror}); expected the folder of a training run") from error
            if not right(mode):
                raise InputError(f"{path}: {'a link' if stat.S_ISLNK(mode) else 'something else'}, expected {expected} or none; "
                                 "nothing is written through links")


def is_taken(path: Path) -> bool:
    """Whether no run can begin here: there is a file, or a folder that holds more than a lock."""
    return path.exists() and (not path.is_dir() or any(inner.name != LOCK for inner in path.iterdir()))


def read_json(path: Path) -> Any:
    """What a file of a run holds. Raises InputError for a file that cannot be read, or is no JSON."""
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected the folder of a training run") from error
    if len(text) > LARGEST:
        raise InputError(f"{path}: more than {LARGEST} bytes, expected what a training run writes")
    return parsed(text, str(path))


def remove_leftovers(folder: Path) -> None:
    """The temporary files of processes that were killed while they wrote. Whoever holds the lock knows that nobody writes any."""
    reports = (Path(name, file) for name in REPORTS for file in ("report.json", "scores.npz"))
    for path in (*map(Path, WRITTEN), *reports):
        for file in leftovers(folder / path):
            with suppress(OSError):
                file.unlink()


def no_link(path: str, flags: int) -> int:
    """Open a file, and not what a link in its place leads to."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def locked(folder: Path) -> Any:
    """Hold the lock of a folder, which is made where it is not there. It ends with the process, however that ends."""
    check_places(folder)
    return locked_folder(folder / LOCK, "another process trains in it, expected one at a time")
