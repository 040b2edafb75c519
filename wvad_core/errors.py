"""The one error that is the caller's to mend."""


class InputError(ValueError):
    """Bad input: a file, a video, a name or a setting that cannot be used as it is.

    The message is one line for the person at the keyboard: which file or video, what was found, what was expected.
    The tools print it without a traceback and leave with exit status 2.
    """


def listing(lines: list[str], most: int = 10) -> str:
    """Join `lines` one under another, at most `most` of them, then a count of the rest."""
    shown = list(lines[:most])
    if len(lines) > most:
        shown.append(f"... and {len(lines) - most} more")
    return "\n  ".join(shown)
