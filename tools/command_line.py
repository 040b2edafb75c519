"""What all tools share: how they end, and the checks that come before the work."""
from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from wvad_core.errors import AssumedWarning, Failure, InputError


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Call `main(argv)`, argv being the words behind the program's name, and leave with an exit status.

    0: done. 2: bad input, with the message of its InputError on stderr. 1: a failure, with that of its Failure.
    130: interrupted from the keyboard. 141: nobody reads the output any more (as in `| head`). Other exceptions go
    through: a traceback, status 1. What a checkpoint leaves open is a note on stderr.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", AssumedWarning)
            warnings.showwarning = _shown(warnings.showwarning)
            main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except (InputError, Failure) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end, which would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    sys.exit(0)


def _shown(others: Callable[..., None]) -> Callable[..., None]:
    """What warnings are shown by: those of checkpoints as one line, all others as before."""
    def show(message: Warning, category: type[Warning], *rest: object, **named: object) -> None:
        if issubclass(category, AssumedWarning):
            print(f"note: {message}", file=sys.stderr)
        else:
            others(message, category, *rest, **named)
    return show


def check_writable(folder: Path) -> None:
    """Raise InputError unless files can be written into `folder`, which need not exist yet. Nothing is left behind."""
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
