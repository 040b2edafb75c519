"""`wvad dictionary`: learn a dictionary of a dataset's normal training videos, for the methods that train with one."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data import Dataset, demo
from ..data.dictionary import RATIOS, check_scikit_learn, learn_dictionary, published_ratio
from ..errors import InputError
from ..files import written_whole
from . import options

DESCRIPTION = """Learn a dictionary (atoms, D) of the features of a dataset's normal training videos, as published by
Wu et al. (ECCV 2022): wvad train takes it as --companion dictionary=FILE."""

EXAMPLES = """
examples:
  %(prog)s --dataset ucf-crime --features i3d/train --output ucf.npy
  %(prog)s --dataset own.csv --features features --ratio 0.5 --output own.npy
  wvad train --method METHOD --dataset ucf-crime --features i3d/train --companion dictionary=ucf.npy

Published .npy files are taken as they are. Needs scikit-learn: pip install scikit-learn. Exit
status: 2 for bad input, 1 for a failure."""


def main(argv: Sequence[str], prog: str = "wvad dictionary") -> None:
    arguments = parser(prog).parse_args(argv)
    options.set_log_level(arguments)
    dataset, output = arguments.dataset, arguments.output
    if output.suffix != ".npy":
        raise InputError(f"{output}: expected a name that ends in .npy")
    if arguments.features is None and dataset != demo.DEMO:
        raise InputError(f"dataset {dataset} needs --features; only {demo.DEMO} has its own")
    check_scikit_learn()
    ratio = published_ratio(dataset, arguments.ratio)
    options.check_writable(output.parent)
    videos = Dataset.open(dataset, arguments.features or demo.demo_features(), "train")
    made = learn_dictionary(videos, ratio)
    with written_whole(output) as temporary:
        np.save(temporary, made)
    if not arguments.quiet:
        print(f"{len(made)} atoms of D = {made.shape[1]}, {ratio:g} for each normal training video of {dataset}")
    print(f"written {output}")


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES)
    published = ", ".join(f"{ratio} for {name}" for name, ratio in RATIOS.items())
    parser.add_argument("--dataset", required=True, metavar="NAME", help="a bundled table, or a CSV table")
    parser.add_argument("--features", type=Path, metavar="DIR", help="folder of the features; the demo has its own")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.npy", help="the dictionary")
    parser.add_argument("--ratio", type=float, metavar="R",
                        help=f"atoms for each normal training video; default, as published: {published}")
    return parser
