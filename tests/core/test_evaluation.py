"""Reports: their metrics against scikit-learn on repeated frames, what is undefined, and what is saved."""
import dataclasses
import json

import numpy as np
import pytest
import sklearn.metrics

import wvad_core as wv
from wvad_core.data import Dataset, demo
from wvad_core.errors import InputError
from wvad_core.files import plain
from wvad_core.registry import specification
from wvad_core.reports.results import summarise
from wvad_core.scoring.evaluation import AT_ONE_HALF, VideoScores, describe, scored

SMALL = {"feature_dim": 8, "channels": 32, "heads": 2, "head_dim": 4, "feed_forward_dim": 8}


def video(name, scores, frames, categories=("Normal",)):
    """A video from the abnormal frames of each snippet, 0 to 16."""
    return VideoScores(name, categories, categories != ("Normal",), np.float32(scores), np.array(frames) / 16)


# The frames of a snippet count from its start; where they lie in it changes no metric.
VIDEOS = (video("a", [0.9, 0.7, 0.2], [16, 6, 0], ("Fight",)), video("b", [0.1, 0.6], [0, 0]),
          video("c", [0.3, 0.8, 0.3, 0.1], [0, 16, 3, 0], ("Fight", "Riot")), video("d", [0.05], [0]))


def random_videos(count=12):
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        snippets = rng.integers(1, 30)
        frames = rng.integers(0, 17, snippets) * (i % 2)
        made.append(video(f"v{i}", np.round(rng.random(snippets), 1) + frames / 40, frames,
                          ("Fight",) if i % 2 else ("Normal",)))
    return tuple(made)


def repeated(videos):
    """(truth, scores) of the frames themselves."""
    truth = [np.arange(16) < 16 * fraction for v in videos for fraction in v.abnormal_fraction]
    return np.concatenate(truth), np.concatenate([np.repeat(v.scores, 16) for v in videos])


def published_ap(truth, scores):
    precision, recall, _ = sklearn.metrics.precision_recall_curve(truth, scores)
    return sklearn.metrics.auc(recall, precision)


@pytest.mark.parametrize("videos", [VIDEOS, random_videos()], ids=["few", "many"])
def test_metrics_are_those_of_scikit_learn_on_frames(videos):
    found = summarise(videos, {}, replicates=2).metrics
    truth, scores = repeated(videos)
    sub_truth, sub_scores = repeated([v for v in videos if v.abnormal])
    expected = {
        "auc": sklearn.metrics.roc_auc_score(truth, scores), "ap": published_ap(truth, scores),
        "average_precision": sklearn.metrics.average_precision_score(truth, scores),
        "auc_sub": sklearn.metrics.roc_auc_score(sub_truth, sub_scores), "ap_sub": published_ap(sub_truth, sub_scores),
        "false_alarm_rate": np.mean(scores[~truth] > 0.5),
        "false_alarm_rate_abnormal": np.mean(sub_scores[~sub_truth] > 0.5),
        "false_alarm_rate_normal": np.mean(repeated([v for v in videos if not v.abnormal])[1] > 0.5),
        "video_accuracy": np.mean([(v.scores.max() > 0.5) == v.abnormal for v in videos])}
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-12)


def test_metrics_by_hand():
    """One normal and one abnormal video, whole snippets."""
    videos = video("n", [0.6, 0.1], [0, 0]), video("a", [0.4, 0.2, 0.7], [16, 0, 16], ("Fight",))
    found = summarise(videos, {}, replicates=2).metrics
    assert found["auc"] == pytest.approx(5 / 6)             # of 2 x 3 pairs of snippets only 0.4 < 0.6 is wrong
    assert found["auc_sub"] == 1 and found["ap_sub"] == 1
    assert found["ap"] == pytest.approx(0.5 + 0.5 * (1 / 2 + 2 / 3) / 2)
    assert found["average_precision"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert found["false_alarm_rate"] == pytest.approx(1 / 3)
    assert found["false_alarm_rate_normal"] == 0.5 and found["false_alarm_rate_abnormal"] == 0
    assert found["video_accuracy"] == 0.5


def test_categories():
    """A video of several categories counts in each; normal videos in none."""
    found = summarise(VIDEOS, {}, replicates=2).categories
    assert list(found) == ["Fight", "Riot"]
    for name, members in (("Fight", [VIDEOS[0], VIDEOS[2]]), ("Riot", [VIDEOS[2]])):
        truth, scores = repeated(members)
        assert found[name] == pytest.approx({"videos": len(members), "ap": published_ap(truth, scores),
                                             "auc": sklearn.metrics.roc_auc_score(truth, scores)})


ONE_CLASS = {
    "normal videos only": (VIDEOS[1::2], {"auc", "ap", "average_precision", "auc_sub", "ap_sub",
                                          "false_alarm_rate_abnormal"},
                           {"all videos": "no abnormal frame", "abnormal videos": "no such video"}),
    "abnormal frames only": ((video("a", [0.2, 0.9], [16, 16], ("Fight",)),),
                             {"auc", "auc_sub", "false_alarm_rate", "false_alarm_rate_abnormal",
                              "false_alarm_rate_normal"},
                             {"all videos": "no normal frame", "abnormal videos": "no normal frame",
                              "Fight": "no normal frame", "normal videos": "no such video"})}


@pytest.mark.parametrize("videos, undefined, reasons", ONE_CLASS.values(), ids=ONE_CLASS)
def test_what_one_class_leaves_undefined_is_nan_with_a_reason(videos, undefined, reasons):
    report = summarise(videos, {}, replicates=5)
    assert {key for key, value in report.metrics.items() if np.isnan(value)} == undefined
    assert {name: reason.split(":")[0] for name, reason in report.undefined.items()} == reasons
    written = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert {key for key, value in written["metrics"].items() if value is None} == undefined
    assert written["intervals_95"] == {"auc": [None, None], "ap": [None, None]}
    assert written["undefined"] == report.undefined
    for name, reason in report.undefined.items():
        assert f"nan for {name}: {reason}" in report.table().splitlines()


def test_intervals_are_those_of_their_seed():
    videos = random_videos()
    first, again, other = (summarise(videos, {}, replicates=50, seed=seed).intervals for seed in (1, 1, 2))
    assert first == again
    assert first != other
    found = summarise(videos, {}, replicates=200)
    for key in ("auc", "ap"):
        low, high = found.intervals[key]
        assert low < found.metrics[key] < high


def test_table():
    lines = summarise(VIDEOS, {}, replicates=20).table().splitlines()
    auc = next(line for line in lines if line.startswith("AUC  ")).split()
    truth, scores = repeated(VIDEOS)
    assert auc[1] == f"{100 * sklearn.metrics.roc_auc_score(truth, scores):.2f}"
    assert len(auc) == 5 and float(auc[2]) <= float(auc[1]) <= float(auc[4])
    assert any(line.split()[:2] == ["Riot", "1"] for line in lines)
    assert not any("nan" in line for line in lines)


def test_what_is_taken_at_one_half_is_left_out_where_scores_are_no_probabilities():
    with_them, without = (summarise(VIDEOS, {}, replicates=2, probabilities=p) for p in (True, False))
    assert set(with_them.metrics) - set(without.metrics) == set(AT_ONE_HALF)
    assert without.metrics == {key: value for key, value in with_them.metrics.items() if key not in AT_ONE_HALF}
    assert "at 0.5" in with_them.table() and "at 0.5" not in without.table() + json.dumps(without.as_dict())
    assert "no such video" in summarise(VIDEOS[:1], {}, replicates=2).undefined["normal videos"]
    assert "normal videos" not in summarise(VIDEOS[:1], {}, replicates=2, probabilities=False).undefined


@pytest.mark.parametrize("method", wv.list_methods())
def test_a_method_whose_scores_are_probabilities_keeps_them_between_0_and_1(method):
    """Weights far larger than trained ones, features too: only what is bounded by its form stays below 1."""
    spec = specification(method)
    made = wv.create(method, seed=1, **spec.DEMO.as_dict())
    made.network.weights = {name: value if name.endswith("running_var") else 20 * value
                            for name, value in made.network.weights.items()}
    features = 50 * np.random.default_rng(0).standard_normal((10 + spec.DEMO.patches, 80, spec.DEMO.feature_dim), np.float32)
    scores = made.score(features)
    assert scores.min() >= 0 and (scores.max() <= 1) == spec.PROBABILITIES


def test_save(tmp_path):
    report = summarise(VIDEOS, {"method": "m", "config": {"sizes": (1, 2)}, "seconds": np.float64(1.5)}, replicates=5)
    report.save(tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["report.json", "scores.npz"]
    written = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert written["about"] == {"method": "m", "config": {"sizes": [1, 2]}, "seconds": 1.5}
    assert written["metrics"] == report.metrics
    assert written["categories"] == report.categories
    with np.load(tmp_path / "new" / "folder" / "scores.npz") as arrays:
        assert sorted(arrays) == sorted(f"{v.name}/{name}" for v in VIDEOS for name in ("scores", "abnormal_fraction"))
        for v in VIDEOS:
            assert arrays[f"{v.name}/scores"].dtype == np.float32
            assert np.array_equal(arrays[f"{v.name}/scores"], v.scores)
            assert np.array_equal(arrays[f"{v.name}/abnormal_fraction"], v.abnormal_fraction)


def test_save_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/x: cannot be written"):
        summarise(VIDEOS, {}, replicates=2).save(tmp_path / "file" / "x")


# With a detector and a dataset.


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "own.csv").write_text("video,split,category,frames,intervals\n"
                                      "a,test,Fight,,8-40\nb,test,Normal,,\nc,test,Riot,,0-16\nd,train,Normal,,\n")
    for name, snippets in (("a", 5), ("b", 1), ("c", 3), ("d", 2)):
        np.save(tmp_path / f"{name}.npy", rng.random((snippets, 10, 8), np.float32))
    return Dataset.open(tmp_path / "own.csv", tmp_path)


@pytest.fixture
def detector():
    return wv.create("bn-wvad", seed=1, **SMALL)


def test_evaluate(detector, dataset):
    report = wv.evaluate(detector, dataset, replicates=10, about={"note": "mine"})
    assert [v.name for v in report.videos] == ["a", "b", "c"]
    for item, found in zip(dataset, report.videos):
        assert np.array_equal(found.scores, detector.score(item.features.read()))
        assert np.array_equal(found.abnormal_fraction, item.abnormal_fraction)
        assert (found.abnormal, found.categories) == (item.abnormal, item.video.categories)
    again = summarise(report.videos, {}, replicates=10, probabilities=False)
    assert not set(AT_ONE_HALF) & set(report.metrics)
    assert (report.metrics, report.intervals, report.categories) == (again.metrics, again.intervals, again.categories)
    assert report.about.pop("seconds") > 0
    assert report.about == plain(describe(detector, dataset)) | {"note": "mine"}


def test_training_videos_have_no_annotation_to_evaluate_by(detector):
    dataset = wv.data.Dataset.open("demo", demo.demo_features(), split="train")
    with pytest.raises(wv.InputError, match=f"^{dataset[0].video.name}: its frames have no annotation, expected videos of a test"):
        wv.evaluate(wv.load(demo.demo_checkpoint("saa")), dataset)


def test_describe(detector, dataset):
    about = describe(detector, dataset)
    assert about["method"] == "bn-wvad" and about["config"]["channels"] == 32
    assert (about["backend"], about["device"]) == ("numpy", "cpu")
    assert about["framework"] == {"numpy": np.__version__}
    assert set(about["versions"]) == {"wvad", "python", "numpy"}
    assert (about["videos"], about["frames"]) == (3, 16 * 9)
    assert len(about["weights_sha256"]) == 64
    assert about["weights_sha256"] != describe(wv.create("bn-wvad", seed=2, **SMALL), dataset)["weights_sha256"]


def test_scores_that_are_not_finite_name_their_video(detector, dataset):
    detector.network.weights["head.bn1.running_var"][:] = np.nan
    with pytest.raises(InputError, match="^a: the anomaly score of snippet 0 is nan, expected a finite number"):
        wv.evaluate(detector, dataset)


class Several:
    """A backend as one of two processes sees it, with scores of zero. flawed: whether the other one found a flaw."""

    def __init__(self, single, rank: int, flawed: bool):
        self.single, self.rank, self.flawed, self.scored = single, rank, flawed, 0

    def __getattr__(self, name: str):
        return getattr(self.single, name)

    def processes(self):
        return self.rank, 2

    def gather(self, array):
        other = np.array([self.flawed], np.float32)
        return [array, other] if self.rank == 0 else [other, array]

    def score(self, network, features):
        self.scored += 1
        return np.zeros(features.shape[1], np.float32)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("spoilt", ["a", "b", "c"])
@pytest.mark.parametrize("calculate", [wv.evaluate, scored])
def test_a_flaw_that_any_process_finds_is_told_by_all(tmp_path, detector, dataset, rank, spoilt, calculate):
    """Before anything is scored. Of two processes the first has videos a and b, 5 snippets and 1, the second c, 3."""
    features = np.load(tmp_path / f"{spoilt}.npy")
    features[0, 3, 2] = np.nan
    np.save(tmp_path / f"{spoilt}.npy", features)
    mine = spoilt in (("a", "b"), ("c",))[rank]
    backend = Several(detector.backend, rank, flawed=not mine)
    message = f"1 of 3 videos have features that are not finite\n  {spoilt}: {spoilt}.npy has nan"
    with pytest.raises(InputError, match=message):
        calculate(dataclasses.replace(detector, backend=backend), dataset)
    assert backend.scored == 0
