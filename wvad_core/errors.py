"""Errors whose message is for the person at the keyboard."""
from __future__ import annotations

import difflib
from collections.abc import Iterable


class _Message:
    """A mixin: what an exception says, fit for a terminal, whatever names and values of files it has in it."""

    def __str__(self) -> str:
        return "\n  ".join(_printable(line) for line in super().__str__().split("\n  "))


class InputError(_Message, ValueError):
    """Bad input: a file, a video, a name or a setting that cannot be used as it is.

    The message is one line for the person at the keyboard: which file or video, what was found, what was expected.
    The tools print it without a traceback and leave with exit status 2.
    """


class Failure(_Message, RuntimeError):
    """Work that cannot go on although its input is right: a disk that is full, a loss that is not finite.

    The message is one line, as an InputError's. The tools print it without a traceback and leave with exit status 1.
    """


class Terminated(BaseException):
    """The process was told to end, by SIGTERM, and is in order. The tools leave with exit status 143; the message, where there
    is one, says what was saved."""


class AssumedWarning(UserWarning):
    """A checkpoint was loaded whose scores depend on what it does not say, or its hash leaves out: `detector.assumed` has it."""


def _printable(line: str, most: int = 2000) -> str:
    """A line with what would move a cursor escaped, as `ascii` has it, and its middle left out where it is too long."""
    if len(line) > most:
        line = f"{line[:most // 2]} ... {line[-most // 4:]}"
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def listing(lines: list[str], most: int = 10) -> str:
    """Join `lines` one under another, at most `most` of them, then a count of the rest."""
    shown = list(lines[:most])
    if len(lines) > most:
        shown.append(f"... and {len(lines) - most} more")
    return "\n  ".join(shown)


def one_line(text: object, most: int = 400) -> str:
    """What a library, or a file, says, fit for a message: on one line, without characters that move a cursor."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))[:most]


def nearest(name: str, known: Iterable[str]) -> str:
    """Those of the known names that come near a misspelt one, with commas between; all of them where none does."""
    known = list(known)
    return ", ".join(difflib.get_close_matches(name, known, cutoff=0.5) or known)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """" (did you mean NAME?)", of the known name that comes nearest to a misspelt one; "" where none comes near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
