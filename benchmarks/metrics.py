"""Metrics on snippets against scikit-learn on repeated frames, at the true size of the UCF-Crime test set.

    python benchmarks/metrics.py

Lengths are those of the test videos; scores and abnormal intervals are random. Both sides run in turn in the same
process, and the results are compared before any time is printed: exit status 1 when they differ by more than 1e-12.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import sklearn.metrics

from wvad_core.data import load_table
from wvad_core.data.annotations import SNIPPET
from wvad_core.scoring import metrics


def test_set(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(labels, scores, weights, videos), each (n,): every second video holds one random interval of abnormal frames."""
    random = np.random.default_rng(seed)
    lengths = [-(-video.frames // SNIPPET) for video in load_table("ucf-crime") if video.split == "test"]
    truth = []
    for video, length in enumerate(lengths):
        frames = np.zeros(length * SNIPPET)
        if video % 2:
            start, end = np.sort(random.integers(0, len(frames) + 1, size=2))
            frames[start:end] = 1
        truth.append(frames)
    labels = np.concatenate(truth).reshape(-1, SNIPPET).mean(axis=1)
    scores = random.random(len(labels)).astype(np.float32)
    return labels, scores, np.full(len(labels), float(SNIPPET)), np.repeat(np.arange(len(lengths)), lengths)


def ours(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> list[float]:
    """The three areas, and both curves."""
    metrics.roc_curve(labels, scores, weights)
    metrics.precision_recall_curve(labels, scores, weights)
    return [metric(labels, scores, weights) for metric in (metrics.roc_auc, metrics.pr_auc, metrics.average_precision)]


def scikit_learn(truth: np.ndarray, scores: np.ndarray) -> list[float]:
    """The same three areas from scikit-learn's two curves: nothing is sorted more often than it must be."""
    false_positive_rate, true_positive_rate, _ = sklearn.metrics.roc_curve(truth, scores)
    precision, recall, _ = sklearn.metrics.precision_recall_curve(truth, scores)
    return [sklearn.metrics.auc(false_positive_rate, true_positive_rate), sklearn.metrics.auc(recall, precision),
            -np.sum(np.diff(recall) * precision[:-1])]


def seconds(function, *arguments) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def instruction_set() -> str:
    """The widest vectors that NumPy's own loops use on this CPU."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:  # before NumPy 2
        from numpy.core._multiarray_umath import __cpu_features__ as features
    return next((shown for name, shown in (("AVX512F", "AVX-512"), ("AVX2", "AVX2")) if features.get(name)), "neither AVX")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs of each side; the median is shown (default 7)")
    parser.add_argument("--replicates", type=int, default=1000, help="of the bootstrap (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of scores and intervals (default 0)")
    arguments = parser.parse_args()

    labels, scores, weights, videos = test_set(arguments.seed)
    abnormal = np.rint(labels * SNIPPET)
    truth = (np.arange(SNIPPET) < abnormal[:, None]).ravel().astype(int)
    frame_scores = np.repeat(scores, SNIPPET)

    difference = np.max(np.abs(np.subtract(ours(labels, scores, weights), scikit_learn(truth, frame_scores))))
    if not difference <= 1e-12:
        print(f"the results differ by {difference:.1e}, expected at most 1e-12", file=sys.stderr)
        return 1

    times = [(seconds(ours, labels, scores, weights), seconds(scikit_learn, truth, frame_scores))
             for _ in range(arguments.repeats)]
    our_time, their_time = (statistics.median(side) for side in zip(*times))
    bootstrap_time = seconds(metrics.bootstrap_intervals, labels, scores, weights, videos, arguments.replicates)

    print(f"{videos[-1] + 1} videos, {len(labels)} snippets, {len(truth)} frames; largest difference {difference:.1e}; "
          f"NumPy with {instruction_set()}")
    print(f"{'scikit-learn, two curves and their areas':44}{their_time * 1e3:10.1f} ms")
    print(f"{'wvad_core, two curves and three areas':44}{our_time * 1e3:10.1f} ms")
    print(f"{'ratio':44}{their_time / our_time:10.1f}")
    print(f"{f'wvad_core, bootstrap of {arguments.replicates} replicates':44}{bootstrap_time * 1e3:10.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
