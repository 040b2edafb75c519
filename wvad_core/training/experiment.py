"""Experiments: a method trained on a dataset by a recipe, in a run folder, and what came of it."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..backend import training_backend
from ..blocks.configuration import Config, configure
from ..checkpoints.contents import digest
from ..data import Dataset, TrainingSet, demo, find_sampler
from ..data.cache import cache_folder
from ..detector import Detector, from_weights
from ..errors import InputError, listing, one_line
from ..files import write_json
from ..registry import specification
from ..reports import pictures
from ..reports.results import summarise
from ..reports.training_curves import training_curves
from ..scoring import metrics
from ..scoring.evaluation import Frames, VideoScores, describe, metrics_of, scored
from .loop import Journal, Trained, read_training_set, train
from .options import Options
from .overrides import resolve
from .recipe import Recipe, from_dict
from .run_folder import BEST, LAST, PLAN, STATE, Run, read_json

DEMO = "demo"
RANKINGS = {"auc": metrics.roc_auc, "ap": metrics.pr_auc}
"""A recipe's `metric`, over the frames of the test set."""
REPORT, CURVES = "report.json", "curves.png"
SELECTED = {"test": "by its {by}, as published code does; so its figures there are too good",
            "holdout": "by the {by}; the test set took no part"}


@dataclass(frozen=True)
class Plan:
    """What is trained on what: all that `recipe.json` holds.

    recipe: its settings are the whole configuration. options: nothing is left open in them. recipe_of: the dataset that the
    recipe was published for. overrides: what was given in place of the recipe's, the options' and the settings' values.
    """
    method: str
    dataset: str
    features: str | None
    backend: str
    device: str
    recipe: Recipe
    options: Options
    recipe_of: str
    overrides: Mapping[str, Any]

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
    override that is none and a backend that does not train, before any file is read; then for features that are not there.
    """
    spec, overrides = specification(method), dict(overrides or {})
    recipe = spec.RECIPES.get(by or dataset)
    if recipe is None:
        raise InputError(f"{method} has no recipe for {by or dataset}, expected one of {', '.join(spec.RECIPES)}; "
                         "--recipe takes one of them on another dataset")
    if features is None and dataset != DEMO:
        raise InputError(f"dataset {dataset} needs --features; only {DEMO} has its own")
    resolved = resolve(recipe, spec.Config, overrides, method)
    find_sampler(resolved.recipe.sampling, spec.SAMPLERS)
    training_backend(backend)
    if features is not None and not overrides.keys() & {"feature_dim", "config.feature_dim"}:
        dim = Dataset.open(dataset, features, "train").feature_dim
        resolved = resolve(recipe, spec.Config, overrides | {"feature_dim": dim}, method)
    return Plan(method, dataset, None if features is None else str(features), backend, device, resolved.recipe,
                resolved.options, by or dataset, overrides)


def read_plan(folder: Path) -> Plan:
    """The plan of a run folder that has something to go on from. Raises InputError where there is none."""
    path = folder / PLAN
    values = read_json(path)
    try:
        read = Plan(**values | {"recipe": from_dict(values["recipe"]), "options": Options(**values["options"])})
        texts = (read.method, read.dataset, read.features or "", read.backend, read.device)
        if not all(isinstance(text, str) for text in texts):
            raise InputError("a name that is no text")
        read.config  # noqa: B018, which checks the method and its settings
    except (KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path}: not what a training run writes ({one_line(error)})") from error
    if not (folder / STATE).exists():
        raise InputError(f"{folder}: has no {STATE} to go on from, the run was stopped before its first step; "
                         "expected one that was saved, or begin another")
    return read


def with_steps(plan: Plan, steps: Any) -> Plan:
    """A plan that takes another number of steps a stage. Raises InputError for what is no number of steps."""
    recipe = from_dict(plan.recipe.as_dict() | {"steps": steps}, f"the recipe of {plan.method}")
    same = recipe.steps == plan.recipe.steps
    return plan if same else replace(plan, recipe=recipe, overrides={**plan.overrides, "steps": recipe.steps})


def run(plan: Plan, folder: Path, say: Callable[[str], None] = print, begun_as: Plan | None = None) -> dict[str, Any]:
    """Train by a plan in a folder, from what is saved there or from the start; the report, which is written there too.

    say: takes the notices, a line each. Of several processes only the first one writes, and none before all is checked.
    begun_as: the plan of a run that goes on by another one (`with_steps`).
    """
    rank, _ = training_backend(plan.backend).processes()
    start = time.perf_counter()
    metric = "video_auc" if plan.options.select == "holdout" else plan.recipe.metric
    journal = Run(folder, rank == 0, asdict(plan), plan.recipe, metric, begun_as and asdict(begun_as))
    if begun_as and begun_as != plan:
        check_steps(plan, begun_as, journal)
    videos, test = plan.open("train"), plan.open("test")
    held = held_out(videos, plan.options) if plan.options.select == "holdout" else None
    training_set = read_training_set(videos, plan.recipe, plan.method, plan.config,
                                     partial(tqdm, desc="reading features", unit="video", leave=False,
                                                                  disable=rank > 0 or None),
                                     cache_folder() if plan.features else None)
    if held is not None:
        training_set.leave_out(held)
    for line in (found := notices(videos, training_set, plan.recipe)):
        say(f"note: {line}")
    trained = train(plan.method, plan.config, training_set, plan.recipe, plan.backend, plan.device,
                    judge(plan.recipe, test, videos, held), journal, plan.options)
    journal.close(trained.detector)
    videos_by_weights = score_best_and_last(plan, trained, test, journal)
    report = summary(plan, trained, test, held, journal, videos_by_weights) | {
        "notices": found, "seconds": time.perf_counter() - start}
    if rank == 0:
        write_json(folder / REPORT, report)
        save_reports(plan, trained, report, videos_by_weights, folder)
        draw(plan, journal, report["best"]["judged_by"], folder, say)
    return report


def check_steps(plan: Plan, begun_as: Plan, journal: Run) -> None:
    """Raise InputError unless a run can go on to a plan's number of steps."""
    steps, position = plan.recipe.steps, journal.saved().position
    if steps <= position.step:
        raise InputError(f"{journal.folder}: has taken {position.step} of {begun_as.recipe.steps} steps, expected more than "
                         f"that, not steps={steps}")
    if position.ended(plan.recipe, plan.options):
        raise InputError(f"{journal.folder}: ended after {position.step} steps, {position.waited} validations without a better "
                         f"one (patience={plan.options.patience}); more steps do not change that")


class Merit(float):
    """What a judge gives: the more the better. videos: the scores of the test videos that it was taken from, if it was."""
    videos: tuple[VideoScores, ...] | None = None


def judge(recipe: Recipe, test: Dataset, videos: Dataset, held: np.ndarray | None) -> Callable[[Detector], float]:
    """A detector's merit as the recipe has it. held: the numbers of the training videos that are held out."""
    def on_test(detector: Detector) -> Merit:
        found = scored(detector, test)
        merit = Merit(Frames(found).metric(RANKINGS[recipe.metric]))
        merit.videos = found
        return merit

    if held is None:
        return on_test
    part = Dataset(videos.name, [videos[i] for i in held])
    return lambda detector: video_auc(detector, part)


def video_auc(detector: Detector, dataset: Dataset) -> float:
    """The area under the ROC curve over videos: their labels, and the highest score of each."""
    videos = scored(detector, dataset)
    return metrics.roc_auc(np.array([v.abnormal for v in videos], float), np.array([v.scores.max() for v in videos]))


def held_out(dataset: Dataset, options: Options) -> np.ndarray:
    """The numbers of the share `holdout` of the normal and of the abnormal training videos, at least one each."""
    labels, held = np.array([item.abnormal for item in dataset]), []
    for label in (False, True):
        places = np.flatnonzero(labels == label)
        if len(places) < 2:
            raise InputError(f"{dataset.name} has {len(places)} {'abnormal' if label else 'normal'} training videos, "
                             "expected at least 2 to hold one out; or select=test")
        count = min(max(1, round(options.holdout * len(places))), len(places) - 1)
        held.append(np.random.default_rng([options.seed, label]).permutation(places)[:count])
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


def score_best_and_last(plan: Plan, trained: Trained, test: Dataset, journal: Journal) -> dict[str, tuple[VideoScores, ...]]:
    """{"best", "last": the scores of the test videos by these weights}, of which nothing is scored twice."""
    last = videos_of(journal.last_merit) or scored(trained.detector, test)
    if trained.position.best_step == trained.position.step:
        return {"best": last, "last": last}
    best = videos_of(journal.best_merit) or scored(
        from_weights(plan.method, plan.config, trained.best, plan.backend, plan.device), test)
    return {"best": best, "last": last}


def summary(plan: Plan, trained: Trained, test: Dataset, held: np.ndarray | None, journal: Journal,
            videos_by_weights: Mapping[str, tuple[VideoScores, ...]]) -> dict[str, Any]:
    """What a run came to: the best and the last weights side by side, on the test set."""
    recipe, options, position = plan.recipe, plan.options, trained.position
    by = {"test": f"{recipe.metric.upper()} on the test set",
          "holdout": f"AUC over the {0 if held is None else len(held)} training videos held out"}[options.select]
    merits = {line["step"]: line["judged"] for line in journal.history
              if "judged" in line and line["stage"] == position.stage + 1}

    def entry(file: str, step: int, videos: tuple[VideoScores, ...]) -> dict[str, Any]:
        found = metrics_of(videos, specification(plan.method).PROBABILITIES)
        return {"file": file, "stage": position.stage + 1, "step": step, "judged_by": by, "judged": merits[step],
                "metrics": found}

    best, last = videos_by_weights["best"], videos_by_weights["last"]
    return {"method": plan.method, "dataset": plan.dataset, "seed": options.seed, "backend": plan.backend,
            "selected": f"{BEST} was chosen {SELECTED[options.select].format(by=by)}",
            "best": entry(BEST, position.best_step, best), "last": entry(LAST, position.step, last),
            "about": describe(trained.detector, test)}


def videos_of(merit: float | None) -> tuple[VideoScores, ...] | None:
    """The scores that a judge has already given for the test videos; None where it has given none."""
    return merit.videos if isinstance(merit, Merit) else None


def save_reports(plan: Plan, trained: Trained, report: Mapping[str, Any],
                 videos_by_weights: Mapping[str, tuple[VideoScores, ...]], folder: Path) -> None:
    """Save a whole report, scores and intervals included, of the best and of the last weights: best/ and last/."""
    for name, weights in (("best", trained.best), ("last", trained.detector.weights())):
        entry = report[name]
        about = report["about"] | {"checkpoint": str(folder / entry["file"]), "weights_sha256": digest(weights),
                                   "stage": entry["stage"], "step": entry["step"]}
        summarise(videos_by_weights[name], about, probabilities=specification(plan.method).PROBABILITIES).save(folder / name)


def draw(plan: Plan, journal: Run, judged_by: str, folder: Path, say: Callable[[str], None]) -> None:
    """Write the curves, where matplotlib is installed."""
    detail = f"recipe of {plan.recipe_of}, {plan.backend}, seed {plan.options.seed}"
    try:
        pictures.write(training_curves(journal.history, f"Training of {plan.method} on {plan.dataset}", detail, judged_by,
                                       specification(plan.method).loss_weights(plan.config)), folder / CURVES)
    except ImportError as error:
        say(f"no {CURVES}, {error}")
