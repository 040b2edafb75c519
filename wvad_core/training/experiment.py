"""Experiments: a method trained on a dataset by a recipe, in a run folder or in memory, and what came of it."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..backend import training_backend
from ..checkpoints.contents import digest
from ..data import Dataset, TrainingSet
from ..data.cache import cache_folder
from ..data.digests import features_sha256, table_sha256
from ..detector import Detector, from_weights
from ..errors import InputError, listing
from ..files import write_json
from ..origin import UNKNOWN, Origin, compared, from_dict
from ..progress import LOGGER, progress_bar
from ..registry import restore_memory, specification
from ..reports.results import summarise
from ..scoring.evaluation import VideoScores, describe, metrics_of, scored
from .initial import initial_weights
from .loop import Journal, Position, Stop, Trained, read_training_set
from .loop import train as train_stages
from .planning import DEMO, Plan, going_on, plan, read_plan, with_steps
from .run_files import BEST, LAST, REPORT, STATE, is_taken
from .run_folder import Run
from .selection import NAMES, held_out, validator, videos_of
from .state_checks import check_trainer, check_weights

SELECTED = {"test": "by its {by}, as published code does; so its figures there are too good",
            "holdout": "by the {by}; the test set took no part"}


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    detector: with the best weights. last: as the last step left it. report: what `report.json` holds, best and last side by
    side on the test set. history: a line for each step and each validation (see `loop.Journal`). videos: {"best", "last": the
    scores of the test videos by these weights}. plan: what was trained on what. folder: where the files are; None where
    nothing is written.

        result = wv.train(METHOD, "demo", steps=200)
        result.detector.save("weights.safetensors")
    """
    detector: Detector[Any]
    last: Detector[Any]
    report: dict[str, Any]
    history: list[dict[str, Any]]
    videos: Mapping[str, tuple[VideoScores, ...]]
    plan: Plan
    folder: Path | None


def train(method: str | None = None, dataset: str | Path | None = None, features: str | Path | None = None, backend: str = "torch",
          device: str = "auto", output: str | Path | None = None, recipe: str | None = None, init: str | Path | None = None,
          resume: str | Path | None = None, companions: Mapping[str, str | Path] | None = None, force: bool = False,
          **overrides: Any) -> TrainingResult:
    """Train a method on a dataset by its published recipe.

    dataset: a bundled table ("ucf-crime", ...; by default "demo") or a CSV file of one's own. features: the folder of its
    features; the demo set has its own. output: the run folder, which is made; None writes nothing. recipe: the dataset whose recipe is taken;
    by default that of `dataset`, else the method's first. init: a checkpoint of the method to fine-tune: its tensors are the
    first weights, where name and shape fit; `result.report["initial"]` lists them. resume: the run folder of a run that was
    stopped, which goes on as it was begun; nothing is given beside it but `device`, `dataset` and `features` where these now
    lie elsewhere, and `steps` to go on for longer.
    companions: {name: .npy file} of the arrays of a dataset that the method trains with.
    force: train on features of another origin than those that `init` was trained on, or than those of the test set; a notice
    says so.
    overrides: values of the recipe (steps, videos, learning_rate, ...), of the options (seed, select, evaluate_every, ...; see
    `training.options.Options`) and of the method's configuration (feature_dim, ...).

        wv.train(METHOD, "xd-violence", "features/i3d", output="runs/first", steps=500, select="holdout")

    What is unusual about the data is logged, and in `report["notices"]`. Raises InputError for what does not fit together,
    before anything is written; Failure for a loss or weights that are not finite, and for a full disk.
    """
    if resume is not None:
        if method or output or recipe or init or companions or overrides.keys() - {"steps"}:
            raise InputError("resume goes on with a run as it was begun, expected nothing but device, dataset, features and steps "
                             "beside it")
        begun_as, goes_on = going_on(read_plan(resume), device, dataset, features)
        return run(with_steps(goes_on, **overrides) if overrides else goes_on, Path(resume), begun_as=begun_as, force=force)
    if method is None:
        raise InputError("no method is given, expected one, or resume=RUN")
    folder = None if output is None else Path(output)
    if folder is not None and is_taken(folder):
        raise InputError(f"{folder}: is there already, expected a new folder; resume goes on with a run")
    made = plan(method, str(dataset or DEMO), features, backend, device, overrides, recipe, init, companions)
    return run(made, folder, force=force)


def run(plan: Plan, folder: Path | None, say: Callable[[str], None] = LOGGER.info, begun_as: Plan | None = None,
        stop: Stop | None = None, then: Callable[[TrainingResult], None] = lambda result: None,
        force: bool = False) -> TrainingResult:
    """Train by a plan, from what is saved in the folder or from the start; the report is written there too.

    say: takes the notices, a line each. Of several processes only the first one writes, and none before all is checked.
    begun_as: the plan of a run that goes on by another one (`going_on`). stop: ends training before its time.
    then: takes the result while the folder is still locked. force: let features of other origins pass.
    """
    rank, _ = training_backend(plan.backend).processes()
    start = time.perf_counter()
    journal = opened(plan, folder, rank == 0, begun_as)
    videos, test = plan.open("train"), plan.open("test")
    check_data(plan, journal, {"table": table_sha256((videos, test)), "training": features_sha256(videos),
                               "test": features_sha256(test), "origin": videos.origin.sha256 if videos.origin else ""})
    lines = compared_origins(plan, videos, test, force or journal.saved() is not None)
    videos.origin = videos.origin or first_origin(plan)
    held = held_out(videos, plan.options) if plan.options.select == "holdout" else None
    initial = first_weights(plan, journal)
    with journal:
        result = trained(plan, journal, videos, test, held, initial, say, stop, lines)
        result.report["seconds"] = time.perf_counter() - start
        if folder is not None and rank == 0:
            write_json(folder / REPORT, result.report)
            save_reports(result, folder)
        then(result)
    return result


def trained(plan: Plan, journal: Journal, videos: Dataset, test: Dataset, held: np.ndarray | None,
            initial: Mapping[str, np.ndarray] | None, say: Callable[[str], None], stop: Stop | None,
            lines: Sequence[str] = ()) -> TrainingResult:
    """Train and score by a plan whose data are open. lines: notices besides those of the training set."""
    hidden = training_backend(plan.backend).processes()[0] > 0
    progress = partial(progress_bar, desc="reading features", unit="video", hidden=hidden)
    training_set = read_training_set(videos, plan.recipe, plan.method, plan.config, progress,
                                     cache_folder() if plan.features else None)
    if held is not None:
        training_set.leave_out(held)
    for line in (found := [*lines, *notices(plan, videos, training_set)]):
        say(f"note: {line}")
    made = train_stages(plan.method, plan.config, training_set, plan.recipe, plan.backend, plan.device,
                        validator(plan.recipe, test, videos, held), journal, plan.options, initial, stop)
    best = replace(from_weights(plan.method, plan.config, made.best, plan.backend, plan.device), origin=videos.origin)
    scores = score_best_and_last(made, best, test, journal)
    report = summary(plan, made, test, held, journal, scores) | {"notices": found}
    return TrainingResult(best, made.detector, report, journal.history, scores, plan, getattr(journal, "folder", None))


def opened(plan: Plan, folder: Path | None, writes: bool, begun_as: Plan | None) -> Journal:
    """The journal of a run, in memory where there is no folder. Raises InputError for a saved state that does not fit."""
    if folder is None:
        return Journal()
    metric = "video_auc" if plan.options.select == "holdout" else plan.recipe.metric
    journal = Run(folder, writes, plan.as_dict(), plan.recipe, metric, begun_as and begun_as.as_dict())
    check_saved(plan, journal)
    if begun_as and begun_as.recipe.steps != plan.recipe.steps:
        check_steps(plan, begun_as, journal)
    return journal


def check_saved(plan: Plan, journal: Run) -> None:
    """Raise InputError unless what a run was saved with, if it was, fits its plan: all that is handed to a framework."""
    saved, source, config = journal.saved(), str(journal.folder / STATE), plan.config
    if saved is None:
        return
    spec, position = specification(plan.method), saved.position
    stages = spec.stages(config)
    if position.stage >= len(stages):
        raise InputError(f"{source}: stage {position.stage + 1}, expected one of the {len(stages)} of {plan.method}")
    stage = stages[position.stage]
    parameters = spec.parameters(stage)
    check_weights(saved.weights, parameters, source)
    if journal.best is not None or position.best is not None:
        check_weights(journal.best or {}, parameters, f"{source}, best weights")
    if not saved.trainer and position.step == 0:
        return
    steps = check_trainer(saved.trainer, parameters, stage.frozen, plan.recipe, source)
    if steps != position.step:
        raise InputError(f"{source}: its optimiser has taken {steps} steps, expected {position.step} as in its history")
    restore_memory(spec.memory(stage), saved.trainer)


def check_data(plan: Plan, journal: Journal, data: Mapping[str, str]) -> None:
    """Let a run keep the digests of its data. Raises InputError where it was trained on others until now."""
    if not isinstance(journal, Run):
        return
    journal.data, saved = data, journal.saved_data()
    words = {"table": f"{plan.dataset}: what the table says of the videos is",
             "training": f"{plan.features}: the features of the training videos are",
             "test": f"{plan.features}: the features of the test videos are",
             "origin": f"{plan.features}: the origin of the features is"}
    if saved is None:
        return
    for name, value in data.items():
        if saved.get(name) != value and (name != "origin" or name in saved):  # which earlier versions did not keep
            raise InputError(f"{words[name]} not what {journal.folder} was trained with until now, expected the same data")


def compared_origins(plan: Plan, videos: Dataset, test: Dataset, force: bool) -> list[str]:
    """What is to be said of where the features come from, a line each. Raises InputError for features of other origins than
    those that training begins with, and for a test set of another one, unless `force`."""
    if plan.features is None:
        return []
    initial = first_origin(plan)
    lines = [compared(videos.origin, initial, videos.folder, f"{plan.initial.file} was trained on", force)] if plan.initial else []
    lines.append(compared(test.origin, videos.origin, f"{test.folder}, test videos", "the training videos have", force))
    if videos.origin is None and initial is None:
        lines.append(f"{videos.folder}: {UNKNOWN}; the checkpoints do not say what they were trained on")
    return [line for line in lines if line]


def first_origin(plan: Plan) -> Origin | None:
    """That of the features that the first weights were trained on, where they say so."""
    found = plan.initial and plan.initial.origin
    return from_dict(found, str(plan.initial.file)) if plan.initial and found else None


def check_steps(plan: Plan, begun_as: Plan, journal: Run) -> None:
    """Raise InputError unless a run can go on to a plan's number of steps."""
    steps, saved = plan.recipe.steps, journal.saved()
    position = saved.position if saved else Position()
    if steps <= position.step:
        raise InputError(f"{journal.folder}: has taken {position.step} of {begun_as.recipe.steps} steps, expected more than "
                         f"that, not steps={steps}")
    if position.ended(plan.recipe, plan.options):
        raise InputError(f"{journal.folder}: ended after {position.step} steps, {position.waited} validations without a better "
                         f"one (patience={plan.options.patience}); more steps do not change that")


def first_weights(plan: Plan, journal: Journal) -> dict[str, np.ndarray] | None:
    """What a run that fine-tunes starts with; None where it starts from fresh weights, or has started already.

    Raises InputError for a file that is another one than when the run was planned.
    """
    if plan.initial is None or journal.saved() is not None:
        return None
    weights, found = initial_weights(plan.initial.file, plan.method, plan.config, cast(int, plan.options.seed))
    if found != plan.initial:
        raise InputError(f"{plan.initial.file}: has changed since the run was planned")
    return weights


def notices(plan: Plan, videos: Dataset, training_set: TrainingSet) -> list[str]:
    """What the first weights are, where they are not fresh, and what is unusual about a training set, a line each."""
    recipe = plan.recipe
    lines = [] if plan.initial is None else [str(plan.initial)]
    lines += [f"{count} {kind} for {recipe.videos} of them a batch: some come more than once in it"
              for kind, count in training_set.counts(recipe.crops, recipe.batches).items() if count < recipe.videos
              and recipe.draw == "packs"]
    single = [item.video.name for item in videos if item.features.shape[1] == 1]
    if single:
        lines.append(f"{len(single)} training videos of a single snippet, which stands for all {recipe.segments} segments: "
                     + listing(single).replace("\n  ", ", "))
    noise = training_set.contradictions()
    if noise:
        lines.append(f"{len(noise)} pairs of a normal and an abnormal training video with the same features, so one label "
                     "is wrong: " + listing([" = ".join(pair) for pair in noise]).replace("\n  ", ", "))
    return lines


def save_reports(result: TrainingResult, folder: Path) -> None:
    """Save a whole report, scores and intervals included, of the best and of the last weights: best/ and last/."""
    hashes = {"best": digest(result.detector.weights()), "last": result.report["about"]["weights_sha256"]}
    for name, sha256 in hashes.items():
        entry = result.report[name]
        about = result.report["about"] | {"checkpoint": str(folder / entry["file"]), "stage": entry["stage"],
                                          "step": entry["step"], "weights_sha256": sha256}
        summarise(result.videos[name], about, probabilities=specification(result.plan.method).PROBABILITIES).save(folder / name)


def score_best_and_last(trained: Trained, best: Detector[Any], test: Dataset,
                        journal: Journal) -> dict[str, tuple[VideoScores, ...]]:
    """{"best", "last": the scores of the test videos by these weights}, of which nothing is scored twice, but with classes."""
    classes = specification(trained.detector.method).classify is not None
    validated = (None, None) if classes else (videos_of(journal.last_validation), videos_of(journal.best_validation))
    last = validated[0] or scored(trained.detector, test, classes=classes)
    if trained.position.best_step == trained.position.step:
        return {"best": last, "last": last}
    return {"best": validated[1] or scored(best, test, classes=classes), "last": last}


def summary(plan: Plan, trained: Trained, test: Dataset, held: np.ndarray | None, journal: Journal,
            scores: Mapping[str, tuple[VideoScores, ...]]) -> dict[str, Any]:
    """What a run came to: the best and the last weights side by side, on the test set."""
    recipe, options, position = plan.recipe, plan.options, trained.position
    by = {"test": f"{NAMES[recipe.metric]} on the test set",
          "holdout": f"AUC over the {0 if held is None else len(held)} training videos held out"}[options.select]
    values = {line["step"]: line["validation"] for line in journal.history
              if "validation" in line and line["stage"] == position.stage + 1}

    def entry(file: str, step: int, videos: tuple[VideoScores, ...]) -> dict[str, Any]:
        found = metrics_of(videos, specification(plan.method).PROBABILITIES)
        return {"file": file, "stage": position.stage + 1, "step": step, "validated_by": by, "validation": values[step],
                "metrics": found}

    return {"method": plan.method, "dataset": plan.dataset, "seed": options.seed, "backend": plan.backend,
            "initial": plan.as_dict()["initial"],
            "selected": f"{BEST} was chosen {SELECTED[options.select].format(by=by)}",
            "best": entry(BEST, position.best_step, scores["best"]), "last": entry(LAST, position.step, scores["last"]),
            "about": describe(trained.detector, test)}
