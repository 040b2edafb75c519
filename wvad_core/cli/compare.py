"""`wvad compare`: set the reports of several runs side by side, and say how surely one is better."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..reports import comparison, page, report_pages
from . import options

DESCRIPTION = """Set the reports of runs on the same videos side by side, with their differences from the first.

A difference comes with its 95 % interval over videos (the paired bootstrap: the same resamples of
the videos for all runs) and with the fraction of the resamples in which that run is the better one."""

EXAMPLES = """
examples:
  %(prog)s results other-results --output comparison
  %(prog)s runs/first runs/second runs/third --replicates 10000

RUN is what wvad test --output wrote, or the folder of a training run, of which the best weights
are taken. An output folder gets report.html, a page that opens in a browser: the metrics and their
differences, and the curves of all runs of each video. Exit status: 2 for bad input, such as runs on
different videos."""


def main(argv: Sequence[str], prog: str = "wvad compare") -> None:
    arguments = parser(prog).parse_args(argv)
    options.set_log_level(arguments)
    if arguments.output:
        options.check_writable(arguments.output)
    names = [str(run) for run in arguments.runs]
    reports = [comparison.load_run(run) for run in arguments.runs]
    compared = comparison.compare(reports, names, arguments.replicates, arguments.seed)
    print(compared.table())
    if arguments.output:
        page.write(arguments.output / page.PAGE, report_pages.of_comparison(compared))
        print(f"\nwritten to {arguments.output}: {page.PAGE}")


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN",
                        help="two or more; the others are compared with the first")
    parser.add_argument("--replicates", type=int, default=1000, metavar="R", help="resamples of the videos; default: 1000")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resamples; default: 0")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the page")
    return parser
