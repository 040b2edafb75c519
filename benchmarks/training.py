"""Speed of training: an optimiser step, and the loading of a batch.

    python benchmarks/training.py                    every method of published/, in the batches of its published recipe
    python benchmarks/training.py METHOD ... --small some methods, in batches of 4 + 4 videos
    python benchmarks/training.py bn-wvad --loading  the loading of a batch instead
    python benchmarks/training.py --device cuda      on a GPU, which is waited for at the end of each step

Reference is the way that each method's authors train it, written down in published/: PyTorch's own layers, the loss as
published, PyTorch's optimiser. Steps of both ways take turns in one process, on the same batch and from the same weights,
whose losses and gradients without dropout are compared first; random features, medians. Loading: every video's files are
read and averaged into segments one by one, against a batch of the library's training set. Ratios above 1 are better
than the reference.
"""
from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import random_videos
import wvad_core as wv
from scoring import (CHOICES, CROPS, PUBLISHED, computing, detector, instruction_set, product_rates, published,
                     synchronised)
from wvad_core.data import Dataset, TrainingSet
from wvad_core.registry import specification
from wvad_core.scoring import cost
from wvad_core.training.overrides import resolve
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer

SMALL = 4            # normal and as many abnormal videos, with --small
LOADED = 8           # normal and as many abnormal videos whose loading is timed
SNIPPETS = (120, 700)  # of these, the fewest and the most

Array = np.ndarray


def recipe_of(method: str, small: bool) -> Recipe:
    """The first published recipe, in the middle of training: no group is warming up."""
    spec = specification(method)
    recipe = resolve(next(iter(spec.RECIPES.values())), spec.Config, {}, method).recipe
    groups = tuple(dataclasses.replace(group, warm_up=0) for group in recipe.groups)
    return dataclasses.replace(recipe, groups=groups, videos=SMALL if small else recipe.videos)


def random_batch(made: wv.Detector, recipe: Recipe) -> wv.Batch:
    rng, videos = np.random.default_rng(CHOICES["seed"]), recipe.videos * (2 if recipe.batches == "halves" else 1)
    shape = (videos, CROPS, recipe.segments) if recipe.crops == "all" else (videos, recipe.segments)
    features = np.maximum(rng.standard_normal((*shape, made.config.feature_dim), np.float32), 0)
    if recipe.sampling in ("snippets", "picked"):  # shorter videos are padded
        for video, length in zip(features, rng.integers(recipe.segments // 10, recipe.segments, videos)):
            video[..., length:, :] = 0
    labels = np.repeat([0, 1], videos // 2)
    more = getattr(published(made.method), "given", lambda config, labels: {})(made.config, labels)
    return wv.Batch(features, labels, videos=np.arange(videos), **more)


def begun(method: str) -> wv.Detector:
    """As after some steps: where all norms are fresh, mgfn's snippets have one magnitude, and rounding picks among them."""
    made = detector(method, "torch")
    generator = torch.Generator().manual_seed(CHOICES["seed"])
    with torch.no_grad():
        for parameter in made.network.parameters():
            if parameter.ndim == 1:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator).to(parameter.device)
    return made


class Published:
    """Steps of the published way, from a detector's weights."""

    def __init__(self, made: wv.Detector, recipe: Recipe):
        self.loss, self.config, self.recipe = published(made.method).loss, made.config, recipe
        self.past: dict[int, Any] = {}
        self.weights = {name: torch.from_numpy(value).to(CHOICES["device"]) for name, value in made.weights().items()}
        self.parameters = {name: self.weights[name].requires_grad_() for name, parameter in made.network.named_parameters()
                           if parameter.requires_grad}
        groups = [[self.parameters[name] for name in names] for names in recipe.grouped(self.parameters)]
        self.optimiser = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimiser](
            [{"params": members, "lr": rate} for members, rate in zip(groups, recipe.rates(1)) if members],
            betas=recipe.betas, weight_decay=recipe.weight_decay)

    def step(self, batch: wv.Batch) -> None:
        with computing():
            loss = self.loss(self.weights, batch, self.config, True, self.past)
        self.optimiser.zero_grad()
        loss.backward()
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.clip_norm)
        self.optimiser.step()
        loss.item()

    def first(self, batch: wv.Batch) -> tuple[float, dict[str, Array]]:
        """The loss without dropout and noise, and its gradients."""
        with computing():
            loss = self.loss(self.weights, batch, self.config, False, self.past)
        found = torch.autograd.grad(loss, list(self.parameters.values()), allow_unused=True, materialize_grads=True)
        return loss.item(), {name: gradient.cpu().numpy() for name, gradient in zip(self.parameters, found)}


def disagreement(method: str, recipe: Recipe, batch: wv.Batch) -> tuple[float, float]:
    """By how much the first loss and the gradients of both ways differ, relative; these all together, by their norm."""
    loss, gradients = Published(begun(method), recipe).first(batch)
    ours, found = (getattr(begun(method), name)(batch, deterministic=True) for name in ("losses", "gradients"))
    apart, size = (sum(float(np.square(x, dtype=np.float64).sum()) for x in parts) ** 0.5 for parts in
                   ((found[name] - value for name, value in gradients.items()), gradients.values()))
    return abs(ours["total"] - loss) / abs(loss), apart / size


def in_turn(ways: dict[str, Callable[[], Any]], rounds: int, title: str) -> dict[str, float]:
    """Median seconds of each of several functions that take turns; each is called once before."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in tqdm(range(rounds + 1), desc=title, leave=False, disable=None):
        for name, function in ways.items():
            start = time.perf_counter()
            synchronised(function)()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def steps(method: str, small: bool, rounds: int) -> None:
    """Print a line on a method's steps."""
    recipe, made = recipe_of(method, small), begun(method)
    batch, theirs = random_batch(made, recipe), Published(made, recipe)
    apart = disagreement(method, recipe, batch)
    ours, rates = Trainer(made, recipe), []
    seconds = in_turn({"published": lambda: theirs.step(batch), "torch": lambda: ours.step(batch),
                       "products": lambda: rates.append(max(product_rates().values()))}, rounds, method)
    items = batch.features.size // (recipe.segments * made.config.feature_dim)
    needed = 6 * items * cost.multiply_accumulates(method, made.config, recipe.segments)
    shape = "x".join(map(str, batch.features.shape))
    print(f"{method:<10}{shape:>17}{seconds['published']:>12.2f} s{seconds['torch']:>8.2f} s"
          f"{seconds['published'] / seconds['torch']:>14.2f}{needed / seconds['torch'] / 1e9:>8.0f} GFLOP/s"
          f"{100 * needed / seconds['torch'] / max(rates):>8.0f} %{apart[0]:>14.1e}{apart[1]:>10.1e}", flush=True)


def published_batch(folder: Path, segments: int, crops: int) -> Array:
    """One video after another: its files are loaded, and each segment averaged. (2B, N, S, D)."""
    return np.stack([[random_videos.pooled(np.load(folder / f"train{i}__{crop}.npy"), segments) for crop in range(crops)]
                     for i in range(2 * LOADED)])


def loading(method: str, rounds: int) -> None:
    """Print a line on the loading of a batch, from files that the system holds in memory.

    The cache has been built and its values have been read once, which is when their checksums are compared.
    """
    recipe, dim = recipe_of(method, False), specification(method).Config().feature_dim
    with tempfile.TemporaryDirectory() as folder:
        table = random_videos.write(Path(folder), {"train": 2 * LOADED}, SNIPPETS, CROPS, dim)
        training_set = TrainingSet(Dataset.open(table, folder, "train"), recipe.segments, cache=Path(folder, "cache"))
        training_set.batch(0, LOADED, 0, "all")
        count, crops = itertools.count(), CROPS if recipe.crops == "all" else 1
        seconds = in_turn({"published": lambda: published_batch(Path(folder), recipe.segments, crops),
                           "ours": lambda: training_set.batch(next(count), LOADED, 0, recipe.crops)},
                          rounds, f"{method}, loading")
    print(f"{method:<10}{crops:>3} crops x {recipe.segments} segments x {dim}{1000 * seconds['published']:>12.1f} ms"
          f"{1000 * seconds['ours']:>10.2f} ms{seconds['published'] / seconds['ours']:>10.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"{', '.join(PUBLISHED)}; default: all of them")
    parser.add_argument("--small", action="store_true", help=f"{SMALL} + {SMALL} videos instead of the recipe's")
    parser.add_argument("--loading", action="store_true", help="the loading of batches instead of steps")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each way; default: 5")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    arguments = parser.parse_args()
    CHOICES["device"] = arguments.device
    unknown = set(arguments.methods) - set(PUBLISHED)
    if unknown:
        parser.error(f"no published way of {', '.join(sorted(unknown))}, expected some of {', '.join(PUBLISHED)}")
    torch.set_num_threads(CHOICES["threads"])
    methods = arguments.methods or PUBLISHED
    if arguments.loading:
        print(f"loading {LOADED} + {LOADED} videos of {SNIPPETS[0]} to {SNIPPETS[1]} snippets\n\n{'':<34}{'published':>14}"
              f"{'ours':>13}{'published /':>14}")
        for method in methods:
            loading(method, arguments.rounds)
    else:
        print(f"one optimiser step, {instruction_set()}, {CHOICES['threads']} threads\n\n{'':<10}{'batch':>17}{'published':>14}{'torch':>10}"
              f"{'published /':>14}{'':>16}{'of rate':>10}{'apart: loss':>14}{'gradient':>10}")
        for method in methods:
            steps(method, arguments.small, arguments.rounds)


if __name__ == "__main__":
    main()
