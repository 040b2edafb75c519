"""What chooses the best weights of a run: the test set, or training videos that are held out."""
from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from ..data import Dataset
from ..detector import Detector
from ..errors import InputError
from ..scoring import metrics
from ..scoring.evaluation import Frames, VideoScores, postprocessed, scored
from .options import Options
from .recipe import Recipe

RANKINGS = {"auc": metrics.roc_auc, "ap": metrics.pr_auc, "average_precision": metrics.average_precision}
"""A recipe's `metric`, over the frames of the test set."""

NAMES = {"auc": "AUC", "ap": "AP", "average_precision": "average precision"}


class Validation(float):
    """What a validation gives: the more the better. videos: the scores of the test videos that it was taken from, if it was."""
    videos: tuple[VideoScores, ...] | None = None


def validator(recipe: Recipe, test: Dataset, videos: Dataset, held: np.ndarray | None) -> Callable[[Detector], float]:
    """What gives a detector's value as the recipe has it. held: the numbers of the training videos that are held out.

    It is taken from raw scores, as published: a method smooths its scores when it is done.
    """
    def on_test(detector: Detector) -> Validation:
        found = scored(detector, test, raw=True)
        value = Validation(Frames(found).metric(RANKINGS[recipe.metric]))
        value.videos = postprocessed(detector, found)
        return value

    if held is None:
        return on_test
    part = Dataset(videos.name, [videos[i] for i in held])
    return lambda detector: video_auc(detector, part)


def videos_of(value: float | None) -> tuple[VideoScores, ...] | None:
    """The scores that a validation has already given for the test videos; None where it has given none."""
    return value.videos if isinstance(value, Validation) else None


def video_auc(detector: Detector, dataset: Dataset) -> float:
    """The area under the ROC curve over videos: their labels, and the highest raw score of each."""
    videos = scored(detector, dataset, raw=True)
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
        held.append(np.random.default_rng([cast(int, options.seed), int(label)]).permutation(places)[:count])
    return np.sort(np.concatenate(held))
