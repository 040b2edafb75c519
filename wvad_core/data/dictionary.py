"""Dictionaries: what a dataset's normal training videos look like, as a few atoms that the others are written in.

    M = learn_dictionary(Dataset.open("ucf-crime", "i3d", "train"))        (atoms, D)

as published by Wu et al. (ECCV 2022), by scikit-learn. Each of the V normal training videos is averaged over its crops and its
32 segments; of all of them in columns, (D, V), the CHANNELS are the samples. Components are learnt online (Mairal et al. 2009:
lasso by LARS, alpha 1) from 100 mini-batches of 32 channels, round(ratio V) of them, halves to even. Kept are not these, but
the code of the channels in them by orthogonal matching pursuit, transposed: column d of M has at most two numbers other than 0.

The published ones were made with scikit-learn 0.24, where `n_iter` counted mini-batches. `max_iter` of later versions counts
epochs, so the mini-batches are given one by one here: from the same first components and in the same order as `fit` takes
them. Later versions also move the components by a corrected formula, so that the same features give other atoms than then.
"""
from __future__ import annotations

import itertools
import warnings

import numpy as np

from ..errors import InputError
from ..progress import progress_bar
from .dataset import Dataset
from .segments import pool_segments
from .training_set import fill

Array = np.ndarray
RATIOS = {"shanghaitech": 0.9, "ucf-crime": 0.5}
"""{dataset: atoms for each normal training video}, as published."""
SEGMENTS, MINI_BATCHES, SIZE, NON_ZERO, ALPHA, SEED = 32, 100, 32, 2, 1, 42


def learn_dictionary(dataset: Dataset, ratio: float | None = None) -> Array:
    """The dictionary of a dataset's training videos, (atoms, D) float32.

    dataset: its "train" split. ratio: atoms for each normal video, above 0 and at most 1; by default the published one, where
    the dataset has one. Raises InputError where scikit-learn is not installed, before anything is read; for another ratio, and
    for too few normal videos; and with every normal video whose features cannot be read or are not finite.
    """
    check_scikit_learn()
    normal = Dataset(dataset.name, [item for item in dataset if not item.abnormal], folder=dataset.folder)
    atoms = round(published_ratio(dataset.name, ratio) * len(normal))
    if atoms < NON_ZERO:
        raise InputError(f"{dataset.name}: {len(normal)} normal training videos make {atoms} atoms, expected {NON_ZERO} or more")
    return encoded(averages(normal), atoms)


def check_scikit_learn() -> None:
    """Raise InputError where scikit-learn cannot be imported."""
    try:
        import sklearn.decomposition  # noqa: F401
    except ImportError as error:
        raise InputError("a dictionary is learnt by scikit-learn, which cannot be imported: pip install scikit-learn") from error


def published_ratio(dataset: str, given: float | None = None) -> float:
    """The ratio that is given, else the published one of a dataset. Raises InputError for none, and for one out of range."""
    ratio = RATIOS.get(dataset.replace("_", "-")) if given is None else given
    if ratio is None:
        known = ", ".join(f"{ratio} for {name}" for name, ratio in RATIOS.items())
        raise InputError(f"{dataset}: has no published ratio of atoms to normal videos, expected one; published: {known}")
    if not 0 < ratio <= 1:
        raise InputError(f"ratio {ratio}, expected a number above 0 and at most 1")
    return ratio


def averages(dataset: Dataset) -> Array:
    """Each video's mean over crops and segments, (D, V) float64. Raises InputError as `learn_dictionary`."""
    means = np.empty((dataset.feature_dim, len(dataset)))

    def store(video: int, mean: Array) -> None:
        means[:, video] = mean[0, 0]

    def mean(features: Array) -> Array:
        return pool_segments(features, SEGMENTS).mean((0, 1), dtype=np.float64)[None, None]

    fill(store, [(1, 1, dataset.feature_dim)] * len(dataset), dataset, mean,
         lambda items: progress_bar(items, "reading features", unit="video"))
    return means


def encoded(samples: Array, atoms: int) -> Array:
    """The code of samples (D, V) in `atoms` components that are learnt of them, transposed: (atoms, D) float32."""
    from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode
    from sklearn.utils.extmath import randomized_svd

    rng = np.random.RandomState(SEED)
    _, scales, rows = randomized_svd(samples, atoms, random_state=rng)
    first = np.zeros((atoms, samples.shape[1]))
    first[:len(scales)] = scales[:, None] * rows
    shuffled = samples.copy()
    rng.shuffle(shuffled)
    learner = MiniBatchDictionaryLearning(atoms, alpha=ALPHA, fit_algorithm="lars", dict_init=first, random_state=rng)
    batches = itertools.cycle(np.split(shuffled, range(SIZE, len(shuffled), SIZE)))
    for batch in progress_bar(itertools.islice(batches, MINI_BATCHES), "learning", total=MINI_BATCHES, unit="mini-batch"):
        learner.partial_fit(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of channels that fewer than two atoms make up
        code = sparse_encode(samples, learner.components_, algorithm="omp", n_nonzero_coefs=NON_ZERO)
    return code.T.astype(np.float32)
