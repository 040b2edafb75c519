"""Train a small detector on the demo set, save its checkpoint, and print its AUC before and after.

The checkpoints that come with the library were made on PyTorch by

  python tools/train_demo.py --method METHOD --output wvad_core/data/demo/METHOD.safetensors

with _ for - in the file's name.
"""
from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path

from command_line import check_writable, run

import wvad_core as wv
from wvad_core.data import Dataset, demo
from wvad_core.methods import module_name, specification
from wvad_core.training import read_training_set, train


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    output = arguments.output or Path(f"{module_name(arguments.method)}_demo.safetensors")
    spec = specification(arguments.method)
    if "demo" not in spec.RECIPES:
        raise wv.InputError(f"method {arguments.method} has no recipe for the demo set, expected a method that has one")
    if arguments.seed < 0:
        raise wv.InputError(f"seed {arguments.seed}, expected 0 or more")
    check_writable(output.parent)
    # Where other programs use the cores too, OpenMP's busy waiting makes small networks ten times as slow.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    recipe = dataclasses.replace(spec.RECIPES["demo"], seed=arguments.seed)
    features = demo.demo_features(layout=spec.DEMO.layout)
    videos, test = (Dataset.open("demo", features, split, feature_dim=spec.DEMO.feature_dim) for split in ("train", "test"))
    before = auc(wv.create(arguments.method, arguments.backend, seed=arguments.seed, **spec.DEMO.as_dict()), test)
    start = time.perf_counter()
    detector, history = train(arguments.method, spec.DEMO, read_training_set(videos, recipe), recipe, arguments.backend)
    seconds = time.perf_counter() - start
    detector.save(output)
    print(f"{arguments.method} on {arguments.backend}: {len(history)} steps in {seconds:.1f} s, "
          f"loss {history[0]['total']:.3f} -> {history[-1]['total']:.3f}\n"
          f"AUC {100 * before:.2f} -> {100 * auc(detector, test):.2f}\n"
          f"written to {output}, {output.stat().st_size / 1000:.0f} kB")


def auc(detector: wv.Detector, test: Dataset) -> float:
    return wv.evaluate(detector, test, replicates=1).metrics["auc"]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True, help=", ".join(wv.methods()))
    parser.add_argument("--backend", default="torch", help=f"{', '.join(wv.backends())}; default: torch")
    parser.add_argument("--output", type=Path, metavar="FILE",
                        help="where to save the checkpoint; default: METHOD_demo.safetensors")
    parser.add_argument("--seed", type=int, default=0, help="of the fresh weights, the batches and dropout; default: 0")
    return parser


if __name__ == "__main__":
    run(main)
