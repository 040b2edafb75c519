"""`wvad score`: scores of videos, or of features, that have no annotation."""
from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import wvad_core as wv

from ..checkpoints import formats
from ..checkpoints.contents import Contents, digest
from ..checkpoints.identification.recognition import identify
from ..checkpoints.threshold import Threshold, by_hand
from ..detector import Detector
from ..errors import Failure, listing
from ..extraction.extracting import extractor_of, versions
from ..extraction.extracting import origin as origin_of
from ..extraction.feature_folder import FeatureFolder
from ..models import load_detector
from ..origin import Origin, compared, from_dict
from ..registry import specification
from ..reports import scored_videos
from ..scoring.inputs import Input, find_inputs
from ..scoring.videos import Scored, Scorer
from ..video.recipe import Recipe, recipes
from . import options
from .extract import chosen_layout, chosen_recipe

LOGGER = logging.getLogger("wvad")
DESCRIPTION = """Score videos without any annotation: anomaly scores, events, pictures and a page to look at.

Videos need an extractor, the one that made the features which the detector was trained on; features
need none. Without a threshold in the checkpoint (`wvad calibrate`) or by --threshold there are no
events, and the page shows scores relative to each video's own range."""

EXAMPLES = """
examples:
  %(prog)s gate.mp4 videos --checkpoint ucf.safetensors --extractor i3d.pt --output scores
  %(prog)s i3d/test --checkpoint ucf.safetensors --fps 30 --threshold 0.6 --output scores

INPUT is a video, a folder of videos or pictures, an address, a .npy file of features, or a folder
of them. The output folder gets scores.csv (a row for 16 frames), events.json (and events.jsonl: the
messages new, update and end of each event), report.html, and scores/NAME.png with key frames where
matplotlib is there. A bad video is named and left out. Exit status: 2 for bad input, 1 where a
video is left out or the disk is full."""


def main(argv: Sequence[str], prog: str = "wvad score") -> None:
    arguments = parser(prog).parse_args(argv)
    options.set_log_level(arguments)
    inputs = find_inputs(arguments.inputs, arguments.crops)
    with scored_videos.claimed(arguments.output):
        scorer, about = opened(arguments, inputs)
        if not arguments.quiet:
            print("\n".join([*map(str, (scorer.detector, scorer.extractor) if scorer.extractor else (scorer.detector,)),
                             "threshold " + (scorer.threshold.text() if scorer.threshold else "not known"),
                             f"{len(inputs)} videos"]), flush=True)
        scored = scorer.all(inputs)
        said = ""
        if scored.videos:
            said = scored_videos.save(arguments.output, scored.videos, scorer.threshold, about,
                                      specification(scorer.detector.method).PROBABILITIES)
    report(scored, said, arguments.quiet)


def opened(arguments: argparse.Namespace, inputs: Sequence[Input]) -> tuple[Scorer, dict[str, Any]]:
    """Detector and extractor of checked arguments, and what they are, for the files."""
    backend = arguments.backend or options.default_backend("numpy")
    needed = any(made.is_video for made in inputs)
    if needed and arguments.extractor is None:
        raise wv.InputError("--extractor is missing, the checkpoint of the one that makes features of videos; .npy features need none")
    contents = formats.read(arguments.extractor)[1] if needed else None
    name, recipe = _recipe(arguments, contents) if contents else (None, None)
    detector = load_detector(arguments.checkpoint, backend, arguments.device, arguments.precision, method=arguments.method)
    extractor = extractor_of(recipe, contents, str(arguments.extractor), backend, arguments.device,
                             arguments.precision) if contents and recipe else None
    scorer = Scorer(detector, extractor, recipe, _threshold(arguments, detector), arguments.fps)
    known = origin_of(extractor, recipe, str(name), chosen_layout(None, recipe), "float32") if extractor and recipe else None
    compare_origins(arguments, inputs, from_dict(known, "extractor") if known else None, detector.origin)
    if (folder := getattr(arguments, "keep_features", None)) and extractor and known:
        scorer = replace(scorer, kept=FeatureFolder(folder, known, versions(extractor)))
    about = {"method": detector.method, "checkpoint": str(arguments.checkpoint), "weights_sha256": digest(detector.weights()),
             "extractor": extractor and extractor.name, "recipe": name,
             "origin": detector.origin and detector.origin.as_dict()}
    return scorer, about


def compare_origins(arguments: argparse.Namespace, inputs: Sequence[Input], made: Origin | None, expected: Origin | None) -> None:
    """Raise InputError for features of another origin than the detector's, unless --force lets them pass with a warning. made: of
    those that the extractor makes."""
    videos = f"extractor {arguments.extractor}"
    origins = {videos if one.is_video else str(Path(one.source).parent): made if one.is_video else one.origin for one in inputs}
    for source, origin in origins.items():
        if note := compared(origin, expected, source, f"{arguments.checkpoint} was trained on", arguments.force):
            LOGGER.warning("%s", note)


def _recipe(arguments: argparse.Namespace, contents: Contents) -> tuple[str, Recipe]:
    """That which is named, else the first of the extractor whose checkpoint has these contents."""
    if arguments.recipe:
        return chosen_recipe(None, arguments.recipe)
    return chosen_recipe(identify(contents, str(arguments.extractor)).method, None)


def _threshold(arguments: argparse.Namespace, detector: Detector[Any]) -> Threshold | None:
    given = getattr(arguments, "threshold", None)
    return detector.threshold if given is None else by_hand(given)


def report(scored: Scored, said: str, quiet: bool = False) -> None:
    """Say what came of it. Raises Failure where a video is left out."""
    for video in sorted(scored.videos, key=lambda video: -video.scores.max()):
        events = f"{len(video.events)} event{'s' if len(video.events) > 1 else ''}, " if video.events else ""
        print(f"{video.name}: {events}highest score {video.scores.max():.4g}")
    if scored.videos and not quiet:
        print(f"scored {len(scored.videos)} videos; {scored.frames} frames in {scored.seconds:.1f} s\n{said}")
    if scored.failed:
        lines = [f"{name}: {error}" for name, error in scored.failed.items()]
        raise Failure(f"{len(lines)} of {len(lines) + len(scored.videos)} videos could not be scored\n  {listing(lines, len(lines))}")


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add what says which models score what: those of `wvad score` and `wvad calibrate`."""
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the detector's, in any format")
    parser.add_argument("--method", metavar="METHOD", help="of `wvad methods`; default: the checkpoint's")
    parser.add_argument("--extractor", type=Path, metavar="FILE", help="the extractor's checkpoint, for videos")
    parser.add_argument("--recipe", metavar="NAME", help=f"{', '.join(recipes())}, or a file; default: the extractor's first")
    options.add_force(parser, "take features, or an extractor, of another origin than the detector's")
    parser.add_argument("--crops", type=int, metavar="N", help="in feature files of three axes")
    parser.add_argument("--fps", type=options.frame_rate, metavar="N", help="frames a second, of features and pictures")
    parser.add_argument("--backend", metavar="NAME", help=f"default: {options.DEFAULT_BACKEND}")
    parser.add_argument("--device", default="auto", help="cpu, cuda:0, ascend:0, ...; default: auto")
    parser.add_argument("--precision", default="float32", metavar="NAME", help="float32, or bf16 where the backend has it")


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES, usage="%(prog)s INPUT ... --checkpoint FILE --output DIR [OPTION ...]")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="videos or features, see below")
    add_models(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the scores")
    parser.add_argument("--keep-features", type=Path, metavar="DIR",
                        help="as wvad extract makes them, for the next run")
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="of events; default: the checkpoint's")
    return parser
