"""Which threads and processes compute with MindSpore."""
from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wvad_core.errors import Failure

_lock = threading.RLock()
_process: int | None = None  # that has computed


@contextmanager
def alone() -> Iterator[None]:
    """One thread at a time: MindSpore crashes where two use it."""
    with _lock:
        yield


def check_process() -> None:
    """Raise Failure in a process that was forked from one that had computed. MindSpore would wait for ever in it for its
    threads, which no fork takes along.
    """
    global _process
    if _process not in (None, os.getpid()):
        raise Failure("MindSpore has computed in the process that this one was forked from, and would hang in this one; "
                      'start processes by multiprocessing.get_context("spawn"), or before anything is computed')
    _process = os.getpid()


def _forked() -> None:
    """The thread that held the lock may not be in the new process."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
