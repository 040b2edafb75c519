"""`wvad calibrate`: choose a detector's threshold by a rate of false alarms, and keep it in its checkpoint."""
from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import wvad_core as wv

from ..checkpoints import formats
from ..checkpoints.threshold import GAP, MINIMUM
from ..errors import Failure, listing
from ..scoring.calibration import choose, normal_inputs
from ..scoring.inputs import Input, find_inputs
from . import options
from .score import add_models, opened

DESCRIPTION = """Choose the threshold from which on a detector raises an alarm, by the false alarms an hour that
are allowed, and write the checkpoint with it. False alarms are the events of normal videos, which
should be ones that the detector was not trained on."""

EXAMPLES = """
examples:
  %(prog)s --checkpoint ucf.safetensors --dataset ucf-crime --features i3d/test \\
      --false-alarms-per-hour 1 --output calibrated.safetensors
  %(prog)s --checkpoint own.safetensors --extractor i3d.pt --normal quiet \\
      --false-alarms-per-hour 0.1 --output own.safetensors

--normal takes what wvad score takes. An event reaches the threshold and stays above 0.8 of it. OUT
may be the checkpoint itself. Exit status: 2 for bad input, 1 for a failure."""


def main(argv: Sequence[str], prog: str = "wvad calibrate") -> None:
    arguments = parser(prog).parse_args(argv)
    options.set_log_level(arguments)
    formats.by_suffix(arguments.output)
    inputs = _inputs(arguments)
    options.check_writable(arguments.output.parent)
    scorer, _ = opened(arguments, inputs)
    if not arguments.quiet:
        print(f"{scorer.detector}\n{len(inputs)} normal videos", flush=True)
    scored = scorer.all(inputs)
    if scored.failed:
        lines = [f"{name}: {error}" for name, error in scored.failed.items()]
        raise Failure(f"{len(lines)} of {len(inputs)} videos could not be scored, nothing is written\n  {listing(lines, len(lines))}")
    threshold = choose(scored.videos, arguments.false_alarms_per_hour, arguments.minimum, arguments.gap)
    dataclasses.replace(scorer.detector, threshold=threshold).save(arguments.output)
    print(f"threshold {threshold.text()}" if arguments.quiet else f"threshold {threshold.text()}\nwritten {arguments.output}")


def _inputs(arguments: argparse.Namespace) -> tuple[Input, ...]:
    """The normal videos. Raises InputError unless they are given in one of both ways."""
    table = (arguments.dataset is not None, arguments.features is not None)
    if arguments.normal and not any(table):
        return find_inputs(arguments.normal, arguments.crops)
    if arguments.normal or not all(table):
        raise wv.InputError("expected either --normal, or --dataset and --features")
    return normal_inputs(arguments.dataset, arguments.features, arguments.split)


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES, usage="%(prog)s --checkpoint FILE --false-alarms-per-hour X "
                            "--output OUT [OPTION ...]")
    parser.add_argument("--false-alarms-per-hour", type=number, required=True, metavar="X", help="that are allowed at most")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT", help="the checkpoint to write, with the threshold")
    parser.add_argument("--normal", nargs="+", metavar="INPUT", help="normal videos, or their features")
    parser.add_argument("--dataset", metavar="NAME", help="a table, of which the normal videos count")
    parser.add_argument("--features", metavar="DIR", help="folder of the table's features")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="of the table; default: test")
    parser.add_argument("--minimum", type=number, default=MINIMUM, metavar="S", help=f"seconds of an event; default: {MINIMUM:g}")
    parser.add_argument("--gap", type=number, default=GAP, metavar="S", help=f"seconds that are closed; default: {GAP:g}")
    add_models(parser)
    return parser


def number(text: str) -> float:
    """A finite number, 0 or more."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text}: expected a number, 0 or more")
    return value
