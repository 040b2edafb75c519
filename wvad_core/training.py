"""Training a detector: the loop around a backend's optimiser steps."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from tqdm import tqdm

from .configuration import Config
from .data import Dataset, SnippetTrainingSet, TrainingSet
from .detector import Detector, from_weights
from .errors import InputError
from .methods import Recipe, specification, stages_of
from .parameters import draw

TRAINING_SETS = {"segments": TrainingSet, "snippets": SnippetTrainingSet}


def read_training_set(dataset: Dataset, recipe: Recipe, progress: Callable[[Iterable], Iterable] = iter) -> TrainingSet:
    """The training videos as the recipe's `sampling` brings them to its number of segments, or of snippets at most."""
    if recipe.sampling not in TRAINING_SETS:
        raise InputError(f"sampling {recipe.sampling!r}, expected one of {', '.join(TRAINING_SETS)}")
    return TRAINING_SETS[recipe.sampling](dataset, recipe.segments, progress)


def train(method: str, config: Config, training_set: TrainingSet, recipe: Recipe, backend: str,
          device: str = "auto") -> tuple[Detector, list[dict[str, float]]]:
    """Train a fresh detector by a recipe, through all stages of its method; and the history of all of them.

    Each stage takes the recipe's steps and starts from the weights that the one before ended with. The recipe's seed draws
    the fresh weights too. Raises what `fit` raises.
    """
    spec, weights, history = specification(method), None, []
    for stage in stages_of(spec, config):
        weights = draw(spec.parameters(stage), recipe.seed) if weights is None else spec.next_stage(weights, stage, recipe.seed)
        detector = from_weights(method, stage, weights, backend, device, seed=recipe.seed)
        history += fit(detector, training_set, recipe, config.patches - stage.patches)
        weights = detector.weights()
    return detector, history


def fit(detector: Detector, training_set: TrainingSet, recipe: Recipe, later: int = 0) -> list[dict[str, float]]:
    """Train a detector's network in place for the recipe's steps, on batches of one random crop a video or of all.

    later: patches at the end of the crop axis that the network does not take yet.
    The recipe's seed draws the batches, the same ones for every backend. Dropout follows the detector's own seed.
    Returns the loss terms of every step, {"total": ..., term: ...}, as they were before it.
    Raises InputError on a backend that does not train, FloatingPointError at a step whose loss is not finite; its
    gradients have spoilt the weights then.
    """
    trainer = detector.backend.trainer(detector.network, recipe)
    batches = training_set.batches(recipe.videos, recipe.seed, crops=recipe.crops)
    history: list[dict[str, float]] = []
    with tqdm(total=recipe.steps, desc=f"training {detector.method}", unit="step", leave=False, disable=None) as bar:
        for step, batch in zip(range(1, recipe.steps + 1), batches):
            terms = trainer.step(batch.without_last(later))
            bad = [f"{name} = {value}" for name, value in terms.items() if not math.isfinite(value)]
            if bad:
                raise FloatingPointError(f"training {detector.method}: the loss of step {step} is not finite "
                                         f"({', '.join(bad)}); a lower learning rate may help")
            history.append(terms)
            bar.set_postfix(total=f"{terms['total']:.4f}", refresh=False)
            bar.update()
    return history
