"""Which threads and processes compute with PyTorch.

What this library sets aside while it computes, PyTorch has once a process: precisions and generators. And a network has
one mode. So several threads may score at the same time, by the same settings; what else is computed, one does alone.
"""
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from wvad_core.errors import Failure


class _Turns:
    """A lock that several threads hold together, or one of them alone. One that holds it alone may take it again, either way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: int | None = None
        self._depth = 0
        self._contexts: dict[object, tuple[int, ExitStack]] = {}  # how many threads are in each
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    @contextmanager
    def together(self, contexts: dict[object, Callable[[], AbstractContextManager[object]]]) -> Iterator[None]:
        """Within contexts, {key: what makes one}, each of which the first thread enters and the last one leaves."""
        with self._changed:
            self._changed.wait_for(lambda: self._owner in (None, threading.get_ident()))
            for key, make in contexts.items():
                count, stack = self._contexts.get(key) or (0, ExitStack())
                if not count:
                    stack.enter_context(make())
                self._contexts[key] = count + 1, stack
        try:
            yield
        finally:
            with self._changed:
                for key in reversed(contexts):
                    count, stack = self._contexts.pop(key)
                    if count > 1:
                        self._contexts[key] = count - 1, stack
                    else:
                        stack.close()
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._owner == me or not (self._owner or self._contexts))
            self._owner, self._depth = me, self._depth + 1
        try:
            yield
        finally:
            with self._changed:
                self._depth -= 1
                self._owner = me if self._depth else None
                self._changed.notify_all()

    def _forked(self) -> None:
        """The threads that held it are not in the new process."""
        self._changed, self._owner, self._depth, self._contexts = threading.Condition(), None, 0, {}


_turns = _Turns()
_process: int | None = None  # that has computed by several threads


def check_process() -> None:
    """Raise Failure where computing would wait for ever: by several threads in a process that was forked from one that had
    computed so. OpenMP then waits for its threads, which no fork takes along.
    """
    global _process
    if torch.get_num_threads() == 1:
        return
    if _process not in (None, os.getpid()):
        raise Failure("PyTorch has computed by several threads in the process that this one was forked from, and would hang "
                      'in this one; start processes by multiprocessing.get_context("spawn"), or call '
                      "torch.set_num_threads(1) in them")
    _process = os.getpid()


@contextmanager
def together(contexts: dict[object, Callable[[], AbstractContextManager[object]]]) -> Iterator[None]:
    """Several threads at a time, within contexts that they share, {key: what makes one}. Raises Failure as `check_process`."""
    check_process()
    with _turns.together(contexts):
        yield


@contextmanager
def alone() -> Iterator[None]:
    """One thread, while no other computes. Raises Failure as `check_process`."""
    check_process()
    with _turns.alone():
        yield
