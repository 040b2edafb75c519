"""The command `wvad COMMAND ...`: its subcommands, each of which is a module of this package and imported when it is called."""
from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from .. import __version__
from ..errors import InputError
from . import process

COMMANDS = {
    "demo": "score the bundled demo set: in seconds, without a download",
    "test": "score a test set, and report its metrics",
    "score": "score videos or features without annotation: events, pictures, a page",
    "calibrate": "choose a threshold by the false alarms an hour, for the checkpoint",
    "render": "a video with the curve of its scores below the picture, as mp4",
    "train": "train a detector by a recipe, or go on with a run",
    "extract": "extract features of videos, for the other commands",
    "dictionary": "learn a dictionary of a dataset's normal training videos",
    "compare": "set the reports of several runs side by side",
    "convert": "convert a checkpoint: published ones, and any format into any other",
    "inspect": "say what a checkpoint is and what it holds",
    "export": "write a checkpoint for deployment, as ONNX or MindIR",
    "methods": "list the methods: paper, published results, size, recipes",
}
"""{name of a module here: what it does, in a line}."""

HELP = """usage: wvad COMMAND [OPTION ...]

Weakly supervised video anomaly detection on NumPy, PyTorch and MindSpore.

commands:
{commands}

  wvad COMMAND --help    its options, with examples
  wvad --version

examples:
  wvad demo
  wvad test --dataset ucf-crime --features i3d/test --checkpoint ucf.safetensors --output results
  wvad train --method METHOD --dataset xd-violence --features i3d

Exit status: 0 done, 2 bad input, 1 a failure, as a full disk, 130 SIGINT, 143 SIGTERM."""


def program() -> NoReturn:
    """The console script."""
    process.start(main, environment(sys.argv[1:]))


def main(argv: Sequence[str]) -> None:
    """Do what the words behind `wvad` say. Raises InputError, and all that the subcommands raise."""
    if word := next((word for word in argv if "\0" in word), None):
        raise InputError(f"{word!r}: has a NUL in it, expected what can be a name")
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP.format(commands="\n".join(f"  {name:<10}{summary}" for name, summary in COMMANDS.items())))
    elif argv[0] == "--version":
        print(f"wvad {__version__}")
    elif argv[0].startswith("-"):
        raise InputError(f"{argv[0]}: options come behind a command, as in wvad test {argv[0]}; wvad --help lists the commands")
    else:
        module(argv[0]).main(argv[1:], f"wvad {argv[0]}")


def module(name: str) -> ModuleType:
    """The module of a subcommand."""
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; the commands are {', '.join(COMMANDS)}"
        raise InputError(f"unknown command {name!r}{hint}")
    return importlib.import_module(f".{name}", __package__)


def environment(argv: Sequence[str]) -> dict[str, str]:
    """The environment variables that a subcommand wants for its process, where they are not set."""
    return getattr(module(argv[0]), "ENVIRONMENT", {}) if argv and argv[0] in COMMANDS else {}
