"""What installed packages offer by entry points, read once, and again after something was installed."""
from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib import metadata
from typing import Any


def entry_points(**selected: str) -> metadata.EntryPoints:
    """Those of a group, and of a name, as by `importlib.metadata`, which opens a file of every package each time."""
    return _all(tuple(map(_state, sys.path))).select(**selected)


def _state(folder: str) -> tuple[str, int, int]:
    """Of a folder of packages: changes whenever one comes or goes."""
    try:
        found = os.stat(folder or os.curdir)
    except OSError:
        return folder, 0, 0
    return folder, found.st_ino, found.st_mtime_ns


@lru_cache(maxsize=4)
def _all(state: tuple[tuple[str, int, int], ...]) -> Any:
    return metadata.entry_points()
