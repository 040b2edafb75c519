"""`wvad export`: write a checkpoint for deployment."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import wvad_core as wv

from ..backend import export_formats
from . import options
from .convert import convert

DESCRIPTION = """Write a checkpoint, this library's or a published one, for deployment: what computes the anomaly
scores of a video. The format is seen from the suffix of OUT: .onnx (needs PyTorch, onnx and
onnxscript) or .mindir (needs MindSpore).

Method and configuration are seen as by `wvad inspect`; where several detectors fit, --method and
settings decide."""

EXAMPLES = """
examples:
  %(prog)s weights.safetensors weights.onnx
  %(prog)s official.pkl weights.mindir --method METHOD heads=2

Exit status: 2 for bad input, 1 for a failure."""


def main(argv: Sequence[str], prog: str = "wvad export") -> None:
    arguments = parser(prog).parse_intermixed_args(argv)
    options.set_log_level(arguments)
    suffixes = export_formats()
    if arguments.target.suffix not in suffixes:
        raise wv.InputError(f"{arguments.target}: expected the suffix {' or '.join(suffixes)}; `wvad convert` writes checkpoints")
    convert(arguments.source, arguments.target, arguments.method, options.settings(arguments.settings), quiet=arguments.quiet,
            companions=arguments.companion)


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES)
    parser.add_argument("source", type=Path, metavar="IN", help="the checkpoint")
    parser.add_argument("target", type=Path, metavar="OUT", help="the file to write")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="settings of the method that the file does not show")
    options.add_identification(parser)
    return parser
