"""Batches: what they accept, and how videos are drawn into them."""
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from wvad_core.data import Batch, SnippetTrainingSet, TrainingSet, drawn, pool_segments
from wvad_core.errors import InputError

FEATURES = np.arange(4 * 5 * 3, dtype=np.float32).reshape(4, 5, 3)


@pytest.mark.parametrize("labels, normal, abnormal", [
    ([0, 0, 1, 1], [0, 1], [2, 3]), ([1, 1, 0, 0], [2, 3], [0, 1]), ([1, 0, 0, 1], [1, 2], [0, 3]),
    (np.array([0.0, 1.0, 0.0, 1.0]), [0, 2], [1, 3])])
def test_halves_follow_the_labels(labels, normal, abnormal):
    batch = Batch(FEATURES, labels)
    halves = batch.halves()
    assert [half.tolist() for half in halves] == [normal, abnormal]
    assert np.array_equal(batch.normal_first().features, FEATURES[normal + abnormal])


def test_features_of_normal_videos_first_are_not_copied():
    assert Batch(FEATURES, [0, 0, 1, 1]).normal_first().features is FEATURES


def test_crops_lengths_and_videos():
    batch = Batch(np.zeros((2, 10, 5, 3)), [0, 1], lengths=[5, 1], videos=[7, 7])
    assert batch.lengths.tolist() == [5, 1] and batch.videos.tolist() == [7, 7]
    assert Batch(FEATURES, [0, 0, 1, 1]).lengths is None


@pytest.mark.parametrize("shape", [(4, 6, 2), (4, 3, 6, 2)])
def test_a_video_goes_up_to_its_last_snippet_that_is_not_zero(shape):
    """Snippets of zeros before it belong to it, and one value in one crop is enough; a video of zeros has one."""
    features = np.zeros(shape, np.float32)
    for video, places in enumerate(([0, 1], [3], [], [0, 5])):
        features.reshape(4, -1, 6, 2)[video, -1, places, 1] = 1
    assert Batch(features, [0, 1, 0, 1]).true_lengths().tolist() == [2, 4, 1, 6]
    assert Batch(features, [0, 1, 0, 1], lengths=[6, 5, 4, 3]).true_lengths().tolist() == [6, 5, 4, 3]


@pytest.mark.parametrize("change, message", [
    (dict(features=np.zeros((4, 3))), r"features have shape \(4, 3\), expected \(2B, T, D\) or \(2B, N, T, D\)"),
    (dict(labels=[0, 0, 1]), r"labels have shape \(3,\), expected \(4,\)"),
    (dict(labels=[[0, 0, 1, 1]]), r"labels have shape \(1, 4\), expected \(4,\)"),
    (dict(labels=[0, 0, 1, 2]), r"labels are \[0, 1, 2\], expected only 0 and 1"),
    (dict(labels=[0, 0, 1, -1]), r"labels are \[-1, 0, 1\], expected only 0 and 1"),
    (dict(labels=[0, 0, 1, np.nan]), "expected only 0 and 1"),
    (dict(labels=[0, 1, 1, 1]), "1 normal and 3 abnormal videos, expected as many of each"),
    (dict(labels=[0, 0, 0, 0]), "4 normal and 0 abnormal videos"),
    (dict(features=FEATURES[:0], labels=[]), "0 normal and 0 abnormal videos, expected as many of each, at l"),
    (dict(lengths=[1, 2, 3]), r"lengths have shape \(3,\), expected \(4,\)"),
    (dict(lengths=[1, 2, 3, 6]), "lengths run from 1 to 6, expected 1 to 5"),
    (dict(lengths=[0, 2, 3, 4]), "lengths run from 0 to 4, expected 1 to 5"),
    (dict(videos=[1, 2]), r"videos have shape \(2,\), expected \(4,\)"),
])
def test_batches_that_do_not_fit_together(change, message):
    with pytest.raises(InputError, match=message):
        Batch(**(dict(features=FEATURES, labels=[0, 0, 1, 1]) | change))


@pytest.mark.parametrize("size", [1, 3, 4, 7, 25])
@pytest.mark.parametrize("videos", [np.arange(10), np.arange(100, 107)], ids=len)
def test_every_epoch_of_a_class_has_every_video_once(size, videos):
    steps = np.stack([drawn(videos, size, step, seed=0) for step in range(70)])
    assert steps.shape == (70, size)
    epochs = steps.ravel()[:70 * size // len(videos) * len(videos)].reshape(-1, len(videos))
    assert (np.sort(epochs, axis=1) == videos).all()
    assert len(np.unique(epochs, axis=0)) > 1, "every epoch is shuffled anew"


def test_the_seed_decides_and_steps_may_be_asked_for_in_any_order():
    runs = [[drawn(np.arange(10), 4, step, seed).tolist() for step in range(20)] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert [drawn(np.arange(10), 4, step, 1).tolist() for step in reversed(range(20))] == runs[0][::-1]


class Videos(list):
    """What a TrainingSet needs of a dataset."""
    name = "toy"


def dataset(labels=(1, 0, 0, 1, 1, 0, 0), crops=10, broken=()):
    def item(i, label):
        def read():
            if i in broken:
                raise InputError("nan in snippet 3")
            return np.random.default_rng(i).random((crops, 5 + i, 3), np.float32)
        return SimpleNamespace(video=SimpleNamespace(name=f"v{i}"), abnormal=bool(label),
                               features=SimpleNamespace(shape=(crops, 5 + i, 3), read=read))
    return Videos(item(i, label) for i, label in enumerate(labels))


def test_shards_share_out_each_half_in_its_order():
    batch = Batch(np.arange(24.0).reshape(12, 2, 1), [0, 1] * 6, lengths=[1, 2] * 6, videos=np.arange(12))
    shards = [batch.shard(rank, 3) for rank in range(3)]
    assert [shard.videos.tolist() for shard in shards] == [[0, 2, 1, 3], [4, 6, 5, 7], [8, 10, 9, 11]]
    for shard in shards:
        assert shard.labels.tolist() == [0, 0, 1, 1] and shard.lengths.tolist() == [1, 1, 2, 2]
        assert np.array_equal(shard.features, batch.features[shard.videos])
    with pytest.raises(InputError, match="a batch of 6 normal and as many abnormal videos, expected a multiple of the 4"):
        batch.shard(0, 4)


def test_training_set_pools_every_video():
    videos = dataset()
    training = TrainingSet(videos, 4)
    assert training.features.shape == (7, 10, 4, 3) and training.features.dtype == np.float32
    assert training.labels.tolist() == [1, 0, 0, 1, 1, 0, 0]
    for features, item in zip(training.features, videos):
        assert np.array_equal(features, pool_segments(item.features.read(), 4))


def test_batches_of_all_crops():
    training = TrainingSet(dataset(), 4)
    for step in range(5):
        batch = training.batch(step, 2, seed=0, crops="all")
        assert batch.features.shape == (4, 10, 4, 3)
        assert batch.labels.tolist() == [0, 0, 1, 1] == training.labels[batch.videos].tolist()
        assert np.array_equal(batch.features, training.features[batch.videos])


def test_batches_of_one_random_crop():
    training = TrainingSet(dataset(), 4)
    crops, mixed = set(), 0
    for step in range(40):
        batch = training.batch(step, 3, seed=0)
        assert batch.features.shape == (6, 4, 3)
        picks = [np.flatnonzero((training.features[video] == features).all(axis=(1, 2))).item()
                 for features, video in zip(batch.features, batch.videos)]
        crops.update(zip(batch.videos.tolist(), picks))
        mixed += len(set(picks[:3])) > 1
    assert len(crops) > 60, "of 7 videos with 10 crops each, nearly all have been drawn"
    assert mixed > 30, "every video has a crop of its own"


@pytest.mark.parametrize("kind", [TrainingSet, SnippetTrainingSet])
@pytest.mark.parametrize("crops", ["random", "all"])
def test_the_parts_of_several_processes_are_the_batch(kind, crops):
    training = kind(dataset(), 4)
    for step in range(5):
        whole = training.batch(step, 6, 5, crops)
        parts = [training.batch(step, 6, 5, crops, rank, 3) for rank in range(3)]
        for name in ("features", "labels", "videos"):
            halves = [np.split(getattr(part, name), 2) for part in parts]
            joined = np.concatenate([half[label] for label in (0, 1) for half in halves])
            assert np.array_equal(joined, getattr(whole, name))


def test_the_same_seed_gives_the_same_batches():
    training = TrainingSet(dataset(), 4)
    runs = [np.stack([training.batch(step, 2, seed).features for step in range(9)]) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_videos_whose_labels_contradict_each_other():
    videos = dataset()
    videos[3].features = videos[1].features
    assert TrainingSet(videos, 4).contradictions() == [("v1", "v3")]
    assert TrainingSet(dataset(), 4).contradictions() == []


def test_videos_that_agree_in_a_part_do_not_contradict():
    """Neither where the first segment of the first crop is the same, nor the whole crop, nor two of one label."""
    videos = dataset()
    normal, abnormal = videos[1].features.read(), videos[3].features.read()
    for same in (normal[:1, :1], normal[:1]):
        changed = np.concatenate([abnormal[:, :2]] * 3, 1)[:, :6]
        changed[:same.shape[0], :same.shape[1]] = same
        videos[3].features = SimpleNamespace(shape=changed.shape, read=lambda changed=changed: changed)
        alike = TrainingSet(videos, 6)
        assert np.array_equal(alike.features[1][0, 0], alike.features[3][0, 0]) and alike.contradictions() == []
    videos[2].features = videos[1].features
    assert TrainingSet(videos, 6).contradictions() == []


def test_every_pair_that_contradicts_is_named():
    videos = dataset()
    videos[0].features = videos[3].features = videos[2].features = videos[1].features
    assert set(TrainingSet(videos, 4).contradictions()) == {("v1", "v0"), ("v1", "v3"), ("v2", "v0"), ("v2", "v3")}


def test_the_classes_are_shuffled_apart():
    """With as many videos in both, the order of one class says nothing of the other's; nor do those of two seeds."""
    training = TrainingSet(dataset((0, 1) * 30, crops=1), 1)
    orders = {}
    for seed in range(6):
        videos = np.stack([training.batch(step, 30, seed).videos for step in range(2)])
        assert (np.sort(videos[:, :30]) == np.arange(0, 60, 2)).all(), "an epoch a step"
        orders |= {(seed, label): videos[:, 30 * label:30 * label + 30] // 2 for label in (0, 1)}
    for one in orders:
        for other in orders:
            same = (orders[one] == orders[other]).mean()
            assert same == 1 if one == other else same < 0.25, (one, other)


def test_crops_are_drawn_alike_and_apart():
    """Each of ten crops as often as the others, whatever the row of the batch and the step."""
    training = TrainingSet(dataset((0, 1), crops=10), 1)
    places = np.array([[np.flatnonzero((training.features[video] == features).all((1, 2))).item()
                        for video, features in zip(batch.videos, batch.features)]
                       for batch in (training.batch(step, 4, 0) for step in range(200))])
    counts = np.bincount(places.ravel(), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-4 and len(counts) == 10
    assert all(stats.chisquare(np.bincount(row, minlength=10)).pvalue > 1e-4 for row in places.T)
    assert abs((places[:, 0] == places[:, 5]).mean() - 0.1) < 0.1
    assert abs((places[1:] == places[:-1]).mean() - 0.1) < 0.05


def test_broken_videos_are_reported_all_at_once():
    with pytest.raises(InputError) as caught:
        TrainingSet(dataset(broken=(1, 4)), 4)
    assert str(caught.value).split("\n  ") == ["2 of 7 videos have features that are not finite",
                                               "v1: nan in snippet 3", "v4: nan in snippet 3"]


@pytest.mark.parametrize("labels, kind", [((1, 1), "normal"), ((0, 0), "abnormal")])
def test_a_training_set_needs_both_classes(labels, kind):
    with pytest.raises(InputError, match=f"toy has no {kind} training videos"):
        TrainingSet(dataset(labels), 4)


def test_bad_settings():
    training = TrainingSet(dataset(), 4)
    with pytest.raises(InputError, match="batch size 0, expected a positive multiple of the 1 processes"):
        training.batch(0, 0, 0)
    with pytest.raises(InputError, match="batch size 3, expected a positive multiple of the 2 processes"):
        training.batch(0, 3, 0, rank=1, ranks=2)
    with pytest.raises(InputError, match="crops 'first', expected 'random' or 'all'"):
        training.batch(0, 2, 0, crops="first")
