"""What chooses the best weights: the recipe's metric on the test set, or training videos held out."""
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.metrics

from wvad_core.data import Dataset
from wvad_core.data.annotations import Video
from wvad_core.data.dataset import Item
from wvad_core.detector import Detector
from wvad_core.errors import InputError
from wvad_core.methods.ar_net import Config
from wvad_core.training import selection
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe

RECIPE = Recipe(segments=4, videos=2, steps=1)


def videos(count: int, seed: int = 0) -> Dataset:
    """Videos of one feature a snippet, every second one abnormal, with the features that `Passing` gives as scores."""
    rng, items = np.random.default_rng(seed), []
    for number in range(count):
        abnormal, length = bool(number % 2), int(rng.integers(3, 9))
        share = rng.integers(0, 17, length) / 16 * abnormal
        features = (rng.random((1, length, 1)) + share[:, None]).astype(np.float32)
        handle = SimpleNamespace(shape=features.shape, read=lambda features=features: features, flaw=lambda: None)
        video = Video(f"v{number}", "test", "Fight" if abnormal else "Normal", None, ())
        items.append(Item(video, handle, abnormal, share))
    dataset = Dataset("toy", items)
    dataset._finite = True
    return dataset


class Passing:
    """A backend whose networks score a snippet by its only feature."""

    def processes(self):
        return 0, 1

    def gather(self, array):
        return [array]

    def score(self, network, features):
        return features[0, :, 0]


@pytest.fixture
def detector():
    return Detector("ar-net", Config(feature_dim=1), "toy", Passing(), None)


def of_frames(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth and scores of all frames."""
    truth = np.concatenate([np.arange(16) < 16 * share for item in dataset for share in item.abnormal_fraction])
    return truth, np.concatenate([np.repeat(item.features.read()[0, :, 0], 16) for item in dataset])


@pytest.mark.parametrize("metric", ["auc", "ap", "average_precision"])
def test_the_test_set_validates_by_the_metric_of_the_recipe(detector, metric):
    test = videos(9)
    truth, scores = of_frames(test)
    precision, recall, _ = sklearn.metrics.precision_recall_curve(truth, scores)
    expected = {"auc": sklearn.metrics.roc_auc_score(truth, scores), "ap": sklearn.metrics.auc(recall, precision),
                "average_precision": sklearn.metrics.average_precision_score(truth, scores)}
    assert abs(expected["auc"] - expected["ap"]) > 0.01
    validate = selection.validator(dataclasses.replace(RECIPE, metric=metric), test, videos(4), None)
    assert validate(detector) == pytest.approx(expected[metric], rel=1e-9)


def test_videos_held_out_validate_by_their_labels_and_highest_scores(detector):
    training, held = videos(30, seed=1), np.delete(np.arange(30), [1, 4, 8, 19])
    validate = selection.validator(dataclasses.replace(RECIPE, metric="ap"), videos(9), training, held)
    highest, mean = ([of(training[i].features.read()) for i in held] for of in (np.max, np.mean))
    expected = sklearn.metrics.roc_auc_score(held % 2, highest)
    assert validate(detector) == pytest.approx(expected, rel=1e-9)
    assert expected != sklearn.metrics.roc_auc_score(held % 2, mean) and expected < 1


def test_what_is_held_out_is_the_seeds():
    training = videos(40)
    draws = [selection.held_out(training, Options(seed=seed, holdout=0.2)) for seed in range(20)]
    again = [selection.held_out(training, Options(seed=seed, holdout=0.2)) for seed in range(20)]
    assert all(np.array_equal(*pair) for pair in zip(draws, again))
    assert len({tuple(draw) for draw in draws}) == 20
    for draw in draws:
        assert (np.bincount(draw % 2) == 4).all() and (np.diff(draw) > 0).all()
        assert set(draw[draw % 2 == 0] // 2) != set(draw[draw % 2 == 1] // 2), "the classes are drawn apart"
    counts = np.bincount(np.concatenate(draws), minlength=40)
    assert counts.max() < 12, "every video has the same chance"


@pytest.mark.parametrize("count, share, expected", [(4, 0.1, 1), (4, 0.9, 1), (20, 0.25, 2), (20, 0.35, 4)])
def test_how_many_are_held_out(count, share, expected):
    """Of each class; at least one, and one is left."""
    held = selection.held_out(videos(count), Options(seed=0, holdout=share))
    assert (np.bincount(held % 2) == expected).all()


def test_a_class_of_one_cannot_be_held_out():
    with pytest.raises(InputError, match="1 abnormal training videos, expected at least 2 to hold one out"):
        selection.held_out(videos(3), Options(seed=0))
