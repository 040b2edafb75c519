"""Scoring speed and memory on the true shape of the UCF-Crime test set.

    python benchmarks/scoring.py                  every method of published/, a seeded sample of the videos
    python benchmarks/scoring.py METHOD ... --full    some methods, all 290 videos
    python benchmarks/scoring.py --device cuda        PyTorch's rows on a GPU; NumPy and MindSpore are left out

290 videos of the table's lengths (the longest, 6750 snippets, is always in a sample), 10 crops, random features and
weights. Reference is the way that each method's authors evaluate it, written down in published/. PyTorch rows are timed
in one process, video by video in turn; NumPy, MindSpore and the peak memory in processes of their own, since the
frameworks' thread pools hinder each other. A sampled video stands for the videos of its stratum of lengths. Ratios
above 1 are better than the reference.
"""
from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from tqdm import tqdm

import wvad_core as wv
from wvad_core.data import load_table
from wvad_core.data.annotations import SNIPPET
from wvad_core.scoring import cost

CROPS = 10
CHOICES = {"threads": 2, "strata": 12, "seed": 0, "device": "cpu"}
PUBLISHED = sorted(path.stem.replace("_", "-") for path in Path(__file__).with_name("published").glob("*.py"))


def lengths() -> list[int]:
    """Snippets of each UCF-Crime test video, shortest first."""
    return sorted(-(-video.frames // SNIPPET) for video in load_table("ucf-crime") if video.split == "test")


def sample(strata: int | None) -> list[tuple[int, int]]:
    """(T, videos it stands for): all videos, or one of each stratum of lengths; the longest stands for itself."""
    every = lengths()
    if strata is None:
        return [(steps, 1) for steps in every]
    rng = np.random.default_rng(CHOICES["seed"])
    return [(int(rng.choice(part)), len(part)) for part in np.array_split(every[:-1], strata)] + [(every[-1], 1)]


def published(method: str) -> ModuleType:
    """The module with the published way: `scores(weights, video)`, and `CONFIG` where it is not the default."""
    return importlib.import_module(f"published.{method.replace('-', '_')}")


def instruction_set() -> str:
    """Of the CPU, as PyTorch takes it: AVX-512 or AVX2, which the environment may hold it to; or the device that computes."""
    import torch

    if CHOICES["device"] != "cpu":
        return torch.cuda.get_device_name(CHOICES["device"])
    name = torch.backends.cpu.get_cpu_capability().replace("AVX512", "AVX-512")
    return f"held to {name}" if {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"} & set(os.environ) else name


def computing() -> AbstractContextManager:
    """Where the published way makes its tensors."""
    import torch

    return nullcontext() if CHOICES["device"] == "cpu" else torch.device(CHOICES["device"])


def synchronised(function: Callable) -> Callable:
    """The function, and on a GPU the wait for what it has asked for."""
    if CHOICES["device"] == "cpu":
        return function
    import torch

    def waited(*arguments):
        result = function(*arguments)
        torch.cuda.synchronize()
        return result

    return waited


def detector(method: str, backend: str, precision: str = "float32") -> wv.Detector:
    device = CHOICES["device"] if backend == "torch" else "cpu"
    return wv.create(method, backend, device, precision, **getattr(published(method), "CONFIG", {}))


def features(made: wv.Detector, steps: int) -> np.ndarray:
    rng = np.random.default_rng([CHOICES["seed"], steps])
    return np.maximum(rng.standard_normal((CROPS, steps, made.config.feature_dim), np.float32), 0)


def operations(made: wv.Detector, steps: np.ndarray) -> np.ndarray:
    """Floating-point operations that videos of these lengths need, by the specification: a quadratic in T."""
    known = np.array([64, 128, 256])
    counts = [cost.multiply_accumulates(made.method, made.config, int(n)) for n in known]
    return 2.0 * CROPS * np.polyval(np.polyfit(known, counts, 2), steps)


def timed(function: Callable[[np.ndarray], np.ndarray], video: np.ndarray) -> tuple[float, np.ndarray]:
    """The better of two runs for a short video, one run for a long one; and the scores."""
    best = math.inf
    for _ in range(2 if len(video[0]) < 1500 else 1):
        start = time.perf_counter()
        scores = function(video)
        best = min(best, time.perf_counter() - start)
    return best, scores


def pytorch_worker(method: str, videos: list[tuple[int, int]]) -> dict:
    """Seconds of each video the published way, in float32 and, where the CPU has it, in bf16; and the product rates."""
    import torch

    torch.set_num_threads(CHOICES["threads"])
    exact = detector(method, "torch")
    weights = {name: torch.from_numpy(value).to(CHOICES["device"]) for name, value in exact.weights().items()}

    def as_published(video: np.ndarray) -> np.ndarray:
        with computing():
            return published(method).scores(weights, video)

    ways = {"published": as_published, "torch": exact.score}
    with suppress(wv.InputError):  # a CPU without bf16 instructions
        ways["torch bf16"] = detector(method, "torch", "bf16").score
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for function in ways.values():
        function(features(exact, 64))
    errors, rates = {name: 0.0 for name in ways if name != "published"}, []
    for steps, _ in tqdm(videos, disable=None, leave=False, desc=f"{method}, PyTorch"):
        video, scores = features(exact, steps), {}
        for name, function in ways.items():
            spent, scores[name] = timed(function, video)
            seconds[name].append(spent)
        for name in errors:
            difference = np.linalg.norm(scores[name] - scores["published"]) / np.linalg.norm(scores["published"])
            errors[name] = max(errors[name], float(difference))
        rates.append(product_rates())
    needed = operations(exact, np.array([steps for steps, _ in videos]))
    return {"seconds": seconds, "errors": errors, "operations": needed.tolist(),
            "rates": {k: max(r[k] for r in rates) for k in rates[0]}}


def product_rates() -> dict[str, float]:
    """Operations a second of PyTorch's linear and convolution on 2400 rows."""
    import torch
    from torch.nn import functional as F

    with computing():
        x, w = torch.randn(2400, 512), torch.randn(2048, 512)
        image, kernel = torch.randn(1, 1024, 2400), torch.randn(512, 1024, 3)
    found = {}
    with torch.inference_mode():
        for name, function, count in (("linear", lambda: F.linear(x, w), 2 * 2400 * 512 * 2048),
                                      ("convolution", lambda: F.conv1d(image, kernel, padding=1), 2 * 2400 * 1024 * 512 * 3)):
            function = synchronised(function)
            function()
            spent = []
            for _ in range(3):
                start = time.perf_counter()
                function()
                spent.append(time.perf_counter() - start)
            found[name] = count / min(spent)
    return found


def backend_worker(backend: str, method: str, videos: list[tuple[int, int]]) -> dict:
    """Seconds of each video on one backend."""
    made = detector(method, backend)
    made.score(features(made, 64))
    return {"seconds": [timed(made.score, features(made, steps))[0]
                        for steps, _ in tqdm(videos, disable=None, leave=False, desc=f"{method}, {backend}")]}


def memory_worker(method: str, videos: list[tuple[int, int]]) -> dict:
    """Peak memory of a process that scores the longest video on PyTorch, all crops together, in bytes."""
    import torch

    torch.set_num_threads(CHOICES["threads"])
    made = detector(method, "torch")
    made.score(features(made, videos[-1][0]))
    if CHOICES["device"] != "cpu":
        return {"peak": torch.cuda.max_memory_allocated()}
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


WORKERS = {"torch": pytorch_worker, "memory": memory_worker, "numpy": partial(backend_worker, "numpy"),
           "mindspore": partial(backend_worker, "mindspore")}


def in_own_process(worker: str, method: str, full: bool) -> dict:
    threads = str(CHOICES["threads"])
    command = [sys.executable, __file__, method, "--worker", worker, "--device", CHOICES["device"], *(["--full"] if full else [])]
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"{', '.join(PUBLISHED)}; default: all of them")
    parser.add_argument("--full", action="store_true", help="all videos instead of a sample")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    arguments = parser.parse_args()
    CHOICES["device"] = arguments.device
    unknown = set(arguments.methods) - set(PUBLISHED)
    if unknown:
        parser.error(f"no published way of {', '.join(sorted(unknown))}, expected some of {', '.join(PUBLISHED)}")
    videos = sample(None if arguments.full else CHOICES["strata"])
    if arguments.worker:
        print(json.dumps(WORKERS[arguments.worker](arguments.methods[0], videos)))
        return
    workers = [name for name in WORKERS if arguments.device == "cpu" or name in ("torch", "memory")]
    for method in arguments.methods or PUBLISHED:
        report(method, videos, {name: in_own_process(name, method, arguments.full) for name in workers})


def report(method: str, videos: list[tuple[int, int]], found: dict[str, dict]) -> None:
    share = np.array([count for _, count in videos])
    seconds = found["torch"]["seconds"] | {name: found[name]["seconds"] for name in ("numpy", "mindspore") if name in found}
    total = {name: float(np.dot(values, share)) for name, values in seconds.items()}
    print(f"\n{method}, UCF-Crime test set: {share.sum()} videos ({len(videos)} timed), {CROPS} crops, "
          f"{instruction_set()}, {CHOICES['threads']} threads\n")
    print(f"{'':<14}{'whole set':>12}{'published /':>14}{'longest':>12}{'published /':>14}{'/ torch':>10}")
    for name, values in seconds.items():
        print(f"{name:<14}{total[name]:>10.1f} s{total['published'] / total[name]:>14.2f}{values[-1]:>10.1f} s"
              f"{seconds['published'][-1] / values[-1]:>14.2f}{total[name] / total['torch']:>10.2f}")
    rates, achieved = found["torch"]["rates"], np.dot(found["torch"]["operations"], share) / total["torch"]
    print(f"\ntorch computes {achieved / 1e9:.0f} GFLOP/s, {100 * achieved / max(rates.values()):.0f} % of the best product rate"
          f" (linear {rates['linear'] / 1e9:.0f}, convolution {rates['convolution'] / 1e9:.0f} GFLOP/s; minimal filtering"
          " takes fewer products than are counted)")
    print(f"peak memory on the longest video, all crops together: {found['memory']['peak'] / 1e9:.2f} GB")
    for name, error in found["torch"]["errors"].items():
        print(f"largest difference of {name} from the published scores, relative norm: {error:.1e}", flush=True)


if __name__ == "__main__":
    main()
