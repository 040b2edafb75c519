"""Which threads and processes compute with MindSpore."""
from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wvad_core.errors import Failure

_lock = threading.RLock()
_process: int | None = None  # that has computed


@contextmanager
def alone() -> Iterator[None]:
    """One thread at a time: MindSpore crashes where two use it."""
    with _lock:
        yield


@contextmanager
def a_core_each() -> Iterator[None]:
    """Each of MindSpore's threads on a core of its own, where there are just as many, and afterwards where it was allowed before.

    The thread that calls an operator waits for it busily. Left to the system, it has a core to itself for seconds on end, while
    two of those that compute share another one: products then run at half their speed.
    """
    before = workers()
    cores = sorted(set().union(*before.values()))
    bound = {thread: {core} for (thread, allowed), core in zip(before.items(), cores) if core in allowed}
    if not len(bound) == len(before) == len(cores) > 1:  # of more cores, some are free
        yield
        return
    try:
        _allow(bound)
        yield
    finally:
        _allow(before)


def workers() -> dict[int, set[int]]:
    """The cores that MindSpore's threads which compute may take, by the system's numbers of these threads; none where it does
    not tell, or before they are started."""
    found = {}
    with suppress(OSError):  # no such folder, or a thread that has ended
        for thread in sorted(Path("/proc/self/task").iterdir(), key=lambda path: int(path.name)):
            if (thread / "comm").read_text().startswith(("ActorThread", "KernelThread")):
                found[int(thread.name)] = os.sched_getaffinity(int(thread.name))
    return found


def _allow(cores: dict[int, set[int]]) -> None:
    for thread, allowed in cores.items():
        with suppress(OSError):
            os.sched_setaffinity(thread, allowed)


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
