"""Memory of scoring videos of many lengths, one after another, in one process.

    python benchmarks/lengths.py                              bn-wvad on MindSpore, 2000 scores of 1 to 1000 snippets
    python benchmarks/lengths.py METHOD ... --backend torch   other methods, another backend
    python benchmarks/lengths.py --graphs                     with MindSpore's graph mode chosen

Random features, one crop, networks of the published size, each method in a process of its own. Megabytes in memory beside
what there were after the longest video.
"""
from __future__ import annotations

import argparse
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

import wvad_core as wv

LONGEST, SEED = 1000, 0
STATUS = Path("/proc/self/status")


def resident() -> float:
    """MB in memory."""
    return int(re.search(r"VmRSS:\s*(\d+)", STATUS.read_text())[1]) / 1000


def grown(method: str, backend: str, graphs: bool, points: list[int]) -> tuple[float, list[float]]:
    """MB after the longest video, and how many more after so many scores of random lengths."""
    made, rng = wv.create(method, backend), np.random.default_rng(SEED)
    if graphs:
        import mindspore

        mindspore.set_context(mode=mindspore.GRAPH_MODE)
    features = rng.standard_normal((1 + made.config.patches, LONGEST, made.config.feature_dim)).astype(np.float32)
    made.score(features)
    start, found = resident(), []
    for count in tqdm(range(1, points[-1] + 1), disable=None, leave=False, desc=method):
        made.score(features[:, :rng.integers(1, LONGEST + 1)])
        if count in points:
            found.append(resident() - start)
    return start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=["bn-wvad"], metavar="METHOD")
    parser.add_argument("--backend", default="mindspore", choices=wv.list_backends())
    parser.add_argument("--scores", type=int, default=2000, help="default: 2000")
    parser.add_argument("--graphs", action="store_true", help="in MindSpore's graph mode")
    arguments = parser.parse_args()
    points = sorted({max(1, arguments.scores // part) for part in (8, 4, 2, 1)})
    print(f"{'MB after scores':<22}{0:>8}" + "".join(f"{f'+ {count}':>10}" for count in points))
    for method in arguments.methods:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            start, more = process.submit(grown, method, arguments.backend, arguments.graphs, points).result()
        print(f"{f'{method}, {arguments.backend}':<22}{start:>8.0f}" + "".join(f"{value:>+10.0f}" for value in more), flush=True)


if __name__ == "__main__":
    main()
