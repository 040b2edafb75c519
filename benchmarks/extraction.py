"""Speed of feature extraction: ten crops of a snippet, by this library and as the extractors' public ports compute them.

    python benchmarks/extraction.py                        every extractor of published_extractors/
    python benchmarks/extraction.py i3d-resnet50 --crops 4 --repeats 2

The published way takes one crop after another, written down in published_extractors/. It and this library's PyTorch, float32
and, where the processor has it, bf16, are timed in turns in one process, the best of the repeats; NumPy and MindSpore in
processes of their own. Random frames and fresh weights. GFLOP/s are two for each multiply-accumulate of the published network;
the share is that of the best rate of a product of 2048 x 2048 matrices in the same process, by torch.mm or as a convolution
of kernel 1, whichever is faster here.
"""
from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import wvad_core as wv

EXTRACTORS = sorted(path.stem.replace("_", "-") for path in Path(__file__).with_name("published_extractors").glob("*.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extractors", nargs="*", default=EXTRACTORS, help=f"of {', '.join(EXTRACTORS)}")
    parser.add_argument("--crops", type=int, default=10, help="of the snippet (10)")
    parser.add_argument("--repeats", type=int, default=3, help="of which the best counts (3)")
    parser.add_argument("--threads", type=int, default=2, help="of all backends (2)")
    parser.add_argument("--backend", help="time this one alone in this process, and print seconds as JSON")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(given.threads)
    for name in given.extractors:
        if given.backend:
            print(json.dumps({"seconds": alone(name, given)}))
        else:
            print(row(name, given), flush=True)


def clips(extractor: wv.Extractor, crops: int) -> np.ndarray:
    """Random frames of ten crops of a snippet, uint8."""
    return np.random.default_rng(0).integers(0, 256, (crops, *extractor.clip_sizes.published, 3)).astype(np.uint8)


def best(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each, in turns, the best of the repeats behind a first call that does not count."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            found[name].append(time.perf_counter() - start)
    return {name: min(seconds[1:]) for name, seconds in found.items()}


def alone(name: str, given: argparse.Namespace) -> float:
    made = wv.create(name, given.backend)
    frames = clips(made, given.crops)
    return best({"": lambda: made.features(frames)}, given.repeats)[""]


def row(name: str, given: argparse.Namespace) -> str:
    """An extractor's figures in a line each."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(given.threads)
    published = importlib.import_module(f"published_extractors.{name.replace('-', '_')}")
    ours = {precision: wv.create(name, "torch", precision=precision) for precision in precisions(name)}
    first = ours["float32"]
    weights = {theirs: torch.from_numpy(first.weights()[canonical]) for theirs, canonical in wv.published_names(name).items()}
    frames = clips(first, given.crops)
    planes = torch.from_numpy(np.ascontiguousarray(np.stack([first._normalised(frame[None])[0] for frame in frames])))

    def as_published() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([published.features(weights, crop[None]) for crop in planes])

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        published.features(weights, planes[:1])
    work = counter.get_total_flops() * given.crops / 1e9
    functions = {"published": as_published} | {precision: lambda made=made: made.features(frames) for precision, made in ours.items()}
    expected = as_published().numpy()
    errors = {p: np.linalg.norm(made.features(frames) - expected) / np.linalg.norm(expected) for p, made in ours.items()}
    seconds, rate = best(functions, given.repeats), product_rate(given.repeats)
    lines = [f"{name}, {given.crops} crops, {given.threads} threads, {torch.backends.cpu.get_cpu_capability()}; products {rate:.0f} GFLOP/s"]
    for label, taken in seconds.items():
        more = "" if label == "published" else f", {seconds['published'] / taken:.2f} times as fast, error {errors[label]:.1e}"
        lines.append(f"  torch, {label}: {taken / given.crops:.3f} s a crop, {work / taken:.0f} GFLOP/s "
                     f"({work / taken / rate:.0%}){more}")
    for backend in ("mindspore", "numpy"):
        taken = apart(name, backend, given)
        lines.append(f"  {backend}: {taken / given.crops:.3f} s a crop, {taken / seconds['float32']:.2f} times PyTorch's time")
    return "\n".join(lines)


def precisions(name: str) -> list[str]:
    """float32, and bf16 where there are instructions for it."""
    try:
        wv.create("rtfm", "torch", precision="bf16", feature_dim=8, hidden_dims=(4, 4))
    except wv.InputError:
        return ["float32"]
    return ["float32", "bf16"]


def product_rate(repeats: int) -> float:
    """GFLOP/s of the fastest way to multiply two matrices of 2048 x 2048 in float32."""
    import torch
    from torch.nn import functional as F

    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    pixels = a.t().reshape(1, 2048, 2048, 1).contiguous(memory_format=torch.channels_last)
    ways = best({"mm": lambda: a @ b, "convolution": lambda: F.conv2d(pixels, b[:, :, None, None])}, 2 * repeats)
    return 2 * 2048**3 / min(ways.values()) / 1e9


def apart(name: str, backend: str, given: argparse.Namespace) -> float:
    """Seconds of a backend in a process of its own."""
    command = [sys.executable, __file__, name, "--backend", backend, "--crops", str(given.crops),
               "--repeats", str(given.repeats), "--threads", str(given.threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])["seconds"]


if __name__ == "__main__":
    main()
