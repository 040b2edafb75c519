"""Batches: what they accept, and how videos are drawn into them."""
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from wvad_core.data import Batch, TrainingSet, drawn, find_sampler, pool_segments
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


def with_value(features, value):
    """The same with a value in the last snippet of video 2, in crop 1 where there are crops."""
    changed = features.copy()
    changed[(2, 1, -1, 1) if features.ndim == 4 else (2, -1, 1)] = value
    return changed


@pytest.mark.parametrize("change, message", [
    (dict(features=np.zeros((4, 3))), r"features have shape \(4, 3\), expected \(2B, T, D\) or \(2B, N, T, D\)"),
    (dict(labels=[0, 0, 1]), r"labels have shape \(3,\), expected \(4,\)"),
    (dict(labels=[[0, 0, 1, 1]]), r"labels have shape \(1, 4\), expected \(4,\)"),
    (dict(labels=[0, 0, 1, 2]), r"labels are \[0, 1, 2\], expected only 0 and 1"),
    (dict(labels=[0, 0, 1, -1]), r"labels are \[-1, 0, 1\], expected only 0 and 1"),
    (dict(labels=[0, 0, 1, np.nan]), "expected only 0 and 1"),
    (dict(features=FEATURES[:0], labels=[]), "a batch has no videos, expected at least one"),
    (dict(classes=[[0], [1], [2]]), "batch classes are of 3 videos, expected 4"),
    (dict(lengths=[1, 2, 3]), r"lengths have shape \(3,\), expected \(4,\)"),
    (dict(lengths=[1, 2, 3, 6]), "lengths run from 1 to 6, expected 1 to 5"),
    (dict(lengths=[0, 2, 3, 4]), "lengths run from 0 to 4, expected 1 to 5"),
    (dict(videos=[1, 2]), r"videos have shape \(2,\), expected \(4,\)"),
    (dict(features=with_value(FEATURES, np.nan)), r"^batch features have nan in snippet 4 \(crop 0\) of video 2, expected fin"),
    (dict(features=with_value(FEATURES, -np.inf)), "^batch features have -inf in snippet 4"),
    (dict(features=with_value(FEATURES.astype(float), 1e39)), r"^batch features have 1e\+39 in snippet 4"),
    (dict(features=with_value(np.zeros((4, 3, 5, 2), np.float32), np.nan)), r"in snippet 4 \(crop 1\) of video 2"),
])
def test_batches_that_do_not_fit_together(change, message):
    with pytest.raises(InputError, match=message):
        Batch(**(dict(features=FEATURES, labels=[0, 0, 1, 1]) | change))


@pytest.mark.parametrize("labels, message", [
    ([0, 1, 1, 1], "1 normal and 3 abnormal videos, expected as many of each, at least one"),
    ([0, 0, 0, 0], "4 normal and 0 abnormal videos")])
def test_what_has_no_halves(labels, message):
    batch = Batch(FEATURES, labels)
    for halved in (batch.halves, batch.normal_first, lambda: batch.shard(0, 1)):
        with pytest.raises(InputError, match=message):
            halved()


def test_classes_go_with_their_videos_and_companions_with_every_part():
    texts = np.ones((3, 2))
    batch = Batch(FEATURES, [1, 0, 1, 0], videos=[5, 6, 7, 8], classes=[[2, 1], (0,), np.array([1]), (0,)],
                  companions={"texts": texts})
    assert batch.classes == ((2, 1), (0,), (1,), (0,))
    assert batch.normal_first().classes == ((0,), (0,), (2, 1), (1,))
    assert [batch.shard(rank, 2).classes for rank in (0, 1)] == [((0,), (2, 1)), ((0,), (1,))]
    assert [batch.shard(rank, 2, halves=False).classes for rank in (0, 1)] == [((2, 1), (0,)), ((1,), (0,))]
    crops = Batch(np.zeros((2, 4, 5, 3)), [0, 1], classes=[[0], [1]], companions={"texts": texts}).without_last(2)
    assert crops.classes == ((0,), (1,)) and crops.features.shape == (2, 2, 5, 3)
    for part in (batch.normal_first(), batch.shard(1, 2), crops):
        assert part.companion("texts") is texts


def test_shards_of_items_share_them_out_in_order():
    batch = Batch(np.arange(12.0).reshape(6, 2, 1), [0, 1, 1, 1, 0, 1], lengths=[1, 2, 1, 2, 1, 2], videos=np.arange(6))
    shards = [batch.shard(rank, 3, halves=False) for rank in range(3)]
    assert [shard.videos.tolist() for shard in shards] == [[0, 1], [2, 3], [4, 5]]
    assert np.array_equal(np.concatenate([shard.features for shard in shards]), batch.features)
    with pytest.raises(InputError, match="a batch of 6 videos, expected a multiple of the 4 processes"):
        batch.shard(0, 4, halves=False)


def test_what_losses_ask_for_by_name():
    texts = np.ones((3, 2))
    batch = Batch(FEATURES, [1, 0, 1, 0], lengths=[5, 4, 3, 2], classes=[[2, 1], [0], [1], [0]], companions={"texts": texts})
    assert batch.named("classes", 3).tolist() == [[2, 1, -1], [0, -1, -1], [1, -1, -1], [0, -1, -1]]
    assert batch.named("true_lengths").tolist() == [5, 4, 3, 2] and batch.named("labels").tolist() == [1, 0, 1, 0]
    assert batch.named("companions.texts") is texts and batch.named("videos") is None
    assert Batch(FEATURES, [1, 0, 1, 0]).named("classes", 3) is None
    with pytest.raises(InputError, match=r"no companion 'words' \(found texts\), expected the dataset to bring it"):
        batch.named("companions.words")


@pytest.mark.parametrize("classes", [[[0], [3], [1], [1]], [[0], [-1], [1], [1]], [[0], [], [1], [1]], [[0], [1, 1], [1], [1]]])
def test_classes_that_the_method_does_not_have(classes):
    with pytest.raises(InputError, match="batch classes of video 1 are .*, expected different ones of 0 to 2"):
        Batch(FEATURES, [0, 0, 1, 1], classes=classes).class_indices(3)


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


CATEGORIES = {0: ("Normal",), 1: ("Fight",)}


def dataset(labels=(1, 0, 0, 1, 1, 0, 0), crops=10, broken=(), categories=CATEGORIES):
    def item(i, label):
        def read():
            if i in broken:
                raise InputError("nan in snippet 3")
            return np.random.default_rng(i).random((crops, 5 + i, 3), np.float32)
        return SimpleNamespace(video=SimpleNamespace(name=f"v{i}", categories=categories[label]), abnormal=bool(label),
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


@pytest.mark.parametrize("sampling", ["segments", "snippets", "picked"])
@pytest.mark.parametrize("crops", ["random", "all", "each"])
def test_the_parts_of_several_processes_are_the_batch(sampling, crops):
    training = TrainingSet(dataset(), 8, sampler=find_sampler(sampling))
    for step in range(5):
        whole = training.batch(step, 6, 5, crops)
        parts = [training.batch(step, 6, 5, crops, rank, 3) for rank in range(3)]
        assert len({part.features.shape for part in parts}) == 1, "what is gathered has one shape"
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
    with pytest.raises(InputError, match="crops 'first', expected 'random', 'all' or 'each'"):
        training.batch(0, 2, 0, crops="first")


def test_batches_of_existing_recipes_stay_as_they_are():
    """Every byte of features, labels, videos and lengths at some steps, as training was published with."""
    known = {("segments", 4, "random", 0): "488377ec5305584a", ("segments", 4, "random", 1): "4c72d5247a11e2ce",
             ("segments", 4, "all", 0): "d0275eb5f0ca8bda", ("segments", 4, "all", 1): "0ed5c182cf542c7d",
             ("snippets", 7, "random", 0): "21d278ac04f336f9", ("snippets", 7, "random", 1): "5abbda491ba68439",
             ("snippets", 7, "all", 0): "fba662aa77557d0c", ("snippets", 7, "all", 1): "bf9b24ab6d1f4ab2"}
    for (sampling, size, crops, rank), expected in known.items():
        training, found = TrainingSet(dataset(), size, sampler=find_sampler(sampling)), hashlib.sha256()
        for step in (0, 1, 2, 9, 40):
            batch = training.batch(step, 3, 5, crops, rank, 3 if rank else 1)
            for values in (batch.features, batch.labels, batch.videos, batch.lengths):
                found.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
        assert found.hexdigest()[:16] == expected, (sampling, crops, rank)


def test_categories_become_places_in_the_tables_order():
    labels = dict(zip("abcd", (("Normal",), ("Riot",), ("Fight", "Riot"), ("Riot", "Fight", "Riot"))))
    videos = dataset((1, 0, 0, 1, 1, 0, 0))
    for item, key in zip(videos, "cadbaab"):
        item.video.categories = labels[key]
    training = TrainingSet(videos, 4, class_names=("Normal", "Fight", "Riot"))
    assert training.classes == ((1, 2), (0,), (2, 1), (2,), (0,), (0,), (2,))
    batch = training.batch(0, 3, 0, batches="items", draw="afresh")
    assert batch.classes == tuple(training.classes[video] for video in batch.videos)
    assert TrainingSet(videos, 4).batch(0, 2, 0).classes is None


@pytest.mark.parametrize("categories, found", [(("Fight", "Fire"), "category Fire"), ((), "category none")])
def test_a_category_that_is_no_class_of_the_method(categories, found):
    videos = dataset(categories={0: ("Normal",), 1: categories})
    with pytest.raises(InputError) as caught:
        TrainingSet(videos, 4, class_names=("Normal", "Fight"))
    assert str(caught.value) == f"toy: v0: {found} (and 2 more videos), expected of Normal, Fight"


def test_companions_of_the_dataset_are_in_every_batch():
    videos = dataset()
    videos.companions = {"texts": np.ones((2, 3), np.float32)}
    assert TrainingSet(videos, 4).batch(3, 2, 0).companion("texts") is videos.companions["texts"]
    assert TrainingSet(dataset(), 4).batch(3, 2, 0).companions == {}


def test_every_crop_is_a_video_of_its_own():
    training = TrainingSet(dataset(crops=3), 4)
    batch = training.batch(0, 21, 0, "each", batches="items", draw="epochs")
    seen = {(video, np.flatnonzero((training.features[video] == features).all((1, 2))).item())
            for video, features in zip(batch.videos.tolist(), batch.features)}
    assert len(seen) == 21 and batch.labels.tolist() == training.labels[batch.videos].tolist()
    assert (np.diff(batch.videos) < 0).any(), "shuffled"
    listed = training.batch(1, 4, 0, "each", draw="file-order")  # normal videos 1, 2, 5, 6 and abnormal ones 0, 3, 4
    assert listed.videos.tolist() == [2, 2, 5, 5, 3, 3, 4, 4]
    assert np.array_equal(listed.features, training.features[[2, 2, 5, 5, 3, 3, 4, 4], [1, 2, 0, 1, 1, 2, 0, 1]])


def test_videos_that_are_left_out_are_no_items():
    training = TrainingSet(dataset(), 4)
    training.leave_out(np.array([1, 4]))
    videos = training.batch(0, 5, 0, batches="items", draw="epochs").videos
    assert sorted(videos.tolist()) == [0, 2, 3, 5, 6]


def test_batches_are_cut_to_their_longest_video():
    """The toy videos have 5 to 11 snippets; the last two of one are zeros, and one in the middle of another."""
    videos = dataset(crops=2)
    values = [item.features.read() for item in videos]
    values[2][:, -2:], values[0][:, 2] = 0, 0
    for item, own in zip(videos, values):
        item.features.read = lambda own=own: own
    training = TrainingSet(videos, 9, sampler=find_sampler("picked"))
    for step in range(20):
        batch = training.batch(step, 3, 0, "each", batches="items", draw="afresh")
        assert batch.lengths.tolist() == [{0: 4, 2: 5}.get(video, min(5 + video, 9)) for video in batch.videos.tolist()]
        assert batch.features.shape == (3, batch.lengths.max(), 3)


def test_a_short_batch_is_shared_out_evenly_or_refused():
    training = TrainingSet(dataset(), 4)
    words = {"batches": "items", "draw": "epochs-with-rest"}
    assert len(training.batch(1, 4, 0, **words).labels) == 3
    with pytest.raises(InputError, match="the batch of step 2 has 3 items, expected a multiple of the 2 processes; "
                                         "draw=epochs leaves short batches out"):
        training.batch(1, 4, 0, rank=1, ranks=2, **words)
    parts = [training.batch(0, 4, 0, rank=rank, ranks=2, **words).videos for rank in (0, 1)]
    assert np.concatenate(parts).tolist() == training.batch(0, 4, 0, **words).videos.tolist()


@pytest.mark.parametrize("words, message", [
    ({"batches": "thirds"}, "batches 'thirds', expected 'halves' or 'items'"),
    ({"draw": "lots"}, "draw 'lots', expected 'packs', 'epochs', 'epochs-with-rest', 'file-order' or 'afresh'"),
    ({"draw": "epochs"}, "3 training videos to draw 4 from for each batch, expected at least as many"),
    ({"draw": "afresh"}, "3 training videos to draw 4 from for each batch, expected at least as many"),
    ({"draw": "epochs-with-rest"}, "draw 'epochs-with-rest' is for batches of items")])
def test_ways_of_drawing_that_do_not_fit(words, message):
    with pytest.raises(InputError, match=message):
        TrainingSet(dataset(), 4).batch(0, 4, 0, **words)
