"""What the subcommands share: their parsers, the default backend, the checks that come before the work."""
from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputError
from ..files import cannot_write

FRAMEWORKS = ("torch", "mindspore")
"""The backends that are looked for where none is named, each by the package that it is named after."""
DEFAULT_BACKEND = "the first installed of torch, mindspore, numpy"


class Parser(argparse.ArgumentParser):
    """One whose errors show words as an InputError does."""

    def error(self, message: str) -> NoReturn:
        super().error(str(InputError(message)))


def parser(prog: str, description: str, examples: str, **named: Any) -> argparse.ArgumentParser:
    """A Parser with -v and -q. `%(prog)s` in the texts stands for what the command is called by."""
    made = Parser(prog, description=description, epilog=examples,
                  formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=26), **named)
    how_much = made.add_mutually_exclusive_group()
    how_much.add_argument("-v", "--verbose", action="store_true", help="say more of what is done, on stderr")
    how_much.add_argument("-q", "--quiet", action="store_true", help="print the result alone, without a progress bar")
    return made


def set_log_level(arguments: argparse.Namespace) -> None:
    """Let the library log as much as -v and -q ask for; without either it stays."""
    if arguments.verbose or arguments.quiet:
        logging.getLogger("wvad").setLevel(logging.DEBUG if arguments.verbose else logging.WARNING)


def default_backend(otherwise: str) -> str:
    """The first of FRAMEWORKS that is installed, which loads none of them; `otherwise` where none is."""
    return next((name for name in FRAMEWORKS if importlib.util.find_spec(name)), otherwise)


def add_companion(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --companion NAME=FILE, as often as it is given: what are the words for it."""
    parser.add_argument("--companion", action="append", default=[], metavar="NAME=FILE", help=f".npy, {what}")


def add_force(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --force: what are the words for what it lets pass."""
    parser.add_argument("--force", action="store_true", help=what)


def add_identification(parser: argparse.ArgumentParser) -> None:
    """Add what decides of a checkpoint where it does not say itself: --method and --companion."""
    parser.add_argument("--method", metavar="METHOD", help="of `wvad methods`; where the tensors fit several")
    add_companion(parser, "a tensor that a published checkpoint lacks, as it has it in a file apart")


def settings(words: Iterable[str]) -> dict[str, Any]:
    """SETTING=VALUE words as {name: value}."""
    return dict(setting(word) for word in words)


def setting(word: str) -> tuple[str, Any]:
    """depth=2 -> ("depth", 2); ratios=16,32 -> ("ratios", [16, 32]); variant=lstm -> ("variant", "lstm")."""
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        raise InputError(f"{word!r} is not a setting, expected NAME=VALUE")
    try:
        return name, json.loads(f"[{value.rstrip(',')}]" if "," in value else value)
    except (ValueError, RecursionError):
        return name, value


def frame_rate(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text}: expected frames a second, a number above 0")
    return value


def check_writable(folder: Path) -> None:
    """Raise InputError, or Failure on a full disk, unless files can be written into `folder`, which need not exist yet.
    Nothing is left behind."""
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise cannot_write(folder, error) from error
