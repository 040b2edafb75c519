"""Experiments: a method trained on a dataset by a recipe, in a run folder, and what came of it."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import metrics, pictures, recipes
from .backend import backend as find_backend
from .configuration import Config, configure
from .data import Dataset, TrainingSet, demo
from .data.cache import cache_folder
from .detector import Detector, from_weights
from .errors import InputError, listing
from .evaluation import Frames, evaluate, scored
from .files import write_json
from .methods import specification
from .recipes import Recipe
from .runs import Run, read_json
from .training import Trained, read_training_set, train

DEMO = "demo"
RANKINGS = {"auc": metrics.roc_auc, "ap": metrics.pr_auc}
"""A recipe's `metric`, over the frames of the test set."""
PLAN, REPORT, CURVES = "recipe.json", "report.json", "curves.png"
SELECTED = {"test": "by its {metric} on the test set, as published code does; so its figures there are too good",
            "holdout": "by the AUC over the {held} training videos held out; the test set took no part"}


@dataclass(frozen=True)
class Plan:
    """What is trained on what: all that `recipe.json` holds. The recipe's settings are the whole configuration."""
    method: str
    dataset: str
    features: str | None
    backend: str
    device: str
    recipe: Recipe

    @property
    def config(self) -> Config:
        return configure(specification(self.method).Config, dict(self.recipe.settings), self.method)

    def open(self, split: str) -> Dataset:
        features = self.features or demo.demo_features(layout=self.config.layout)
        dataset = Dataset.open(self.dataset, features, split, feature_dim=self.config.feature_dim)
        dataset.check_crops(self.config)
        return dataset


def plan(method: str, dataset: str, features: str | Path | None, backend: str, device: str = "auto",
         overrides: Mapping[str, Any] | None = None, by: str | None = None) -> Plan:
    """Find the recipe of a method and a dataset, or the one published for the dataset `by`, and override its values.

    The features' D is the configuration's, unless it is given. Raises InputError where there is no recipe, for an
    override that is none, and for features that are not there.
    """
    spec, overrides = specification(method), dict(overrides or {})
    recipe = spec.RECIPES.get(by or dataset)
    if recipe is None:
        raise InputError(f"{method} has no recipe for {by or dataset}, expected one of {', '.join(spec.RECIPES)}; "
                         "--recipe takes one of them on another dataset")
    if features is None and dataset != DEMO:
        raise InputError(f"dataset {dataset} needs --features; only {DEMO} has its own")
    if "feature_dim" not in overrides and features is not None:
        overrides["feature_dim"] = Dataset.open(dataset, features, "train").feature_dim
    recipe, _ = recipes.resolve(recipe, spec.Config, overrides, method)
    return Plan(method, dataset, None if features is None else str(features), backend, device, recipe)


def read_plan(folder: Path) -> Plan:
    """The plan of a run folder. Raises InputError where it is none."""
    values = read_json(folder / PLAN)
    try:
        return Plan(**values | {"recipe": recipes.from_dict(values["recipe"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / PLAN}: not what a training run writes ({error})") from error


def run(plan: Plan, folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train by a plan in a folder, from what is saved there or from the start; the report, which is written there too.

    say: takes the notices, a line each. Of several processes only the first one writes.
    """
    rank, _ = find_backend(plan.backend).processes()
    start = time.perf_counter()
    videos, test = plan.open("train"), plan.open("test")
    held = held_out(videos, plan.recipe) if plan.recipe.select == "holdout" else None
    if rank == 0:
        write_json(folder / PLAN, asdict(plan))
    training_set = read_training_set(videos, plan.recipe, partial(tqdm, desc="reading features", unit="video", leave=False,
                                                                  disable=rank > 0 or None),
                                     cache_folder() if plan.features else None)
    if held is not None:
        training_set.leave_out(held)
    for line in (found := notices(videos, training_set, plan.recipe)):
        say(f"note: {line}")
    journal = Run(folder, rank == 0)
    trained = train(plan.method, plan.config, training_set, plan.recipe, plan.backend, plan.device,
                    judge(plan.recipe, test, videos, held), journal)
    journal.close()
    report = summary(plan, trained, test, held) | {"notices": found, "seconds": time.perf_counter() - start}
    if rank == 0:
        write_json(folder / REPORT, report)
        draw(journal, folder, say)
    return report


def judge(recipe: Recipe, test: Dataset, videos: Dataset, held: np.ndarray | None) -> Callable[[Detector], float]:
    """A detector's merit as the recipe has it. held: the numbers of the training videos that are held out."""
    if held is None:
        return lambda detector: Frames(scored(detector, test)).of(RANKINGS[recipe.metric])
    part = Dataset(videos.name, [videos[i] for i in held])
    return lambda detector: video_auc(detector, part)


def video_auc(detector: Detector, dataset: Dataset) -> float:
    """The area under the ROC curve over videos: their labels, and the highest score of each."""
    videos = scored(detector, dataset)
    return metrics.roc_auc(np.array([v.abnormal for v in videos], float), np.array([v.scores.max() for v in videos]))


def held_out(dataset: Dataset, recipe: Recipe) -> np.ndarray:
    """The numbers of the recipe's share of the normal and of the abnormal training videos, at least one each."""
    labels, held = np.array([item.abnormal for item in dataset]), []
    for label in (False, True):
        places = np.flatnonzero(labels == label)
        if len(places) < 2:
            raise InputError(f"{dataset.name} has {len(places)} {'abnormal' if label else 'normal'} training videos, "
                             "expected at least 2 to hold one out; or select=test")
        count = min(max(1, round(recipe.holdout * len(places))), len(places) - 1)
        held.append(np.random.default_rng([recipe.seed, label]).permutation(places)[:count])
    return np.sort(np.concatenate(held))


def notices(videos: Dataset, training_set: TrainingSet, recipe: Recipe) -> list[str]:
    """What is unusual about a training set, a line each."""
    lines = [f"{count} {kind} training videos for {recipe.videos} of them a batch: some come more than once in it"
             for label, kind in enumerate(("normal", "abnormal"))
             if (count := (training_set.labels == label).sum()) < recipe.videos]
    single = [item.video.name for item in videos if item.features.shape[1] == 1]
    if single:
        lines.append(f"{len(single)} training videos of a single snippet, which stands for all {recipe.segments} segments: "
                     + listing(single).replace("\n  ", ", "))
    noise = training_set.contradictions()
    if noise:
        lines.append(f"{len(noise)} pairs of a normal and an abnormal training video with the same features, so one label "
                     "is wrong: " + listing([" = ".join(pair) for pair in noise]).replace("\n  ", ", "))
    return lines


def summary(plan: Plan, trained: Trained, test: Dataset, held: np.ndarray | None) -> dict[str, Any]:
    """What a run came to: the best and the last weights side by side, on the test set."""
    recipe, position = plan.recipe, trained.position
    best = last = evaluate(trained.detector, test)
    if position.best is not None and position.best_step != position.step:
        best = evaluate(from_weights(plan.method, plan.config, trained.best, plan.backend, plan.device), test)
    selected = SELECTED[recipe.select].format(metric=recipe.metric.upper(), held=0 if held is None else len(held))
    return {"method": plan.method, "dataset": plan.dataset, "seed": recipe.seed, "backend": plan.backend,
            "selected": f"best.safetensors was chosen {selected}",
            "best": {"step": position.best_step, "judged": position.best, "metrics": best.metrics},
            "last": {"step": position.step, "metrics": last.metrics}, "about": last.about}


def draw(journal: Run, folder: Path, say: Callable[[str], None]) -> None:
    """Write the curves, where matplotlib is installed."""
    try:
        pictures.draw_history(journal.history, folder / CURVES)
    except ImportError as error:
        say(f"no {CURVES}, {error}")
