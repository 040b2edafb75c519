"""Sampling to at most so many snippets: which are picked, what is padded, and the batches made of them."""
import dataclasses

import numpy as np
import pytest
from test_batches import dataset

from wvad_core.data import TrainingSet, find_sampler, sample_snippets
from wvad_core.errors import InputError

MOST = 7
SNIPPETS = find_sampler("snippets")


def picks(snippets: int, abnormal: bool, seed: int = 0) -> np.ndarray:
    """The numbers of the snippets that are sampled."""
    numbered = np.arange(snippets, dtype=np.float32)[:, None]
    sampled, length = sample_snippets(numbered, MOST, abnormal, np.random.default_rng(seed))
    assert length == MOST and sampled.shape == (MOST, 1)
    return sampled[:, 0].astype(int)


@pytest.mark.parametrize("snippets", [8, 13, 14, 100])
def test_long_abnormal_videos_give_one_snippet_of_every_part(snippets):
    drawn = np.stack([picks(snippets, True, seed) for seed in range(2000)])
    borders = np.arange(MOST + 1) * snippets / MOST
    assert (drawn + 1 > borders[:-1]).all() and (drawn < borders[1:]).all()
    assert (np.diff(drawn) >= 0).all()
    for part, (start, end) in enumerate(zip(borders, borders[1:])):  # uniform: a snippet's share of the part is its chance
        for snippet in range(int(start), int(np.ceil(end))):
            share = (min(end, snippet + 1) - max(start, snippet)) / (end - start)
            assert abs((drawn[:, part] == snippet).mean() - share) < 0.05


@pytest.mark.parametrize("snippets", [8, 20])
def test_long_normal_videos_give_a_run_from_anywhere(snippets):
    drawn = np.stack([picks(snippets, False, seed) for seed in range(2000)])
    assert (np.diff(drawn) == 1).all()
    chances = np.bincount(drawn[:, 0], minlength=snippets - MOST + 1) / len(drawn)
    assert len(chances) == snippets - MOST + 1
    assert np.abs(chances - 1 / len(chances)).max() < 0.05


@pytest.mark.parametrize("abnormal", [False, True])
@pytest.mark.parametrize("snippets", [1, 4, MOST])
def test_other_videos_are_whole_and_padded(snippets, abnormal):
    features = np.random.default_rng(1).random((3, snippets, 2), np.float32) + 1
    sampled, length = sample_snippets(features, MOST, abnormal, np.random.default_rng(0))
    assert length == snippets and sampled.shape == (3, MOST, 2) and sampled.dtype == np.float32
    assert np.array_equal(sampled[:, :snippets], features) and not sampled[:, snippets:].any()


def test_the_largest_random_number_stays_within_the_video():
    class Largest:
        def random(self, size):
            return np.full(size, np.nextafter(1, 0))

    sampled, _ = sample_snippets(np.arange(300.0)[:, None], 299, True, Largest())
    assert sampled[-1, 0] == 299


@pytest.mark.parametrize("snippets, most", [(0, 3), (3, 0)])
def test_nothing_to_sample(snippets, most):
    with pytest.raises(InputError, match=f"{snippets} snippets cannot be sampled to {most} at most"):
        sample_snippets(np.zeros((snippets, 2)), most, True, np.random.default_rng(0))


def test_batches_hold_snippets_of_their_videos():
    """The toy videos have 5 to 11 snippets."""
    videos = dataset()
    training = TrainingSet(videos, MOST, sampler=SNIPPETS)
    for batch in [training.batch(step, 2, seed=0) for step in range(20)]:
        assert batch.features.shape == (4, MOST, 3) and batch.labels.tolist() == [0, 0, 1, 1]
        assert batch.labels.tolist() == training.labels[batch.videos].tolist()
        assert batch.lengths.tolist() == [min(5 + video, MOST) for video in batch.videos]
        assert np.array_equal(batch.lengths, dataclasses.replace(batch, lengths=None).true_lengths())
        for features, length, video in zip(batch.features, batch.lengths, batch.videos):
            whole = videos[video].features.read()
            of_crops = (features[:length, None] == whole[:, None]).all(-1).any(2).all(1)
            assert of_crops.sum() == 1, "all snippets are of one crop"
            assert not features[length:].any()


def test_all_crops_have_the_same_snippets():
    videos = dataset()
    training = TrainingSet(videos, MOST, sampler=SNIPPETS)
    for batch in [training.batch(step, 2, 0, crops="all") for step in range(10)]:
        assert batch.features.shape == (4, 10, MOST, 3)
        for features, length, video in zip(batch.features, batch.lengths, batch.videos):
            same = (features[:, :length, None] == videos[video].features.read()[:, None]).all(-1)
            assert same.any(-1).all() and (same == same[:1]).all()


def test_the_same_seed_gives_the_same_batches():
    training = TrainingSet(dataset(), MOST, sampler=SNIPPETS)
    runs = [np.stack([training.batch(step, 2, seed).features for step in range(9)]) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_broken_videos_are_reported_all_at_once():
    with pytest.raises(InputError, match="2 of 7 videos have features that are not finite\n  v1: nan in snippet 3"):
        TrainingSet(dataset(broken=(1, 4)), MOST, sampler=SNIPPETS)
    with pytest.raises(InputError, match="toy has no normal training videos"):
        TrainingSet(dataset((1, 1)), MOST, sampler=SNIPPETS)
