"""Arrays that belong to a dataset: what is taken, what is refused, where they go."""
import copy
import pickle

import numpy as np
import pytest
from test_dataset import features, own_table

from wvad_core.data import Dataset, TrainingSet, companions_sha256, parse_companions
from wvad_core.data.companions import read_companions
from wvad_core.errors import InputError

TEXTS = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def opened(tmp_path):
    table = own_table(tmp_path, "d,train,Normal,,\ne,train,Fight,,\ng,train,Fight,,\n")
    folder = features(tmp_path, {name: np.ones((1, 4, 5), np.float32) for name in "deg"})
    return lambda **companions: Dataset.open(table, folder, "train", companions=companions)


def test_arrays_and_files_reach_every_batch(tmp_path, opened):
    path = tmp_path / "prompts.npy"
    np.save(path, TEXTS)
    dataset = opened(prompts=str(path), exact=TEXTS, counts=[1, 2])
    assert {name: (value.dtype, value.shape) for name, value in dataset.companions.items()} == {
        "prompts": (np.float32, (2, 3)), "exact": (np.float64, (2, 3)), "counts": (np.int64, (2,))}
    training = TrainingSet(dataset, 2)
    for batch in (training.batch(0, 1, 0), training.batch(3, 3, 0, batches="items"), training.batch(0, 2, 0, rank=1, ranks=2)):
        assert np.array_equal(batch.companion("prompts"), TEXTS) and set(batch.companions) == {"prompts", "exact", "counts"}
    assert dataset.dealt(0, 2).companions.keys() == dataset.companions.keys()
    assert opened().companions == {} and TrainingSet(opened(), 2).batch(0, 1, 0).companions == {}


def test_they_stay_as_they_were_given(opened):
    mine = TEXTS.copy()
    dataset = opened(texts=mine)
    mine[:] = -1
    assert np.array_equal(dataset.companions["texts"], TEXTS) and mine.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        dataset.companions["texts"][0] = 1
    for other in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert np.array_equal(other.companions["texts"], TEXTS)


@pytest.mark.parametrize("given, message", [
    (np.array([1, np.nan]), r"companion t: has nan at \[1\], expected finite numbers"),
    (np.array([[1.0, 1e39]]), None), (np.array([[1.0, np.inf]]), r"has inf at \[0, 1\]"),
    (np.zeros((0, 3)), r"has shape \(0, 3\), expected values"), (["a"], "is of type <U1, expected numbers such as float32"),
    (np.array([True]), "is of type bool"), ([[1], [1, 2]], "companion t: no array of numbers")])
def test_what_is_refused(given, message):
    if message is None:
        assert read_companions({"t": given})["t"].dtype == np.float64
        return
    with pytest.raises(InputError, match=message):
        read_companions({"t": given})


@pytest.mark.parametrize("content, message", [
    (None, "cannot be read (No such file or directory)"), (b"", "not a .npy file of numbers"), (b"text", "not a .npy file"),
    (np.array([None]), "not a .npy file of numbers"), (np.array([1e39]), "has 1e+39 at [0], expected finite numbers")])
def test_files_that_are_refused(tmp_path, opened, content, message):
    path = tmp_path / "t.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(InputError) as caught:
        opened(texts=path)
    assert str(caught.value).startswith(f"companion texts: {path}: {message}") and "\n" not in str(caught.value)


def test_words_of_the_command_line():
    assert parse_companions(["prompts=a=b.npy", "dictionary=d.npy"]) == {"prompts": "a=b.npy", "dictionary": "d.npy"}
    for word in ("prompts", "=a.npy", "prompts="):
        with pytest.raises(InputError, match=f"companion '{word}': expected NAME=FILE"):
            parse_companions([word])
    with pytest.raises(InputError, match="companion a is given twice"):
        parse_companions(["a=1.npy", "a=2.npy"])


def test_their_hash_is_of_names_and_values():
    one = {"a": TEXTS, "b": TEXTS + 1}
    assert companions_sha256({}) is None
    assert companions_sha256(one) == companions_sha256(dict(reversed(one.items())))
    others = [{"a": TEXTS}, {"b": TEXTS, "a": TEXTS + 1}, {"a": TEXTS.T, "b": TEXTS + 1}, {"a": TEXTS, "b": TEXTS + 2},
              {"a": TEXTS.astype(np.float32), "b": TEXTS + 1}]
    assert len({companions_sha256(each) for each in (one, *others)}) == 6
