"""Progress bars."""
from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LOGGER = logging.getLogger("wvad")


def progress_bar(items: Iterable[Any] | None = None, desc: str | None = None, hidden: bool = False, **named: Any) -> tqdm:
    """tqdm over items, which leaves nothing behind: on a terminal, unless hidden, and unless the logger `wvad` is set to WARNING
    or higher. named: more of tqdm's own, as `unit` and `total`."""
    quiet = hidden or LOGGER.level >= logging.WARNING
    return tqdm(items, desc, leave=False, disable=True if quiet else None, **named)
