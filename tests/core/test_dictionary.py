"""`wvad dictionary`: dictionaries of normal training videos, against scikit-learn's own way, and by hand."""
import sys

import numpy as np
import pytest
from test_dataset import features, own_table

from wvad_core.cli.command import main
from wvad_core.data import Dataset, dictionary
from wvad_core.data.dictionary import averages, encoded, learn_dictionary, published_ratio
from wvad_core.errors import InputError

TABLE = "".join(f"n{number},train,Normal,,\n" for number in range(5)) + "f,train,Fight,,\nt,test,Normal,16,\n"


def arrays(crops: int = 2, dim: int = 40) -> dict[str, np.ndarray]:
    """Features (N, T, D) of all videos, the abnormal one's of another size than the others'."""
    rng = np.random.default_rng(0)
    found = {f"n{number}": rng.random((crops, 30 + 3 * number, dim), np.float32) for number in range(5)}
    return found | {"f": 1e6 + rng.random((crops, 9, dim), np.float32), "t": rng.random((crops, 1, dim), np.float32)}


@pytest.fixture
def folder(tmp_path):
    own_table(tmp_path, TABLE)
    features(tmp_path, arrays())
    return tmp_path


def opened(folder) -> Dataset:
    return Dataset.open(next(folder.glob("*.csv")), features_of(folder), "train")


def features_of(folder):
    return next(path for path in folder.iterdir() if path.is_dir())


def pursuit(x: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Two steps of orthogonal matching pursuit of one sample (V,): the atom that fits best, then all chosen ones anew."""
    chosen, code, rest = [], np.zeros(len(components)), x
    for _ in range(2):
        chosen.append(int(np.abs(components @ rest).argmax()))
        best = np.linalg.lstsq(components[chosen].T, x, rcond=None)[0]
        rest = x - best @ components[chosen]
    code[chosen] = best
    return code


def test_it_is_the_fit_of_scikit_learn():
    """Of 1600 channels, 100 mini-batches of 32 are two of its epochs: a number that max_iter can say."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    samples = np.random.default_rng(1).random((1600, 30))
    samples[5] = 0  # a channel that never was active
    fitted = MiniBatchDictionaryLearning(12, alpha=1, max_iter=2, batch_size=32, fit_algorithm="lars", random_state=42, tol=0,
                                         max_no_improvement=None).fit(samples)
    assert fitted.n_steps_ == 100
    found = encoded(samples, 12)
    assert found.shape == (12, 1600) and found.dtype == np.float32
    assert ((found != 0).sum(0) <= 2).all() and not found[:, 5].any() and (found != 0).sum() > 3000
    for channel in range(0, 1600, 40):
        np.testing.assert_allclose(found[:, channel], pursuit(samples[channel], fitted.components_), rtol=1e-5, atol=1e-6)


def test_numbers_are_the_same_each_time_and_nobody_elses_move():
    samples = np.random.default_rng(2).random((70, 9))
    np.random.seed(3)
    state, before = repr(np.random.get_state()), samples.copy()
    first = encoded(samples, 5)
    assert np.array_equal(encoded(samples, 5), first) and repr(np.random.get_state()) == state
    assert np.array_equal(samples, before)


def test_averages_over_crops_and_segments(folder):
    """By hand: 32 segments of T = 30 to 42 snippets, borders int(s T / 32), an empty one its border's snippet."""
    found = averages(opened(folder))
    assert found.shape == (40, 6)
    for video, values in enumerate(list(arrays().values())[:6]):
        mean, count = values.astype(np.float64).mean(0), values.shape[1]
        borders = [s * count // 32 for s in range(33)]
        segments = [mean[start:max(end, start + 1)].mean(0) for start, end in zip(borders, borders[1:])]
        np.testing.assert_allclose(found[:, video], np.mean(segments, 0), rtol=1e-6)


def test_normal_training_videos_alone_make_it(folder):
    normal = averages(opened(folder))[:, :5]
    assert normal.max() < 1e3
    for ratio, atoms in ((0.5, 2), (0.7, 4), (1.0, 5)):  # round(2.5), round(3.5), to even
        made = learn_dictionary(opened(folder), ratio)
        assert made.shape == (atoms, 40) and np.array_equal(made, encoded(normal, atoms))


def test_the_published_ratios():
    assert [round(published_ratio(name) * count) for name, count in (("shanghaitech", 175), ("ucf_crime", 800))] == [158, 400]
    assert published_ratio("ucf-crime", 0.25) == 0.25


@pytest.mark.parametrize("words, message", [
    ([], "has no published ratio of atoms to normal videos, expected one; published: 0.9 for shanghaitech, 0.5 for ucf-crime"),
    (["--ratio", "1.5"], "ratio 1.5, expected a number above 0 and at most 1"), (["--ratio", "nan"], "ratio nan, expected"),
    (["--ratio", "0.2"], "5 normal training videos make 1 atoms, expected 2 or more"),
    (["--ratio", "1", "--output", "x.npz"], "x.npz: expected a name that ends in .npy"),
    (["--ratio", "1", "--features", "none"], "none")])
def test_what_the_command_refuses(folder, words, message, monkeypatch):
    monkeypatch.chdir(folder)
    given = ["--dataset", str(next(folder.glob("*.csv"))), "--features", str(features_of(folder)), "--output", "x.npy"]
    with pytest.raises(InputError, match=message.replace(".", r"\.")) as caught:
        main(["dictionary", *given, *words])
    assert "\n" not in str(caught.value) and not list(folder.glob("*x.np*"))


def test_features_are_needed_and_checked(folder):
    with pytest.raises(InputError, match="dataset ucf-crime needs --features; only demo has its own"):
        main(["dictionary", "--dataset", "ucf-crime", "--output", "x.npy"])
    file = next(features_of(folder).glob("n3*"))
    values = np.load(file)
    values[..., 0, 0] = np.nan
    np.save(file, values)
    with pytest.raises(InputError, match="1 of 5 videos have features that are not finite\n  n3: .*nan in snippet 0"):
        learn_dictionary(opened(folder), 1)


def test_without_scikit_learn(folder, monkeypatch):
    """One line, before any features are read."""
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    monkeypatch.setattr(dictionary, "averages", None)
    message = "a dictionary is learnt by scikit-learn, which cannot be imported: pip install scikit-learn"
    with pytest.raises(InputError, match=f"^{message}$"):
        learn_dictionary(opened(folder), 1)
    with pytest.raises(InputError, match=f"^{message}$"):
        main(["dictionary", "--dataset", "ucf-crime", "--features", "none", "--output", "x.npy"])


def test_the_command(folder, capsys, monkeypatch):
    """It says what it has made, and writes it whole or not at all."""
    table, path = next(folder.glob("*.csv")), folder / "made" / "own.npy"
    words = ["dictionary", "--dataset", str(table), "--features", str(features_of(folder)), "--ratio", "0.9", "--output", str(path)]
    main(words)
    assert capsys.readouterr().out == f"4 atoms of D = 40, 0.9 for each normal training video of {table}\nwritten {path}\n"
    made = np.load(path)
    assert np.array_equal(made, learn_dictionary(opened(folder), 0.9)) and [file.name for file in path.parent.iterdir()] == ["own.npy"]
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Exception, match="own.npy: cannot be written"):
        main(words)
    assert np.array_equal(np.load(path), made) and len(list(path.parent.iterdir())) == 1
