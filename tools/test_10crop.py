"""Score a test set, all crops of a video together, and report the metrics.

Without arguments: the bundled demo set with its bundled checkpoint on NumPy, in seconds.
"""
from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wvad_core as wv
from command_line import check_writable, run
from wvad_core.backend import backend
from wvad_core.data import Dataset, bundled_tables, demo, load_table
from wvad_core.registry import module_name
from wvad_core.reports import figures
from wvad_core.scoring import evaluation

DEMO = "demo"

EXAMPLES = """
examples:
  python tools/test_10crop.py
  python tools/test_10crop.py --backend torch --output results
  python tools/test_10crop.py --backend mindspore --dataset xd-violence --features i3d/test --checkpoint xd.safetensors
  python tools/test_10crop.py --dataset own.csv --features own --checkpoint own.safetensors --ground-truth gt.npy

An output folder gets report.json, scores.npz (the arrays NAME/scores and NAME/abnormal_fraction of each video, one
number for each 16 frames: the anomaly score, and the fraction of the frames that is abnormal), roc.png,
precision_recall.png and scores/NAME.png. Pictures need matplotlib. Exit status: 2 for bad input, 1 for a failure.
"""


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    check(arguments)
    checkpoint = arguments.checkpoint or demo.demo_checkpoint(arguments.method or wv.list_methods()[0])
    backend(arguments.backend).join(arguments.device)
    detector = wv.load(checkpoint, arguments.backend, arguments.device, arguments.precision, method=arguments.method,
                       allow_fresh=arguments.allow_fresh)
    detector = dataclasses.replace(detector, crops=arguments.crops)
    features = arguments.features or demo.demo_features(layout=detector.config.layout)
    dataset = Dataset.open(arguments.dataset, features, ground_truth=arguments.ground_truth,
                           feature_dim=detector.config.feature_dim)
    about = evaluation.describe(detector, dataset) | {
        "features": str(features), "checkpoint": str(checkpoint),
        "command": shlex.join(["python", sys.argv[0], *argv])}
    print(heading(about), flush=True)
    report = wv.evaluate(detector, dataset, about=about)
    print(f"\n{report.table()}\n\nscored in {report.about['seconds']:.1f} s")
    if arguments.output:
        save(report, arguments.output)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="numpy", help=f"{', '.join(wv.list_backends())}; default: numpy")
    parser.add_argument("--method", help=f"{', '.join(wv.list_methods())}; default: the checkpoint's, else {wv.list_methods()[0]}")
    parser.add_argument("--dataset", default=DEMO, metavar="NAME",
                        help=f"{', '.join(bundled_tables())}, or a table of one's own, FILE.csv; default: {DEMO}")
    parser.add_argument("--features", type=Path, metavar="DIR", help="folder of the features; the demo has its own")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE",
                        help="weights of this library, or published ones, in any format; the demo has its own")
    parser.add_argument("--allow-fresh", action="store_true",
                        help="score with random weights where the checkpoint lacks a part that scores need")
    parser.add_argument("--crops", type=int, metavar="N",
                        help="how many crops a video has, where that is known; without it from 1 to 10")
    parser.add_argument("--ground-truth", type=Path, metavar="FILE",
                        help=".npy, 0 or 1 for each frame of all videos, instead of the table's intervals")
    parser.add_argument("--device", default="auto", help="cpu, cuda:0, ascend:0, ... as the backend has them; "
                                                         "default: auto")
    parser.add_argument("--precision", default="float32", help="float32, or bf16 where the backend has it; "
                                                               "default: float32")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the report, the scores and pictures")
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
        check_writable(arguments.output)


def heading(about: dict[str, Any]) -> str:
    """What is being run, in a few lines."""
    framework = ", ".join(f"{name} {version}" for name, version in about["framework"].items())
    return "\n".join(f"{name:<12}{value}" for name, value in (
        ("method", about["method"]),
        ("backend", f"{framework}, {about['device']}, {about['precision']}"),
        ("dataset", f"{about['dataset']}, {about['videos']} test videos, {about['frames']} frames"),
        ("features", about["features"]),
        ("checkpoint", f"{about['checkpoint']} (sha256 {about['weights_sha256'][:12]})")))


def save(report: wv.Report, folder: Path) -> None:
    report.save(folder)
    try:
        drawn = f" and {figures.draw(report, folder)} pictures"
    except ImportError as error:
        drawn = f"; no pictures, {error}"
    print(f"written to {folder}: report.json, scores.npz{drawn}")


if __name__ == "__main__":
    run(main)
