"""Training a detector: the loop around the trainer's steps. It knows no framework and no method."""
from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

from ..blocks.configuration import Config
from ..blocks.tensors import draw
from ..data import Dataset, TrainingSet, find_sampler
from ..data.batches import Batch
from ..data.prefetch import ahead
from ..detector import Detector, from_weights
from ..errors import Failure, Terminated
from ..progress import progress_bar
from ..registry import specification
from .initial import brought
from .options import Options
from .recipe import Recipe
from .trainer import Trainer

Array = np.ndarray


@dataclass(frozen=True)
class Position:
    """Where training stands: the stage, counted from 0; the steps taken in it; its best validation so far and the step of
    that; and how many validations have come since."""
    stage: int = 0
    step: int = 0
    best: float | None = None
    best_step: int = 0
    waited: int = 0

    def ended(self, recipe: Recipe, options: Options) -> bool:
        """Whether the stage has."""
        return self.step >= recipe.steps or (options.patience is not None and self.waited >= options.patience)

    def moved(self) -> Position:
        """Where it stands after one more step."""
        return replace(self, step=self.step + 1)

    def validated(self, value: float) -> Position:
        """Where it stands after a validation. Only a better one is the new best: of equal ones the first stays."""
        if self.best is None or value > self.best:
            return replace(self, best=value, best_step=self.step, waited=0)
        return replace(self, waited=self.waited + 1)


@dataclass(frozen=True)
class Saved:
    """All that training goes on from. trainer: what `Trainer.state` gives. random: of each process what `Trainer.random_state`
    gives; () where dropout and noise begin anew from the seed."""
    position: Position
    weights: Mapping[str, Array]
    trainer: Mapping[str, Array]
    random: tuple[str, ...] = ()


@dataclass
class Stop:
    """A wish that training ends before its time, as a handler of signals may have it.

    asked: whether there is one. heeded: whether training looks at it: it then takes the step at hand to its end, validation
    included, saves, and raises Terminated. Where it does not look, there is nothing to save.
    """
    asked: bool = False
    heeded: bool = False


class Journal:
    """What training leaves behind, in memory. `run_folder.Run` keeps it in a folder.

    history: a line for each step, {"stage", "step", "total", term ...}, terms as they were before it, and one for each
    validation, {"stage", "step", "validation"}; stages and steps are counted from 1.
    best: the best weights of the stage at hand; None before the first validation.
    best_validation, last_validation: what `validate` gave for them, and what it gave last, in this process; else None.
    """

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.begin_stage()

    def begin_stage(self) -> None:
        """Forget the validations of the stage before."""
        self.best: Mapping[str, Array] | None = None
        self.best_validation: float | None = None
        self.last_validation: float | None = None

    def saved(self) -> Saved | None:
        """What was saved last; None where training begins."""
        return None

    def record(self, line: dict[str, Any]) -> None:
        self.history.append(line)

    def keep_best(self, detector: Detector) -> None:
        self.best = detector.weights()

    def save(self, position: Position, detector: Detector, trainer: Trainer, random: tuple[str, ...] = ()) -> None:
        """Keep what `saved` is to give."""

    def close(self, detector: Detector) -> None:
        """At the end of training. detector: one of the last stage."""

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of what only one process has at a time, however training has ended."""


@dataclass(frozen=True)
class Trained:
    """The detector as the last step left it, the weights of the best validation, and where that was."""
    detector: Detector
    best: Mapping[str, Array]
    position: Position


def read_training_set(dataset: Dataset, recipe: Recipe, method: str, config: Config,
                      progress: Callable[[Iterable], Iterable] = iter, cache: Path | None = None) -> TrainingSet:
    """The training videos as the recipe's `sampling` brings them to its number of segments, or of snippets at most, with the
    places of their categories among the classes of the method, where it has classes.

    cache: the folder that they are kept in and read from; None for memory.
    """
    sampler = find_sampler(recipe.sampling, specification(method).SAMPLERS)
    return TrainingSet(dataset, recipe.segments, progress, cache, sampler, specification(method).classes(config))


def train(method: str, config: Config, training_set: TrainingSet, recipe: Recipe, backend: str, device: str = "auto",
          validate: Callable[[Detector], float] | None = None, journal: Journal | None = None,
          options: Options = Options(), initial: Mapping[str, Array] | None = None, stop: Stop | None = None) -> Trained:
    """Train a detector by a recipe, through all stages of its method.

    The first stage starts from fresh weights, or from `initial`, and from what the training set brings, each later one from the
    best of the one before. The seed draws the weights, the batches, the same ones for every backend, and dropout and noise.
    validate: gives a detector's value, the more the better, of equal ones the first; without it, the last step of a stage is
        its best.
    journal: where a history, the best weights and all that resuming needs go; training goes on from what it has saved.
    stop: ends training before its time, with all saved.
    Raises InputError on a backend that does not train, for a crop axis that is not the configuration's and for a saved state
    that does not fit, Failure at a loss that is not finite, Terminated where `stop` asks for it.
    """
    spec, journal, options = specification(method), journal or Journal(), options.of(recipe)
    seed = cast(int, options.seed)
    config.crops_of(len(training_set.features[0]))
    stages, saved = spec.stages(config), journal.saved()
    begun = saved.position.stage if saved else 0
    with journal:
        for number, stage in enumerate(stages[begun:], begun):
            if saved is None:
                wanted = spec.parameters(stage)
                weights = spec.next_stage(journal.best, stage, seed) if number else (
                    {**(initial or draw(wanted, seed)), **brought(getattr(training_set, "companions", {}), wanted)})
                saved = Saved(Position(number), weights, {})
                journal.begin_stage()
            detector = replace(from_weights(method, stage, saved.weights, backend, device, seed=seed),
                               later=config.patches - stage.patches, origin=training_set.origin)
            trainer = Trainer(detector, recipe, options)
            if saved.trainer:
                trainer.restore(saved.trainer)
            else:
                journal.save(saved.position, detector, trainer)
            loop = Loop(detector, trainer, training_set, recipe, options, validate, journal, stop)
            position, saved = loop.run(saved.position, saved.random), None
        journal.close(detector)
    return Trained(detector, cast(Mapping, journal.best), position)


@dataclass(frozen=True)
class Loop:
    """The steps of one stage."""
    detector: Detector
    trainer: Trainer
    training_set: TrainingSet
    recipe: Recipe
    options: Options
    validate: Callable[[Detector], float] | None
    journal: Journal
    stop: Stop | None = None

    def run(self, position: Position, random: tuple[str, ...] = ()) -> Position:
        """Take the steps from a position to the stage's end; where that is. random: as `Saved` has it."""
        recipe, options = self.recipe, self.options
        every = cast(int, options.evaluate_every)
        rank, ranks = self.detector.backend.processes()
        self.reseed(position)
        if len(random) == ranks:  # other processes than before have no numbers to go on with
            self.trainer.set_random_state(random[rank])
        bar = progress_bar(desc=self.title(position), hidden=rank > 0, total=recipe.steps, initial=position.step, unit="step")
        with bar, closing(ahead(map(self.batch, range(position.step, recipe.steps)))) as batches, self.heeding():
            while not position.ended(recipe, options):
                terms = self.step(position.step, next(batches))
                position = position.moved()
                self.journal.record({"stage": position.stage + 1, "step": position.step} | terms)
                if recipe.validates(position.step, every) or position.ended(recipe, options):
                    position = self.validated(position)
                if recipe.reload_best_every and position.step % recipe.reload_best_every == 0 and self.journal.best is not None:
                    self.trainer.take(self.journal.best)
                due = position.step % options.save_every == 0 or position.ended(recipe, options)
                if due:
                    self.save(position)
                if self.stopped():
                    self.end(position, due)
                bar.set_postfix(self.shown(terms, position), refresh=False)
                bar.update()
        return position

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """Look at the wish to stop in the block. Once it is there it stays with this process, which is on its way to its end."""
        if self.stop is None:
            yield
            return
        self.stop.heeded = True
        try:
            yield
        finally:
            self.stop.heeded = self.stop.asked

    def stopped(self) -> bool:
        """Whether a process of those that train together is asked to stop; all of them learn it at the same step."""
        asked = self.stop is not None and self.stop.asked
        if self.stop is None or self.detector.backend.processes()[1] == 1:
            return asked
        return any(one.any() for one in self.detector.backend.gather(np.array([asked], np.float32)))

    def end(self, position: Position, saved: bool) -> NoReturn:
        """Save, unless that is done, so that what goes on draws the random numbers that would come next; raise Terminated."""
        if not saved:
            own = np.frombuffer(self.trainer.random_state().encode(), np.uint8)
            every = self.detector.backend.gather(own.astype(np.float32))
            self.check_finite(position)
            self.journal.save(position, self.detector, self.trainer, tuple(bytes(one.astype(np.uint8)).decode() for one in every))
        raise Terminated(f"training {self.detector.method}: told to end, after step {position.step}; all is saved")

    def batch(self, step: int) -> Batch:
        """This process's part of a step's batch."""
        recipe, (rank, ranks) = self.recipe, self.detector.backend.processes()
        drawn = self.training_set.batch(step, recipe.videos, cast(int, self.options.seed), recipe.crops, rank, ranks, recipe.batches,
                                        recipe.draw)
        return drawn.without_last(self.detector.later)

    def step(self, number: int, batch: Batch) -> dict[str, float]:
        """One step, counted from 0, and its terms. Raises Failure where one is not finite."""
        terms = self.trainer.step(batch)
        bad = [f"{name} = {value}" for name, value in terms.items() if not math.isfinite(value)]
        if bad:
            videos = ", ".join(self.training_set.names[video] for video in (() if batch.videos is None else batch.videos))
            raise Failure(f"training {self.detector.method}: the loss of step {number + 1} is not finite "
                          f"({', '.join(bad)}); a lower learning rate may help; the batch's videos: {videos}")
        return terms

    def validated(self, position: Position) -> Position:
        if self.validate is None:
            if position.ended(self.recipe, self.options):
                self.journal.keep_best(self.detector)
            return position
        value = self.validate(self.detector)
        if not math.isfinite(value):
            raise Failure(f"training {self.detector.method}: validation gave {value} after step {position.step}, expected a number; "
                          "videos to validate by need normal and abnormal ones among them")
        found = position.validated(float(value))
        self.journal.record({"stage": position.stage + 1, "step": position.step, "validation": float(value)})
        self.journal.last_validation = value
        if found.best_step == position.step:
            self.journal.best_validation = value
            self.journal.keep_best(self.detector)
        return found

    def save(self, position: Position) -> None:
        """Save all that a resumed run needs, and make this one as random as that will be."""
        self.check_finite(position)
        self.journal.save(position, self.detector, self.trainer)
        self.reseed(position)

    def check_finite(self, position: Position) -> None:
        """Raise Failure for weights that are not finite, which are not saved."""
        wrong = [name for name, value in self.detector.weights().items() if not np.isfinite(value).all()]
        if wrong:
            raise Failure(f"training {self.detector.method}: after step {position.step}, {wrong[0]} is not finite; "
                          "a lower learning rate may help")

    def reseed(self, position: Position) -> None:
        self.trainer.reseed(zlib.crc32(f"{self.options.seed} {position.stage} {position.step}".encode()) >> 1)

    def title(self, position: Position) -> str:
        stages = len(specification(self.detector.method).stages(self.detector.config))
        return f"training {self.detector.method}" + (f", stage {position.stage + 1}" if stages > 1 else "")

    def shown(self, terms: Mapping[str, float], position: Position) -> dict[str, str]:
        """What the bar says: every term, and the best validation."""
        best = {} if position.best is None else {"best": f"{position.best:.4f}"}
        return {name: f"{value:.4g}" for name, value in terms.items()} | best
