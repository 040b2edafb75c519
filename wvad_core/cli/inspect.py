"""`wvad inspect`: say what a checkpoint is and what it holds."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wvad_core as wv

from ..checkpoints.identification.recognition import identify
from . import options
from .contents_text import about, about_file, counted, line, read, table

DESCRIPTION = """Say what a checkpoint is, this library's or a published one: its method and configuration, what of
its tensors is used, what is assumed, and a row for each tensor. Nothing is written, nothing in the
file is run, and neither PyTorch nor MindSpore is needed.

Where the tensors fit several detectors, --method and settings decide."""

EXAMPLES = """
examples:
  %(prog)s official.pkl
  %(prog)s state_dict.pt --method METHOD heads=2 head_dim=16

A list is written with commas: ratios=16,32. Exit status: 2 for bad input, and where the file is no
whole checkpoint."""


def main(argv: Sequence[str], prog: str = "wvad inspect") -> None:
    arguments = parser(prog).parse_intermixed_args(argv)
    options.set_log_level(arguments)
    check(arguments.source, arguments.method, options.settings(arguments.settings), arguments.companion)


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES)
    parser.add_argument("source", type=Path, metavar="FILE", help="the checkpoint")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="settings of the method that the file does not show")
    options.add_identification(parser)
    return parser


def check(source: Path, method: str | None, given: dict[str, Any], companions: Sequence[str] = ()) -> None:
    """Print all that is known of a file. Raises InputError, behind that, where it is no whole checkpoint."""
    kind, contents = read(source, companions)
    print("\n".join(about_file(source, kind.NAME)))
    try:
        found = identify(contents, str(source), method, given)
    except wv.InputError:
        print("\n".join([line("tensors", counted(contents.tensors)), *table(contents.tensors)]), flush=True)
        raise
    print("\n".join([*about(found, contents), *table(contents.tensors)]))
