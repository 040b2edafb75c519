"""`wvad render`: a video with the curve of its scores below the picture."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import wvad_core as wv

from ..progress import progress_bar
from ..reports.rendering import render
from ..reports.score_table import read_scores
from . import options

DESCRIPTION = """Write an mp4 of a video with the curve of its scores below the picture, and a cursor that runs
along it.

Frames and their times are the video's, sound is left out. Needs PyAV and Pillow: pip install
"wvad[video]"."""

EXAMPLES = """
examples:
  %(prog)s gate.mp4 --scores scores/scores.csv --output gate-scores.mp4
  %(prog)s frames/gate --fps 25 --scores scores/scores.csv --threshold 0.6 --output gate.mp4

VIDEO is a file or a folder of pictures; scores.csv is that of wvad score, in which the video is
called as its file without suffix, or as --name says. Exit status: 2 for bad input, 1 for a failure."""


def main(argv: Sequence[str], prog: str = "wvad render") -> None:
    arguments = parser(prog).parse_args(argv)
    options.set_log_level(arguments)
    video = Path(arguments.video)
    if arguments.output.suffix.lower() != ".mp4":
        raise wv.InputError(f"{arguments.output}: expected a file NAME.mp4")
    if arguments.output.exists() and video.exists() and arguments.output.samefile(video):
        raise wv.InputError(f"{arguments.output}: is the video itself, expected another file")
    options.check_writable(arguments.output.parent)
    scores = read_scores(arguments.scores, arguments.name or (video.resolve().name if video.is_dir() else video.stem))
    with progress_bar(desc="rendering", total=16 * len(scores), unit="frame") as bar:
        frames = render(arguments.video, scores, arguments.output, arguments.threshold, arguments.fps, bar.update)
    if not arguments.quiet:
        print(f"written {arguments.output}: {frames} frames")


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES, usage="%(prog)s VIDEO --scores FILE --output OUT.mp4 [OPTION ...]")
    parser.add_argument("video", metavar="VIDEO", help="a file, or a folder of pictures")
    parser.add_argument("--scores", type=Path, required=True, metavar="FILE", help="scores.csv of wvad score")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT.mp4", help="the file to write")
    parser.add_argument("--name", metavar="NAME", help="the video's in scores.csv; default: its file's without suffix")
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="a line on the curve")
    parser.add_argument("--fps", type=options.frame_rate, metavar="N", help="frames a second, of pictures")
    return parser
