"""Protocols of evaluation: what differs between the library's and that of a method's authors, each difference by hand."""
import dataclasses
import math

import numpy as np
import pytest

import wvad_core as wv
from wvad_core.cli import command
from wvad_core.conventions import Protocol, described, differences, protocol_of
from wvad_core.data import Dataset
from wvad_core.errors import Failure
from wvad_core.registry import specification
from wvad_core.reports import report_pages
from wvad_core.reports.comparison import compare
from wvad_core.reports.results import Report
from wvad_core.scoring.evaluation import misranked_by_video

CONFIG = {"feature_dim": 8, "hidden_dims": (4, 2)}


@pytest.fixture
def dataset(tmp_path):
    """Three videos of 3, 2 and 1 snippets and two crops; the frames of the first end in its third snippet."""
    (tmp_path / "own.csv").write_text("video,split,category,frames,intervals\na,test,Fight,43,9-20\nb,test,Normal,33,\n"
                                      "c,test,Riot,20,0-18\n")
    rng = np.random.default_rng(0)
    for name, snippets in (("a", 3), ("b", 2), ("c", 1)):
        np.save(tmp_path / f"{name}.npy", rng.random((snippets, 2, 8), np.float32))
    return Dataset.open(tmp_path / "own.csv", tmp_path)


@pytest.fixture
def detector():
    return wv.create("rtfm", seed=1, **CONFIG)


@pytest.fixture
def published(monkeypatch):
    """published(protocol, ...): the protocols of the method of these tests, {dataset: protocol}, for the test."""
    def put(**protocols: Protocol) -> None:
        monkeypatch.setattr(specification("rtfm"), "PROTOCOLS", {"" if name == "others" else name: p for name, p in protocols.items()})

    return put


def given(values):
    """snippet_scores that give these in turn, whatever the features."""
    left = iter(values)
    return lambda score, features: np.array(next(left))


SCORES = ([0.1, 0.5, 0.5], [0.5, 0.2], [0.5])


def annotated(video, snippets):
    """Both ends counted, from frame 1, of the frames that the table says."""
    labels = np.zeros(video.frames, bool)
    for start, end in video.intervals:
        labels[start - 1 if start else 0:end] = True
    return labels


def frames_by_hand():
    """Labels and scores of the 43 + 33 + 20 frames: those behind the last whole snippet have its score."""
    a = np.zeros(43, bool)
    a[8:20] = True
    c = np.zeros(20, bool)
    c[:18] = True
    labels = [a, np.zeros(33, bool), c]
    scores = [np.repeat([0.1, 0.5, 0.5], [16, 16, 11]), np.repeat([0.5, 0.2], [16, 17]), np.full(20, 0.5)]
    return np.concatenate(labels), np.concatenate(scores)


def in_order(labels, scores):
    """Area under the curve with a point for each frame, equal scores in their order."""
    labels = labels[np.argsort(-scores, kind="stable")]
    return (np.cumsum(labels) * ~labels).sum() / (labels.sum() * (~labels).sum())


def test_uniform_is_the_default_and_what_a_protocol_without_differences_gives(dataset, detector, published):
    published(others=Protocol())
    first, same = wv.evaluate(detector, dataset, 5), wv.evaluate(detector, dataset, 5, protocol="published")
    assert (first.about["protocol"], same.about["protocol"]) == ("uniform", "published")
    assert first.metrics == same.metrics and first.intervals == same.intervals
    assert first.about["frames"] == same.about["frames"] == 96


def test_frames_of_the_table_scores_and_truth_of_the_authors(dataset, detector, published, tmp_path):
    published(own=Protocol(), others=Protocol(snippet_scores=given(SCORES), frame_labels=annotated, metrics={"auc": in_order}))
    report = wv.evaluate(detector, dataset, 5, protocol="published")
    labels, scores = frames_by_hand()
    assert report.about["frames"] == 96 and [v.frames for v in report.videos] == [43, 33, 20]
    assert [v.weights.tolist() for v in report.videos] == [[16, 16, 11], [16, 17], [20]]
    assert [(v.weights * v.abnormal_fraction).tolist() for v in report.videos] == [[8, 4, 0], [0, 0], [18]]
    for name, function in (("auc", wv.metrics.roc_auc), ("ap", wv.metrics.pr_auc), ("false_alarm_rate", wv.metrics.false_alarm_rate)):
        assert report.metrics[name] == pytest.approx(function(labels, scores), rel=1e-12)
    # Of 66 normal frames 49 have 0.5: 7 + 12 in a, 4 abnormal ones before them; 16 in b; 2 in c, all 22 before them.
    ordered = (12 * 4 + 11 * 4 + 16 * 4 + 2 * 22 + 17 * 22 + 8 * 22) / (30 * 66)
    assert in_order(labels, scores) == pytest.approx(ordered, rel=1e-12)
    assert report.metrics["published_auc"] == pytest.approx(ordered, rel=1e-12)
    assert report.categories["Fight"]["auc"] == pytest.approx(wv.metrics.roc_auc(labels[:43], scores[:43]), rel=1e-12)
    assert f"AUC as its authors take it{100 * ordered:>25.2f}" in report.table()
    report.save(tmp_path / "saved")
    loaded = Report.load(tmp_path / "saved")
    assert loaded.metrics == report.metrics and [v.frames for v in loaded.videos] == [43, 33, 20]


def test_metrics_by_name_and_the_false_alarms_of_normal_videos(dataset, detector, published):
    published(others=Protocol(snippet_scores=given(SCORES), metrics={
        "ap": "average_precision", "false_alarm_rate": lambda labels, scores: float(np.mean(scores >= 0.5))}))
    found = wv.evaluate(detector, dataset, 5, protocol="published").metrics
    assert found["published_ap"] == found["average_precision"] != found["ap"]
    assert found["published_false_alarm_rate"] == 0.5 and found["false_alarm_rate_normal"] == 0


def test_settings_of_the_authors(dataset, detector, published):
    """The same weights, other settings, of the dataset's own protocol."""
    published(others=Protocol(), **{dataset.name: Protocol({"margin": 7.0})})
    report = wv.evaluate(detector, dataset, 5, protocol="published")
    assert report.about["config"]["margin"] == 7 and detector.config.margin == 100
    assert report.about["weights_sha256"] == wv.evaluate(detector, dataset, 5).about["weights_sha256"]
    published(others=Protocol({"hidden_dims": (8, 2)}))
    with pytest.raises(wv.InputError, match="weights with hidden_dims changed: "):
        wv.evaluate(detector, dataset, 5, protocol="published")


def test_which_protocol_counts(published):
    own, others = Protocol(), Protocol()
    published(**{"ucf-crime": own}, others=others)
    assert protocol_of("rtfm", "ucf-crime", "published") is protocol_of("rtfm", "ucf_crime", "published") is own
    assert protocol_of("rtfm", "own.csv", "published") is others
    assert protocol_of("rtfm", "ucf-crime", "uniform") not in (own, others)
    published(**{"ucf-crime": own})
    with pytest.raises(wv.InputError, match="^rtfm: its authors' protocol on own.csv is not known .known: ucf-crime., expected the uniform"):
        protocol_of("rtfm", "own.csv", "published")
    with pytest.raises(wv.InputError, match="^unknown protocol 'theirs', expected uniform or published$"):
        protocol_of("rtfm", "ucf-crime", "theirs")


def test_differences_in_words(published):
    published(**{"ucf-crime": Protocol({"crop": 5}, metrics={"ap": "average_precision"}, note="one crop"), "xd-violence": Protocol()})
    rows = [row for row in differences() if row[0] == "rtfm"]
    assert rows == [("rtfm", "ucf-crime", "one crop; crop = 5; ap by average_precision"),
                    ("rtfm", "xd-violence", "as the uniform protocol")]


@pytest.mark.parametrize("method", wv.list_methods())
def test_every_method_says_how_its_authors_evaluate_it(method):
    spec = specification(method)
    assert spec.PROTOCOLS, f"{method}: PROTOCOLS of its specification, as wvad_core/conventions.py has them"
    assert all(isinstance(found, Protocol) and described(found) for found in spec.PROTOCOLS.values())
    for found in spec.PROTOCOLS.values():
        dataclasses.replace(spec.Config(), **found.settings)
        assert all(callable(by if callable(by) else getattr(wv.metrics, by)) for by in found.metrics.values())
    for dataset in {*spec.RECIPES, *(spec.PAPER.results if spec.PAPER else {})} - {"demo"}:
        protocol_of(method, dataset, "published")


def test_a_table_without_the_intervals_that_the_authors_count(tmp_path, detector, published):
    """The ground truth may be known as one timeline alone."""
    (tmp_path / "own.csv").write_text("video,split,category,frames,intervals\na,test,Fight,30,\n")
    np.save(tmp_path / "a.npy", np.ones((2, 8), np.float32))
    published(others=Protocol(frame_labels=annotated))
    dataset = Dataset.open(tmp_path / "own.csv", tmp_path, ground_truth=np.arange(32) < 9)
    with pytest.raises(wv.InputError, match="^a: no abnormal frame by the table, which the published protocol counts by, expected its"):
        wv.evaluate(detector, dataset, 2, protocol="published")


@pytest.mark.parametrize("protocol, message", [
    (Protocol(snippet_scores=lambda score, features: score(features)[1:]), r"gave scores \(2,\) of 3 snippets, expected one for each"),
    (Protocol(frame_labels=lambda video, snippets: np.zeros(3)), r"^a: the protocol's labels of frames are float64 \(3,\), expected bool")])
def test_protocols_that_go_wrong(protocol, message, dataset, detector, published):
    published(others=protocol)
    with pytest.raises(Failure, match=message):
        wv.evaluate(detector, dataset, 5, protocol="published")


def test_no_normal_video_has_no_false_alarms(tmp_path, detector, published):
    (tmp_path / "own.csv").write_text("video,split,category,frames,intervals\na,test,Fight,,9-20\n")
    np.save(tmp_path / "a.npy", np.ones((2, 8), np.float32))
    published(others=Protocol(metrics={"false_alarm_rate": "false_alarm_rate"}))
    found = wv.evaluate(detector, Dataset.open(tmp_path / "own.csv", tmp_path), 2, protocol="published")
    assert math.isnan(found.metrics["published_false_alarm_rate"])


def test_reports_of_different_protocols_are_compared_with_a_warning(dataset, detector, published, caplog):
    """Their frames may differ; those of one protocol may not."""
    published(others=Protocol(frame_labels=annotated))
    uniform, theirs = wv.evaluate(detector, dataset, 5), wv.evaluate(detector, dataset, 5, protocol="published")
    compared = compare([uniform, theirs, uniform], ["a", "b", "c"], 20)
    assert caplog.messages == ["reports of different protocols are compared: a uniform, b published, c uniform; differences may be "
                               "those of the protocols"]
    first, second, third = compared.table().splitlines()[:3]
    assert second == f"{first.replace('[1]  a', '[2]  b')}, published protocol" and "protocol" not in first + third
    difference = compared.differences[0]["auc"].value
    assert difference == pytest.approx(theirs.metrics["auc"] - uniform.metrics["auc"]) and difference != 0
    shown = report_pages.of_comparison(compared)
    assert shown.note.splitlines()[1].endswith(", published protocol") and report_pages.of_report(theirs).note.endswith(" protocol")
    theirs.videos[0].abnormal_fraction[:] = 1
    caplog.clear()
    with pytest.raises(wv.InputError, match="^d: video a has other abnormal frames than in c"):
        compare([theirs, wv.evaluate(detector, dataset, 5, protocol="published")], ["c", "d"], 5)
    assert not caplog.messages


def test_curves_are_of_the_frames_that_count(dataset, detector, published):
    published(others=Protocol(snippet_scores=given(SCORES), frame_labels=annotated))
    report = wv.evaluate(detector, dataset, 5, protocol="published")
    labels, scores = frames_by_hand()
    roc, recall = report_pages.of_report(report).plots
    expected = wv.metrics.roc_curve(labels, scores), wv.metrics.precision_recall_curve(labels, scores)
    assert np.allclose(roc.lines[0][1:], expected[0][:2]) and np.allclose(recall.lines[0][1:], (expected[1][1], expected[1][0]))
    assert recall.chance[2] == pytest.approx((30 / 96, 30 / 96))
    wrong = wv.metrics.misranked_fraction(labels, scores)
    assert misranked_by_video(report.videos) == pytest.approx([wrong[:43].mean(), wrong[43:76].mean(), wrong[76:].mean()])
    bounds = wv.metrics.bootstrap_intervals(labels, scores, None, np.repeat([0, 1, 2], [43, 33, 20]), 5)
    assert report.intervals == {key: pytest.approx(bound) for key, bound in bounds.items()}


def test_the_command(dataset, detector, published, tmp_path, capsys):
    detector.save(tmp_path / "w.safetensors")
    words = ["test", "--backend", "numpy", "--dataset", dataset.name, "--features", str(tmp_path), "--checkpoint",
             str(tmp_path / "w.safetensors"), "--protocol"]
    published(others=Protocol(note="the frames of the table", frame_labels=annotated, metrics={"ap": "average_precision"}))
    command.main([*words, "uniform"])
    assert "\nprotocol    uniform\n" in capsys.readouterr().out
    command.main([*words, "published"])
    out = capsys.readouterr().out
    assert "\nprotocol    published: the frames of the table; ap by average_precision\n" in out
    assert "\nAP as its authors take it " in out and f"{dataset.name}, 3 test videos, 96 frames\n" in out
    np.save(tmp_path / "truth", np.zeros(96))
    with pytest.raises(wv.InputError, match="truth.npy: rtfm's authors count the frames of the table, expected no other ground"):
        command.main([*words, "published", "--ground-truth", str(tmp_path / "truth.npy")])
