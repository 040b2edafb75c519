"""How a command begins and ends: the process's environment, what is shown of logs and warnings, the exit status."""
from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from ..errors import AssumedWarning, Failure, InputError, Terminated
from ..files import FULL

LOGGER = logging.getLogger("wvad")
"""What the library logs to."""


def start(main: Callable[[Sequence[str]], None], environment: Mapping[str, str] = {}) -> NoReturn:
    """`run`, for a process that is this command's alone. environment: variables that are set where they are not, or where
    torchrun has set them, whose processes compute by one thread each."""
    by_torchrun = {"OMP_NUM_THREADS": "1"} if "TORCHELASTIC_RUN_ID" in os.environ else {}
    for name, value in environment.items():
        if os.environ.get(name) == by_torchrun.get(name):
            os.environ[name] = value
    try:
        run(main)
    except SystemExit as end:
        if end.code == 143:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever says it again finds the process at its end
        raise


def is_first() -> bool:
    """Whether this is the first of the processes that torchrun or msrun has started, or the only one."""
    return int(os.environ.get("RANK", os.environ.get("RANK_ID", "0"))) == 0


def threads() -> dict[str, str]:
    """The environment of one of several processes that torchrun or msrun has started on a machine: its part of the cores."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("MS_WORKER_NUM", "1")))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // processes))} if processes > 1 else {}


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Call `main(argv)`, argv being the words behind the program's name, and leave with an exit status.

    0: done. 2: bad input, with the message of its InputError on stderr, or the system's of a file. 1: a failure, with that of
    its Failure, or with the system's where a disk is full. 130: interrupted from the keyboard. 143: told to end by SIGTERM.
    141: nobody reads the output any more (as in `| head`). Other exceptions go through: a traceback, status 1. What the
    library logs, and what a checkpoint leaves open, is a line each on stderr.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of names of files that are no text, as stderr has them
    try:
        with warnings.catch_warnings(), logs_on_stderr(), on_sigterm(_end):
            warnings.simplefilter("always", AssumedWarning)
            warnings.showwarning = _shown(warnings.showwarning)
            main(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()
    except (InputError, Failure, Terminated) as error:
        _say(error)
        sys.exit(143 if isinstance(error, Terminated) else 2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(141)
    except OSError as error:
        if error.errno not in FULL and error.filename is None:
            raise
        if error.filename is None:
            _discard_stdout()
        _say(error.strerror if error.filename is None else InputError(f"{error.filename}: {error.strerror}"))
        sys.exit(1 if error.errno in FULL else 2)
    sys.exit(0)


def _say(error: object) -> None:
    if str(error):
        print(f"error: {error}", file=sys.stderr)


def _discard_stdout() -> None:
    """The interpreter flushes it once more at its end, which would complain again."""
    with suppress(OSError, ValueError):  # of what is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(*_: Any) -> NoReturn:
    raise Terminated


@contextmanager
def on_sigterm(handler: Callable[..., None]) -> Iterator[None]:
    """Have SIGTERM handled so in the block. Only the main thread of a process can say so; elsewhere all stays as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Show what the library logs, from INFO on; `options.set_log_level` moves that level by -v and -q."""
    handler, level = logging.StreamHandler(sys.stderr), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def _shown(others: Callable[..., None]) -> Callable[..., None]:
    """What warnings are shown by: those of checkpoints as one line, all others as before."""
    def show(message: Warning, category: type[Warning], *rest: object, **named: object) -> None:
        if issubclass(category, AssumedWarning):
            print(f"note: {message}", file=sys.stderr)
        else:
            others(message, category, *rest, **named)
    return show
