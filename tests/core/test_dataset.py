"""Datasets: a table, its features and its ground truth together."""
import threading

import numpy as np
import pytest

from wvad_core.data import Dataset, Item, TrainingSet
from wvad_core.data.annotations import bundled_timeline, load_table
from wvad_core.data.dataset import deal
from wvad_core.data.video_features import VideoFeatures
from wvad_core.errors import InputError

HEADER = "video,split,category,frames,intervals\n"
ROWS = ("a,test,Normal,40,\n"
        "b,test,Fight,,10-20 60-64\n"
        "c,test,,64,\n"
        "d,train,Normal,,\n"
        "e,train,Fight,,\n"
        "f,test,,,0-8\n"
        "g,train,,,5-6\n")
LENGTHS = {"a": 3, "b": 4, "c": 4, "d": 6, "e": 2, "f": 1, "g": 9}


@pytest.fixture
def table(tmp_path):
    return own_table(tmp_path, ROWS)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    return features(tmp_path, {name: rng.random((10, length, 5), np.float32) for name, length in LENGTHS.items()})


def own_table(tmp_path, rows):
    path = tmp_path / "own.csv"
    path.write_text(HEADER + rows)
    return path


def features(tmp_path, arrays):
    folder = tmp_path / "features"
    folder.mkdir(exist_ok=True)
    for name, values in arrays.items():
        for crop, one in enumerate(values):
            np.save(folder / f"{name}__{crop}.npy", one)
    return folder


def test_test_split(table, folder):
    dataset = Dataset.open(table, folder, feature_dim=5)
    assert dataset.name == str(table)
    assert [item.video.name for item in dataset] == ["a", "b", "c", "f"]
    assert [item.abnormal for item in dataset] == [False, True, False, True]
    assert [item.features.shape for item in dataset] == [(10, LENGTHS[name], 5) for name in "abcf"]
    assert [item.abnormal_fraction.tolist() for item in dataset] == [[0] * 3, [6 / 16, 4 / 16, 0, 4 / 16], [0] * 4, [8 / 16]]
    assert dataset.feature_dim == 5


def test_train_split(table, folder):
    dataset = Dataset.open(table, folder, split="train")
    assert [item.video.name for item in dataset] == ["d", "e", "g"]
    assert [item.abnormal for item in dataset] == [False, True, True]
    assert all(item.abnormal_fraction is None for item in dataset)
    training = TrainingSet(dataset, 4)
    assert training.features.shape == (3, 10, 4, 5) and training.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("as_file", [False, True])
def test_ground_truth_of_ones_own(tmp_path, folder, as_file):
    """It stands for the intervals, which the table then need not know."""
    table = own_table(tmp_path, "a,test,Normal,40,\nb,test,Fight,,\nc,test,,,\n")
    truth = np.zeros(16 * (3 + 4 + 4), np.float64)
    truth[[16 * 3, 16 * 7, 16 * 7 + 1]] = 1
    if as_file:
        np.save(tmp_path / "gt.npy", truth[:, None])
    dataset = Dataset.open(table, folder, ground_truth=str(tmp_path / "gt.npy") if as_file else truth)
    assert [item.abnormal_fraction.tolist() for item in dataset] == [[0] * 3, [1 / 16, 0, 0, 0], [2 / 16, 0, 0, 0]]
    assert [item.abnormal for item in dataset] == [False, True, True]


def test_ground_truth_goes_before_intervals(table, folder):
    truth = np.zeros(16 * 12)
    dataset = Dataset.open(table, folder, ground_truth=truth)
    assert not any(item.abnormal_fraction.any() for item in dataset)
    assert [item.abnormal for item in dataset] == [False, True, False, False], "a known category decides the label"


def test_ground_truth_in_another_order_than_the_table(table, folder):
    truth = np.zeros(16 * 12)
    truth[:3] = 1
    with pytest.raises(InputError) as caught:
        Dataset.open(table, folder, ground_truth=truth)
    assert str(caught.value) == (f"{table}: Normal videos with abnormal frames in the ground truth, "
                                 "expected the table's order\n  a")


def test_ground_truth_of_the_wrong_length(table, folder):
    with pytest.raises(InputError, match="has 100 frames, 92 too few: the features of 4 videos have 12 snippets"):
        Dataset.open(table, folder, ground_truth=np.zeros(100))


@pytest.mark.parametrize("content, message", [
    (None, "cannot be read (No such file or directory)"), (b"", "not a .npy file of numbers"),
    (b"text", "not a .npy file of numbers"), (np.array([None]), "not a .npy file of numbers")])
def test_ground_truth_file_that_cannot_be_read(tmp_path, table, folder, content, message):
    path = tmp_path / "gt.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(InputError) as caught:
        Dataset.open(table, folder, ground_truth=path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_ground_truth_that_is_not_known(tmp_path, folder):
    table = own_table(tmp_path, "a,test,,,\nb,test,Fight,64,\nc,test,Normal,,\nf,test,,,0-8\n")
    with pytest.raises(InputError) as caught:
        Dataset.open(table, folder)
    assert str(caught.value) == (f"{table}: test videos without ground truth, "
                                 "expected intervals or --ground-truth gt.npy\n  a\n  b")


def test_labels_that_are_not_known(tmp_path, folder):
    table = own_table(tmp_path, "a,train,,,\nb,train,Fight,,\nc,train,Normal,,\n")
    with pytest.raises(InputError) as caught:
        Dataset.open(table, folder, split="train")
    assert str(caught.value) == f"{table}: train videos without a label, expected a category\n  a"


def test_wrong_splits(table, folder, tmp_path):
    with pytest.raises(InputError, match="split 'val', expected train or test"):
        Dataset.open(table, folder, split="val")
    with pytest.raises(InputError, match="a ground truth was given for the train split"):
        Dataset.open(table, folder, split="train", ground_truth=np.zeros(16))
    with pytest.raises(InputError, match="no train videos among its 1, expected at least one"):
        Dataset.open(own_table(tmp_path, "a,test,Normal,,\n"), folder, split="train")


def test_features_are_checked_against_the_table(tmp_path, folder):
    table = own_table(tmp_path, "a,test,Normal,400,\nb,test,Normal,64,\nz,test,Normal,64,\n")
    with pytest.raises(InputError) as caught:
        Dataset.open(table, folder)
    assert str(caught.value).split("\n  ")[1:] == [
        "a: T = 3, expected 25 (give or take 2) for the table's 400 frames", "z: no feature file"]
    with pytest.raises(InputError, match="3 videos: D = 5, expected 1024"):
        Dataset.open(own_table(tmp_path, "".join(f"{name},test,Normal,,\n" for name in "abc")), folder,
                     feature_dim=1024)


def test_features_of_the_other_split_are_known_for_what_they_are(tmp_path):
    table = own_table(tmp_path, "cam,test,Normal,,\ncam_0,train,Normal,,\n")
    folder = tmp_path / "features"
    folder.mkdir()
    for name, length in (("cam", 3), ("cam_0", 4)):
        np.save(folder / f"{name}.npy", np.zeros((length, 5), np.float32))
    assert Dataset.open(table, folder)[0].features.shape == (1, 3, 5)
    assert Dataset.open(table, folder, split="train")[0].features.shape == (1, 4, 5)


def shanghaitech(tmp_path, snippets):
    videos = [video for video in load_table("shanghaitech") if video.split == "test"]
    folder = tmp_path / "shanghaitech"
    folder.mkdir()
    for video, count in zip(videos, snippets):
        np.save(folder / f"{video.name}.npy", np.zeros((count, 1), np.float32))
    return folder


def test_shanghaitech_has_its_ground_truth_in_a_timeline(tmp_path):
    """Any lengths of the right sum will do here; the true ones are those of the published features."""
    snippets = np.full(199, 44)
    snippets[:142_912 // 16 - 199 * 44] += 1
    dataset = Dataset.open("shanghaitech", shanghaitech(tmp_path, snippets))
    shares = np.concatenate([item.abnormal_fraction for item in dataset])
    assert np.array_equal(shares, bundled_timeline("shanghaitech").reshape(-1, 16).sum(1) / 16)
    assert [item.abnormal for item in dataset] == [item.abnormal_fraction.any() for item in dataset]
    assert {item.abnormal for item in dataset} == {True, False}


def test_shanghaitech_features_of_other_lengths(tmp_path):
    folder = shanghaitech(tmp_path, [40] * 199)
    with pytest.raises(InputError) as caught:
        Dataset.open("shanghaitech", folder)
    assert str(caught.value) == (
        "shanghaitech: the ground truth has 142912 frames, 15552 too many: the features of 199 videos have 7960 "
        "snippets, that is 127360 frames; for another ground truth, --ground-truth gt.npy")
    truth = np.zeros(127_360)
    truth[-1] = 1
    dataset = Dataset.open("shanghaitech", folder, ground_truth=truth)
    assert [item.abnormal for item in dataset] == [False] * 198 + [True]


def test_videos_are_dealt_out_longest_first():
    assert [part.tolist() for part in deal([7, 30, 3, 12, 20], 2)] == [[1, 2, 3], [0, 4]]
    assert [part.tolist() for part in deal([5], 3)] == [[0], [], []]
    assert deal([3, 9, 4], 1)[0].tolist() == [0, 1, 2]


def test_prefetched_gives_every_video_in_order(table, folder):
    dataset = Dataset.open(table, folder)
    given = list(dataset.prefetched())
    assert [item for item, _ in given] == list(dataset)
    for item, values in given:
        assert np.array_equal(values, item.features.read())


def test_all_features_are_checked_before_the_first_is_given(table, folder):
    for name in "bf":
        values = np.load(folder / f"{name}__7.npy")
        values[0, 2] = np.nan
        np.save(folder / f"{name}__7.npy", values)
    dataset = Dataset.open(table, folder)
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            next(dataset.prefetched())
        assert str(caught.value).split("\n  ")[1:] == ["b: b__7.npy has nan in snippet 0 (crop 7)",
                                                       "f: f__7.npy has nan in snippet 0 (crop 7)"]


def test_features_are_checked_once(table, folder, monkeypatch):
    dataset = Dataset.open(table, folder)
    calls, flaw = [], VideoFeatures.flaw
    monkeypatch.setattr(VideoFeatures, "flaw", lambda self: calls.append(self) or flaw(self))
    seen = []
    dataset.check_finite(lambda names: (seen.append(name) or name for name in names))
    list(dataset.prefetched())
    list(dataset.prefetched())
    assert seen == list("abcf")
    assert len(calls) == 4


class Recorder:
    """Features that note which thread reads them and when, and can fail."""

    def __init__(self, log, number, fails=False):
        self.shape, self.log, self.number, self.fails = (1, 1, 1), log, number, fails

    def flaw(self):
        return None

    def read(self):
        self.log.append((self.number, threading.current_thread()))
        if self.fails:
            raise InputError(f"video {self.number} is gone")
        return np.full((1, 1, 1), self.number, np.float32)


def recorded(tmp_path, count, failing=None):
    videos = load_table(own_table(tmp_path, "".join(f"v{i},test,Normal,,\n" for i in range(count))))
    log = []
    return log, Dataset("toy", [Item(video, Recorder(log, i, i == failing), False, None)
                                for i, video in enumerate(videos)])


def test_prefetched_reads_one_video_ahead_in_one_other_thread(tmp_path):
    log, dataset = recorded(tmp_path, 6)
    for number, (item, values) in enumerate(dataset.prefetched()):
        assert values.item() == number and item is dataset[number]
        assert len(log) <= number + 2, "more than one video was read ahead"
    assert [number for number, _ in log] == list(range(6))
    threads = {thread for _, thread in log}
    assert len(threads) == 1 and threading.current_thread() not in threads
    assert not threads.pop().is_alive()


def test_the_next_video_is_read_while_the_present_one_is_in_use(tmp_path):
    log, dataset = recorded(tmp_path, 2)
    begun = threading.Event()
    read = dataset[1].features.read
    dataset[1].features.read = lambda: begun.set() or read()
    iterator = dataset.prefetched()
    next(iterator)
    assert begun.wait(timeout=60)
    iterator.close()


@pytest.mark.parametrize("failing", [0, 2, 5])
def test_errors_of_the_reading_thread_come_through_at_their_video(tmp_path, failing):
    log, dataset = recorded(tmp_path, 6, failing)
    given = []
    with pytest.raises(InputError, match=f"video {failing} is gone"):
        for _, values in dataset.prefetched():
            given.append(values.item())
    assert given == list(range(failing))
    assert not any(thread.is_alive() for _, thread in log)


def test_closing_early_stops_the_thread(tmp_path):
    log, dataset = recorded(tmp_path, 6)
    iterator = dataset.prefetched()
    next(iterator)
    iterator.close()
    assert len(log) <= 2
    assert not any(thread.is_alive() for _, thread in log)
