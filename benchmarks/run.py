"""A whole short training run of bn-wvad: reading, steps, evaluation, selection.

    python benchmarks/run.py

Random features, one file a crop, are written to a temporary folder. The published way: for every batch a loader reads a
crop of each video by np.load and averages it into segments; on the interval every test video is read and scored, crop by
crop, the scores are repeated for frames, scikit-learn ranks them, and the best weights are written. This library:
`experiment.run` with the recipe's numbers set alike, an empty cache, and all that it writes. Each in a process of its own.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import random_videos
from published_layers import Weights
from scoring import CHOICES, detector, instruction_set
from wvad_core.data import Dataset
from wvad_core.data.annotations import SNIPPET
from wvad_core.training import experiment, planning

METHOD, DIM, CROPS = "bn-wvad", 1024, 5
SIZES = {"segments": 64, "videos": 16, "steps": 60, "evaluate_every": 20, "save_every": 60}
VIDEOS = {"train": 64, "test": 60}
SNIPPETS = (60, 300)                # of a video, the fewest and the most


def published_run(folder: Path) -> dict:
    """The published loop; its seconds and its best AUC."""
    import torch
    from training import Published, recipe_of

    import wvad_core as wv

    start, rng = time.perf_counter(), np.random.default_rng(CHOICES["seed"])
    test, best = Dataset.open(folder / "table.csv", folder, "test"), -1.0
    way = Published(detector(METHOD, "torch"), recipe_of(METHOD, small=False))
    labels = np.repeat([0, 1], SIZES["videos"])
    for step in range(1, SIZES["steps"] + 1):
        drawn = [2 * i + label for label in (0, 1) for i in rng.permutation(VIDEOS["train"] // 2)[:SIZES["videos"]]]
        files = [folder / f"train{i}__{rng.integers(CROPS)}.npy" for i in drawn]
        way.step(wv.Batch(np.stack([random_videos.pooled(np.load(file), SIZES["segments"]) for file in files]), labels))
        if step % SIZES["evaluate_every"] == 0:
            auc = published_evaluation(way.weights, folder, test)
            if auc > best:
                best = auc
                torch.save(way.weights, folder / "best.pkl")
    return {"seconds": time.perf_counter() - start, "auc": best}


def published_evaluation(weights: Weights, folder: Path, test: Dataset) -> float:
    """The AUC over the frames of the test set."""
    import sklearn.metrics

    from published.bn_wvad import scores

    found, truth = [], []
    for i, item in enumerate(test):
        video = np.stack([np.load(folder / f"test{i}__{crop}.npy") for crop in range(CROPS)])
        found.append(np.repeat(scores(weights, video), SNIPPET))
        truth.append((np.arange(SNIPPET) < np.rint(SNIPPET * item.abnormal_fraction)[:, None]).ravel())
    truth, found = np.concatenate(truth).astype(int), np.concatenate(found)
    precision, recall, _ = sklearn.metrics.precision_recall_curve(truth, found)
    sklearn.metrics.auc(recall, precision)
    false_positive_rate, true_positive_rate, _ = sklearn.metrics.roc_curve(truth, found)
    return float(sklearn.metrics.auc(false_positive_rate, true_positive_rate))


def library_run(folder: Path) -> dict:
    """This library's; its seconds and its best AUC."""
    start = time.perf_counter()
    plan = planning.plan(METHOD, str(folder / "table.csv"), folder, "torch", "cpu", SIZES | {"metric": "auc"}, "xd-violence")
    report = experiment.run(plan, folder / "run", lambda _: None).report
    return {"seconds": time.perf_counter() - start, "auc": report["best"]["validation"]}


WORKERS = {"published": published_run, "library": library_run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        import torch

        torch.set_num_threads(CHOICES["threads"])
        print(json.dumps(WORKERS[arguments.worker](arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        random_videos.write(Path(folder), VIDEOS, SNIPPETS, CROPS, DIM)
        environment = os.environ | {"OMP_NUM_THREADS": str(CHOICES["threads"]), "WVAD_CACHE": str(Path(folder, "cache"))}
        found = {}
        for name in WORKERS:
            if name == "library":  # as tools/train.py has it
                environment["OMP_WAIT_POLICY"] = "passive"
            command = [sys.executable, __file__, "--worker", name, "--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
    print(f"{METHOD}, {SIZES['steps']} steps of {SIZES['videos']} + {SIZES['videos']} videos of {SIZES['segments']} segments, "
          f"{VIDEOS['test']} test videos every {SIZES['evaluate_every']} steps; {instruction_set()}, {CHOICES['threads']} threads")
    for name, result in found.items():
        print(f"{name:<12}{result['seconds']:>8.1f} s   best AUC {100 * result['auc']:.2f}")
    print(f"{'published / library':<20}{found['published']['seconds'] / found['library']['seconds']:.2f}")


if __name__ == "__main__":
    main()
