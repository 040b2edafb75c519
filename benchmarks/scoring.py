"""Scoring speed and memory of BN-WVAD on the true shape of the UCF-Crime test set, on the CPU.

    python benchmarks/scoring.py            a seeded sample of the videos, the longest always in it
    python benchmarks/scoring.py --full     all 290 videos

290 videos of the table's lengths (the longest 6750 snippets), 10 crops, D = 1024, random features and weights.
Reference is the published way: each crop alone, batch 1, T x T matrices for both attentions (`published_scores`).
PyTorch rows are timed in one process, video by video in turn; NumPy, MindSpore and the peak memory in processes of
their own, since the frameworks' thread pools hinder each other. A sampled video stands for the videos of its stratum
of lengths. Ratios above 1 are better than the reference.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

import wvad_core as wv
from wvad_core.data import load_table
from wvad_core.data.annotations import SNIPPET

CROPS, SIZES = 10, {"feature_dim": 1024, "channels": 512, "inner": 512, "feed_forward": 512, "depth": 2}
CHOICES = {"threads": 2, "strata": 12, "seed": 0}


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


def features(steps: int) -> np.ndarray:
    rng = np.random.default_rng([CHOICES["seed"], steps])
    return np.maximum(rng.standard_normal((CROPS, steps, SIZES["feature_dim"]), np.float32), 0)


def operations(steps: int) -> float:
    """Floating-point operations that one video needs: linear layers, convolution, softmax attention."""
    d, c, inner, f, depth = (SIZES[k] for k in ("feature_dim", "channels", "inner", "feed_forward", "depth"))
    layer = c * 4 * inner + 2 * inner * c + 2 * c * f + 2 * steps * inner
    return 2.0 * CROPS * steps * (3 * d * c + depth * layer)


def published_scores(weights: dict, video: np.ndarray):
    """The published way in PyTorch: one crop after another, both attentions as T x T matrices, products averaged."""
    import torch
    from torch.nn import functional as F

    def norm(x, name):
        return F.layer_norm(x, (x.shape[-1],), weights[name + ".weight"], weights[name + ".bias"])

    def linear(x, name):
        return F.linear(x, weights[name + ".weight"], weights.get(name + ".bias"))

    def attention(x, name):
        steps = x.shape[1]
        q, k, v, t = (part.view(1, steps, 4, 128).transpose(1, 2) for part in linear(x, name + ".qkvt").chunk(4, -1))
        far = torch.softmax(q @ k.transpose(-1, -2) * 128**-0.5, -1)
        places = torch.arange(steps)
        decay = torch.exp(-(places[:, None] - places).abs() / math.e)
        near = (decay / decay.sum(-1)).expand(1, 4, -1, -1)
        both = torch.cat([far @ v, near @ t], -1).transpose(1, 2).reshape(1, steps, -1)
        return linear(both, name + ".out")

    def crop_scores(crop):
        x = F.relu(F.conv1d(crop[None].transpose(1, 2), weights["embedding.weight"], weights["embedding.bias"], padding=1))
        x = x.transpose(1, 2)
        for i in range(SIZES["depth"]):
            a, f = (f"transformer.layers.{i}.{part}" for part in ("attention", "feed_forward"))
            x = x + attention(norm(x, a + ".norm"), a)
            x = x + linear(F.gelu(linear(norm(x, f + ".norm"), f + ".linear1")), f + ".linear2")
        x, distance = x.transpose(1, 2), 0
        for i in (1, 2):
            x = F.conv1d(x, weights[f"head.conv{i}.weight"], weights[f"head.conv{i}.bias"])
            mean, var = (weights[f"head.bn{i}.running_{s}"] for s in ("mean", "var"))
            distance = distance + ((x - mean[:, None]) ** 2 / var[:, None]).sum(1).sqrt()
            x = F.relu(F.batch_norm(x, mean, var, weights[f"head.bn{i}.weight"], weights[f"head.bn{i}.bias"]))
        return (distance * torch.sigmoid(F.conv1d(x, weights["head.conv3.weight"], weights["head.conv3.bias"]))[:, 0])[0]

    with torch.inference_mode():
        return torch.stack([crop_scores(crop) for crop in torch.from_numpy(video)]).mean(0).numpy()


def timed(function: Callable[[np.ndarray], np.ndarray], video: np.ndarray) -> tuple[float, np.ndarray]:
    """The better of two runs for a short video, one run for a long one; and the scores."""
    best = math.inf
    for _ in range(2 if len(video[0]) < 1500 else 1):
        start = time.perf_counter()
        scores = function(video)
        best = min(best, time.perf_counter() - start)
    return best, scores


def pytorch_worker(videos: list[tuple[int, int]]) -> dict:
    """Seconds of each video the published way, in float32 and in bf16; and the machine's product rates."""
    import torch

    torch.set_num_threads(CHOICES["threads"])
    exact, reduced = (wv.create("bn-wvad", backend="torch", device="cpu", precision=p) for p in ("float32", "bf16"))
    weights = {name: torch.from_numpy(value) for name, value in exact.weights().items()}
    ways = {"published": lambda x: published_scores(weights, x), "torch": exact.score, "torch bf16": reduced.score}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for function in ways.values():
        function(features(64))
    errors, rates = {"torch": 0.0, "torch bf16": 0.0}, []
    for steps, _ in tqdm(videos, disable=None, leave=False, desc="PyTorch"):
        video, scores = features(steps), {}
        for name, function in ways.items():
            spent, scores[name] = timed(function, video)
            seconds[name].append(spent)
        for name in errors:
            difference = np.linalg.norm(scores[name] - scores["published"]) / np.linalg.norm(scores["published"])
            errors[name] = max(errors[name], float(difference))
        rates.append(product_rates())
    return {"seconds": seconds, "errors": errors, "rates": {k: max(r[k] for r in rates) for k in rates[0]}}


def product_rates() -> dict[str, float]:
    """Operations a second of PyTorch's linear and convolution on 2400 rows."""
    import torch
    from torch.nn import functional as F

    x, w = torch.randn(2400, 512), torch.randn(2048, 512)
    image, kernel = torch.randn(1, 1024, 2400), torch.randn(512, 1024, 3)
    found = {}
    with torch.inference_mode():
        for name, function, count in (("linear", lambda: F.linear(x, w), 2 * 2400 * 512 * 2048),
                                      ("convolution", lambda: F.conv1d(image, kernel, padding=1), 2 * 2400 * 1024 * 512 * 3)):
            function()
            spent = []
            for _ in range(3):
                start = time.perf_counter()
                function()
                spent.append(time.perf_counter() - start)
            found[name] = count / min(spent)
    return found


def backend_worker(backend: str, videos: list[tuple[int, int]]) -> dict:
    """Seconds of each video on one backend."""
    detector = wv.create("bn-wvad", backend=backend, device="cpu")
    detector.score(features(64))
    return {"seconds": [timed(detector.score, features(steps))[0]
                        for steps, _ in tqdm(videos, disable=None, leave=False, desc=backend)]}


def memory_worker(videos: list[tuple[int, int]]) -> dict:
    """Peak memory of a process that scores the longest video on PyTorch, all crops together, in bytes."""
    import torch

    torch.set_num_threads(CHOICES["threads"])
    wv.create("bn-wvad", backend="torch", device="cpu").score(features(videos[-1][0]))
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


WORKERS = {"torch": pytorch_worker, "memory": memory_worker,
           "numpy": lambda videos: backend_worker("numpy", videos),
           "mindspore": lambda videos: backend_worker("mindspore", videos)}


def in_own_process(worker: str, full: bool) -> dict:
    threads = str(CHOICES["threads"])
    command = [sys.executable, __file__, "--worker", worker, *(["--full"] if full else [])]
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all videos instead of a sample")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    videos = sample(None if arguments.full else CHOICES["strata"])
    if arguments.worker:
        print(json.dumps(WORKERS[arguments.worker](videos)))
        return
    found = {name: in_own_process(name, arguments.full) for name in WORKERS}
    report(videos, found)


def report(videos: list[tuple[int, int]], found: dict[str, dict]) -> None:
    share = np.array([count for _, count in videos])
    seconds = found["torch"]["seconds"] | {name: found[name]["seconds"] for name in ("numpy", "mindspore")}
    total = {name: float(np.dot(values, share)) for name, values in seconds.items()}
    print(f"BN-WVAD, UCF-Crime test set: {share.sum()} videos ({len(videos)} timed), {CROPS} crops, "
          f"{CHOICES['threads']} threads\n")
    print(f"{'':<14}{'whole set':>12}{'published /':>14}{'longest':>12}{'published /':>14}{'/ torch':>10}")
    for name, values in seconds.items():
        print(f"{name:<14}{total[name]:>10.1f} s{total['published'] / total[name]:>14.2f}{values[-1]:>10.1f} s"
              f"{seconds['published'][-1] / values[-1]:>14.2f}{total[name] / total['torch']:>10.2f}")
    rates = found["torch"]["rates"]
    achieved = sum(operations(steps) * count for steps, count in videos) / total["torch"]
    print(f"\ntorch computes {achieved / 1e9:.0f} GFLOP/s, {100 * achieved / max(rates.values()):.0f} % of the best product rate"
          f" (linear {rates['linear'] / 1e9:.0f}, convolution {rates['convolution'] / 1e9:.0f} GFLOP/s)")
    print(f"peak memory on the longest video, all crops together: {found['memory']['peak'] / 1e9:.2f} GB")
    for name, error in found["torch"]["errors"].items():
        print(f"largest difference of {name} from the published scores, relative norm: {error:.1e}")


if __name__ == "__main__":
    main()
