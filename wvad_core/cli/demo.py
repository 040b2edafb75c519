"""`wvad demo`: score the bundled demo set, and say what to try next."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import options, test, video_demo

DESCRIPTION = """Score the bundled demo set with a bundled checkpoint: in seconds, without a download.

The set is made from a seed, and its features are kept in the user's cache ($WVAD_CACHE, else
~/.cache/wvad). With --video it goes from videos to a page: videos are drawn, a bundled extractor
makes their features, and a bundled detector finds what happens in them; needs the extra video.
Both show that everything works; they say nothing of real videos."""

EXAMPLES = """
examples:
  %(prog)s
  %(prog)s --method METHOD --output results
  %(prog)s --video --output wvad-demo"""

NEXT = """
next:
  wvad demo --video                          from videos to a page of what happens in them
  wvad demo --output results                 the report, the scores and pictures
  wvad methods                               what else there is for --method
  wvad train --method METHOD --dataset demo  trains one, in a minute
  wvad test --help                           features and checkpoints of your own"""


def main(argv: Sequence[str], prog: str = "wvad demo") -> None:
    arguments = parser(prog).parse_args(argv)
    if arguments.video:
        return video_demo.run(arguments)
    test.main(argv, prog)
    if not arguments.quiet:
        print(NEXT)


def parser(prog: str) -> argparse.ArgumentParser:
    """Some of the options of `wvad test`."""
    parser = options.parser(prog, DESCRIPTION, EXAMPLES, allow_abbrev=False)
    parser.add_argument("--video", action="store_true", help="go from videos to a page, in half a minute")
    parser.add_argument("--method", metavar="METHOD", help=f"of `wvad methods`; default: {test.BY_DEFAULT}")
    parser.add_argument("--backend", metavar="NAME",
                        help=f"default: {options.DEFAULT_BACKEND}")
    parser.add_argument("--device", help="cpu, cuda:0, ascend:0, ...; default: auto")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        help=f"folder for the report, the scores and pictures; of --video, default: {video_demo.OUTPUT}")
    return parser
