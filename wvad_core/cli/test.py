"""`wvad test`: score a test set, all crops of a video together, and report the metrics."""
from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wvad_core as wv

from .. import conventions
from ..backend import find_backend
from ..data import Dataset, bundled_tables, demo, load_table
from ..data.companions import parse_companions
from ..data.demo import DEMO
from ..models import load_detector
from ..origin import UNKNOWN
from ..registry import module_name
from ..reports import page, pictures, report_pages
from ..scoring import evaluation
from . import options

BY_DEFAULT = "the smallest of the demo's checkpoints"

DESCRIPTION = """Score a test set, all crops of a video together, and report the metrics.

Without arguments: the bundled demo set with a bundled checkpoint, in seconds."""

EXAMPLES = """
examples:
  %(prog)s --backend torch --output results
  %(prog)s --dataset ucf-crime --features i3d --checkpoint ucf.pkl
  %(prog)s --dataset own.csv --features own --checkpoint own.pt --crops 10

An output folder gets report.json, scores.npz (NAME/scores and NAME/abnormal_fraction of each video,
a number for each 16 frames: the anomaly score, and the fraction of the frames that is abnormal; and
NAME/class_probabilities where the method tells classes apart),
report.html, a page that opens in a browser: the metrics, and the curve of each video;
roc.png, precision_recall.png, videos.png (all on a sheet, the worst first), scores/NAME.png, and
confusion.png of classes.
Pictures need matplotlib. wvad compare takes such folders. Exit status: 2 bad input, 1 a failure."""


def main(argv: Sequence[str], prog: str = "wvad test") -> None:
    arguments = parser(prog).parse_args(argv)
    options.set_log_level(arguments)
    check(arguments)
    score(arguments, shlex.join([*prog.split(), *argv]))


def score(arguments: argparse.Namespace, command: str) -> None:
    """Do what checked arguments ask for. command: what stands for them in the report."""
    name = arguments.backend or options.default_backend("numpy")
    first = find_backend(name).join(arguments.device)[0] == 0
    checkpoint = arguments.checkpoint or demo.demo_checkpoint(arguments.method or demo.default_method())
    detector = load_detector(checkpoint, name, arguments.device, arguments.precision, method=arguments.method,
                             allow_fresh=arguments.allow_fresh, companions=parse_companions(arguments.companion))
    detector = dataclasses.replace(detector, crops=arguments.crops)
    features = arguments.features or demo.demo_features(layout=detector.config.layout)
    dataset = Dataset.open(arguments.dataset, features, ground_truth=arguments.ground_truth,
                           feature_dim=detector.config.feature_dim)
    if arguments.ground_truth and conventions.protocol_of(detector.method, dataset.name, arguments.protocol).frame_labels:
        raise wv.InputError(f"--ground-truth {arguments.ground_truth}: {detector.method}'s authors count the frames of the table, "
                            "expected no other ground truth with --protocol published")
    about = {"features": str(features), "checkpoint": str(checkpoint), "command": command}
    described = evaluation.describe(detector, dataset, arguments.protocol) | about
    if first and not arguments.quiet:
        print(heading(described, arguments, str(dataset.origin or UNKNOWN)) + "\n", flush=True)
    report = wv.evaluate(detector, dataset, about=about, force=arguments.force, protocol=arguments.protocol)
    if not first:
        return
    lines = [report.table(), f"\nscored in {report.about['seconds']:.1f} s"]
    if arguments.output:
        lines.append(save(report, arguments.output))
    print("\n".join(lines[:1] if arguments.quiet else lines))


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES, usage="%(prog)s [OPTION ...]")
    parser.add_argument("--backend", metavar="NAME",
                        help=f"default: {options.DEFAULT_BACKEND}")
    parser.add_argument("--method", metavar="METHOD", help="of `wvad methods`; default: the checkpoint's, else the demo's smallest")
    parser.add_argument("--dataset", default=DEMO, metavar="NAME",
                        help=f"{', '.join(bundled_tables())}, or a CSV table; default: {DEMO}")
    parser.add_argument("--features", type=Path, metavar="DIR", help="folder of the features; the demo has its own")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE",
                        help="this library's or a published one, in any format; the demo has its own")
    parser.add_argument("--allow-fresh", action="store_true",
                        help="draw the weights of a part that the checkpoint lacks and scores need")
    options.add_companion(parser, "a tensor that a published checkpoint lacks")
    parser.add_argument("--crops", type=int, metavar="N",
                        help="how many crops a video has; without it from 1 to 10")
    parser.add_argument("--ground-truth", type=Path, metavar="FILE",
                        help=".npy, 0 or 1 for each frame of all videos, not the table's intervals")
    parser.add_argument("--protocol", choices=conventions.NAMES, default="uniform",
                        help="published: as the method's authors evaluate it; default: uniform, the same for all methods")
    options.add_force(parser, "score features of another origin than the detector's")
    parser.add_argument("--device", default="auto", help="cpu, cuda:0, ascend:0, ...; default: auto")
    parser.add_argument("--precision", default="float32", metavar="NAME",
                        help="float32, or bf16 where the backend has it; default: float32")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the report, its page, the scores and pictures")
    return parser


def check(arguments: argparse.Namespace) -> None:
    """Raise InputError for what can be told before any framework starts."""
    load_table(arguments.dataset)
    if arguments.method:
        module_name(arguments.method)
    missing = [f"--{name}" for name in ("features", "checkpoint") if not getattr(arguments, name)]
    if missing and arguments.dataset != DEMO:
        raise wv.InputError(f"dataset {arguments.dataset} needs {' and '.join(missing)}; only {DEMO} has its own")
    if arguments.output:
        options.check_writable(arguments.output)


def heading(about: dict[str, Any], arguments: argparse.Namespace, made_by: str) -> str:
    """What is being run, in a few lines; of what nobody chose, why. made_by: the origin of the features."""
    framework = ", ".join(f"{name} {version}" for name, version in about["framework"].items())
    chosen = "" if arguments.method or arguments.checkpoint else f" ({BY_DEFAULT}; --method takes another)"
    default = "" if arguments.backend else f" ({options.DEFAULT_BACKEND})"
    return "\n".join(f"{name:<12}{value}" for name, value in (
        ("method", about["method"] + chosen),
        ("backend", f"{framework}, {about['device']}, {about['precision']}{default}"),
        ("dataset", f"{about['dataset']}, {about['videos']} test videos, {about['frames']} frames"),
        ("features", about["features"]), ("made by", made_by if arguments.features else ""),
        ("protocol", protocol_line(about)),
        ("checkpoint", f"{about['checkpoint']} (sha256 {about['weights_sha256'][:12]})")) if value)


def protocol_line(about: dict[str, Any]) -> str:
    """The protocol, and what the authors' is."""
    if about["protocol"] == "uniform":
        return "uniform"
    return f"published: {conventions.described(conventions.protocol_of(about['method'], about['dataset'], about['protocol']))}"


def save(report: wv.Report, folder: Path) -> str:
    """Write a report into a folder; what is there then, in words."""
    report.save(folder)
    page.write(folder / page.PAGE, report_pages.of_report(report))
    try:
        drawn = f" and {pictures.draw(report, folder)} pictures"
    except ImportError as error:
        drawn = f"; no pictures, {error}"
    return f"written to {folder}: report.json, scores.npz, {page.PAGE}{drawn}"
