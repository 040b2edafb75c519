"""Training a detector: the loop around a backend's optimiser steps."""
from __future__ import annotations

import math

from tqdm import tqdm

from .data.batches import TrainingSet
from .detector import Detector
from .methods import Recipe


def fit(detector: Detector, training_set: TrainingSet, recipe: Recipe) -> list[dict[str, float]]:
    """Train a detector's network in place for the recipe's steps, on batches of one random crop a video.

    The recipe's seed draws the batches, the same ones for every backend. Dropout follows the detector's own seed.
    Returns the loss terms of every step, {"total": ..., term: ...}, as they were before it.
    Raises InputError on a backend that does not train, FloatingPointError at a step whose loss is not finite; its
    gradients have spoilt the weights then.
    """
    trainer = detector.backend.trainer(detector.network, recipe)
    batches = training_set.batches(recipe.videos, recipe.seed)
    history: list[dict[str, float]] = []
    with tqdm(total=recipe.steps, desc=f"training {detector.method}", unit="step", leave=False, disable=None) as bar:
        for step, batch in zip(range(1, recipe.steps + 1), batches):
            terms = trainer.step(batch)
            bad = [f"{name} = {value}" for name, value in terms.items() if not math.isfinite(value)]
            if bad:
                raise FloatingPointError(f"training {detector.method}: the loss of step {step} is not finite "
                                         f"({', '.join(bad)}); a lower learning rate may help")
            history.append(terms)
            bar.set_postfix(total=f"{terms['total']:.4f}", refresh=False)
            bar.update()
    return history
