"""Classes of anomalies: their segments in tables, what reports say of them, and where that is shown."""
import dataclasses
import json

import numpy as np
import pytest
import sklearn.metrics

import wvad_core as wv
from wvad_core.cli import command
from wvad_core.data import Dataset, load_table
from wvad_core.data.segment_classes import class_segments
from wvad_core.reports import comparison, figures, pictures, report_pages
from wvad_core.reports.results import Report, summarise
from wvad_core.scoring import detection
from wvad_core.scoring.class_metrics import class_aucs, confusion
from wvad_core.scoring.evaluation import VideoScores, scored

NAMES = ("Normal", "Fight", "Riot")


# Segments of tables.


def test_segments_of_ucf_crime_are_its_intervals_with_the_videos_category():
    table = load_table("ucf-crime")
    found = class_segments("ucf-crime", table)
    assert found["Arson011"] == (("Arson", 150, 420), ("Arson", 680, 1267))
    assert found["Normal_Videos_944"] == () and "Abuse001" not in found  # a training video
    assert {name: [of[1:] for of in segments] for name, segments in found.items() if segments} == {
        video.name: list(video.intervals) for video in table if video.intervals}


def test_segments_of_xd_violence_have_classes_of_their_own():
    """Their union is the table's ground truth, but for 5 videos; each normal video is one segment."""
    table = {video.name: video for video in load_table("xd-violence")}
    found = {name: of for name, of in class_segments("xd_violence", list(table.values())).items() if table[name].split == "test"}
    assert sum(map(len, found.values())) == 1572
    assert len(found) == 800 and all(found.values())
    assert found["Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6"][:2] == (("B2", 157, 180), ("G", 185, 244))
    others = []
    for name, segments in found.items():
        if table[name].category == "Normal":
            (category, start, end), = segments
            assert (category, start) == ("Normal", 0) and abs(end - table[name].frames) <= 16
        else:
            assert {category for category, _, _ in segments} <= {"B1", "B2", "B4", "B5", "B6", "G"}
            frames = [np.zeros(1 + max(end for _, _, end in segments) + table[name].frames, bool) for _ in range(2)]
            for drawn, spans in zip(frames, ([of[1:] for of in segments], table[name].intervals)):
                for start, end in spans:
                    drawn[start:end] = True
            others += [] if np.array_equal(*frames) else [name]
    assert len(others) == 5


def own_table(folder, segments=None):
    """A table of four test videos, of 3, 2, 2 and 4 snippets, with features, and a file of class segments."""
    (folder / "own.csv").write_text("video,split,category,frames,intervals\na,test,Fight,,8-40\nb,test,Normal,,\n"
                                    "c,test,Riot-Fight,,0-16\nd,test,Riot,,4-20 30-64\ne,train,Riot,,\n")
    rng = np.random.default_rng(0)
    for name, snippets in (("a", 3), ("b", 2), ("c", 2), ("d", 4), ("e", 1)):
        np.save(folder / f"{name}.npy", rng.standard_normal((snippets, 2, 8)).astype(np.float32))
    if segments is not None:
        (folder / "own_class_segments.csv").write_text("video,category,start,end\n" + segments)
    return folder / "own.csv"


def test_segments_of_a_table_of_ones_own(tmp_path):
    table = own_table(tmp_path)
    found = {item.video.name: item.class_segments for item in Dataset.open(table, tmp_path)}
    assert found == {"a": (("Fight", 8, 40),), "b": (), "c": (("Riot", 0, 16), ("Fight", 0, 16)),
                     "d": (("Riot", 4, 20), ("Riot", 30, 64))}
    own_table(tmp_path, "c,Riot,0,12\nc,Fight,8,16\n\nb,Normal,0,32\n")
    found = {item.video.name: item.class_segments for item in Dataset.open(table, tmp_path)}
    assert found == {"a": (), "b": (("Normal", 0, 32),), "c": (("Riot", 0, 12), ("Fight", 8, 16)), "d": ()}
    assert all(item.class_segments is None for item in Dataset.open(table, tmp_path, "train"))


@pytest.mark.parametrize("segments, message", [
    ("c,Riot,0,12\ncc,Riot,0,1\n", "line 3: video 'cc', expected one of own.csv (did you mean c?)"),
    ("c,,0,12\n", "line 2: no name in the column category"),
    ("c,Riot,12,12\n", "line 2: from '12' to '12', expected frames with start < end"),
    ("c,Riot,-1,12\n", "line 2: from '-1' to '12', expected frames with start < end"),
    ("c,Riot,0\n", "line 2: 3 cells, expected 4: video,category,start,end")])
def test_files_of_segments_that_are_refused(segments, message, tmp_path):
    with pytest.raises(wv.InputError) as raised:
        Dataset.open(own_table(tmp_path, segments), tmp_path)
    assert str(raised.value) == f"{tmp_path}/own_class_segments.csv, {message}"
    (tmp_path / "own_class_segments.csv").write_text("video,class,start,end\n")
    with pytest.raises(wv.InputError, match="the columns are video,class,start,end, expected video,category,start,end"):
        Dataset.open(tmp_path / "own.csv", tmp_path)


# What a report says, of three videos by hand and of many against scikit-learn.


def video(name, categories, probabilities, *segments, known=True):
    probabilities = np.array(probabilities, np.float32)
    fraction = np.zeros(len(probabilities))
    fraction[:1] = "Normal" not in categories
    return VideoScores(name, categories, "Normal" not in categories, np.float32(1 - probabilities[:, 0]), fraction, None, None,
                       probabilities, segments if known else None)


VIDEOS = (video("n", ("Normal",), [[.8, .1, .1], [.6, .3, .1]]),
          video("f", ("Fight",), [[.2, .7, .1], [.5, .2, .3], [.9, 0, .1]], ("Fight", 0, 24), ("Fire", 40, 44)),
          video("r", ("Riot", "Fight"), [[.4, .5, .1], [.1, .3, .6]], ("Riot", 8, 32), ("Fight", 0, 16), ("Riot", 16, 40)))


def test_the_area_of_a_class_is_that_of_its_segments_frames_against_all_others():
    """Segments of one class are drawn together and end with the video; Normal are the frames of no segment."""
    found = class_aucs(VIDEOS, NAMES)
    fight, riot, other = (np.zeros(7 * 16, bool) for _ in range(3))
    fight[32:56] = fight[80:96] = True
    riot[88:112] = other[72:76] = True
    probabilities = np.repeat(np.concatenate([v.class_probabilities for v in VIDEOS]), 16, 0)
    for column, (name, truth) in enumerate(zip(NAMES, (~(fight | riot | other), fight, riot))):
        assert found[name]["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(truth, probabilities[:, column]), rel=1e-12)
    assert [of["segments"] for of in found.values()] == [0, 2, 2]


def test_predicted_classes_of_videos():
    """By the mean of the T // 16 + 1 highest: 1 of 15 snippets, 2 of 16. A video of two categories is in both rows."""
    assert confusion(VIDEOS, NAMES).tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 1]]
    probabilities = np.full((16, 3), [.5, .3, .2])
    probabilities[3] = [.3, .65, .05]
    of_15, of_16 = (confusion([video("x", ("Riot",), probabilities[:snippets])], NAMES) for snippets in (15, 16))
    assert of_15.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]  # .65 against .5
    assert of_16.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]  # .475 against .5


def reported(videos=VIDEOS, names=NAMES, **about):
    return summarise(videos, {"classes": names} | about, 5)


def test_a_report_has_the_classes():
    report = reported()
    assert list(report.classes) == list(NAMES) and report.classes == class_aucs(VIDEOS, NAMES)
    expected = detection.mean_average_precision(
        [v.class_probabilities for v in VIDEOS], [[], [(1, 0, 24)], [(2, 8, 32), (1, 0, 16), (2, 16, 40)]])
    assert report.detection == expected and 0 < expected["average"] < 1
    lines = report.table().splitlines()
    assert [line.split() for line in lines if line.startswith("Riot ")][1] == ["Riot", "2", f"{100 * report.classes['Riot']['auc']:.2f}"]
    place = next(i for i, line in enumerate(lines) if line.startswith("temporal detection, mAP at IoU"))
    assert lines[place].split()[-6:] == list(expected) == [*(f"0.{i}" for i in range(1, 6)), "average"]
    assert lines[place + 1].split() == [f"{100 * value:.2f}" for value in expected.values()]


@pytest.mark.parametrize("videos, names, reason", [
    (VIDEOS[:2] + (video("r", ("Riot",), [[.1, .1, .8]], known=False),), NAMES, "the segments of r are not known"),
    (VIDEOS, ("Normal", "Abuse", "Arson"), "no segment of any of them")])
def test_classes_that_cannot_be_evaluated(videos, names, reason):
    report = reported(videos, names)
    assert report.classes == report.detection == {} and report.undefined["classes"] == reason
    assert f"nan for classes: {reason}" in report.table()


def test_a_class_without_frames_has_no_area():
    report = reported(VIDEOS[:2])
    assert np.isnan(report.classes["Riot"]["auc"]) and report.undefined["class Riot"] == "no frame of it, or of anything else"


def test_reports_with_classes_are_saved_and_loaded(tmp_path):
    report = reported(VIDEOS[:2])
    report.save(tmp_path / "run")
    loaded = Report.load(tmp_path / "run")
    assert loaded.table() == report.table() and loaded.detection == report.detection
    for ours, theirs in zip(loaded.videos, report.videos):
        assert np.array_equal(ours.class_probabilities, theirs.class_probabilities)
        assert ours.class_segments == theirs.class_segments
    with np.load(tmp_path / "run" / "scores.npz") as arrays:
        assert arrays["f/class_probabilities"].shape == (3, 3) and arrays["f/class_probabilities"].dtype == np.float32


def test_a_report_from_before_there_were_classes(tmp_path):
    plain = [dataclasses.replace(v, class_probabilities=None, class_segments=None) for v in VIDEOS]
    report = summarise(plain, {}, 5)
    assert report.classes == report.detection == {}
    old = {key: value for key, value in report.as_dict().items() if key not in ("classes", "detection")}
    lines = [{"name": v.name, "categories": v.categories, "abnormal": v.abnormal, "frame_rate": None} for v in plain]
    comparison.storage.write(tmp_path, old | {"videos": lines},
                             {f"{v.name}/{key}": getattr(v, key) for v in plain for key in ("scores", "abnormal_fraction")})
    loaded = Report.load(tmp_path)
    assert loaded.metrics == report.metrics and loaded.classes == {} and loaded.videos[0].class_probabilities is None


@pytest.mark.parametrize("probabilities", [np.ones((2, 3)), np.ones(3), np.full((3, 3), np.nan), np.ones((3, 3), int)])
def test_arrays_that_are_no_class_probabilities(probabilities, tmp_path):
    bad = dataclasses.replace(VIDEOS[1], class_probabilities=probabilities)
    dataclasses.replace(reported(), videos=(VIDEOS[0], bad, VIDEOS[2])).save(tmp_path)
    with pytest.raises(wv.InputError, match="report.json: damaged, not what Report.save writes .f: class probabilities"):
        Report.load(tmp_path)


# Where they are shown.


def test_the_picture_of_predicted_classes(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text

    report = reported(VIDEOS + (dataclasses.replace(VIDEOS[0], name="m", class_probabilities=VIDEOS[1].class_probabilities[:2]),))
    figure = figures.confusion(report)
    figure.draw_without_rendering()
    drawn, = figure.axes[0].get_images()
    counts = confusion(report.videos, NAMES)
    assert np.allclose(drawn.get_array(), counts / counts.sum(1, keepdims=True)) and counts[0].tolist() == [1, 1, 0]
    shown = [text.get_text() for text in figure.findobj(Text)]
    assert "Normal (2)" in shown and "Fight (2)" in shown and shown.count("50") == 2 + 2 * (counts[1].max() == 1)
    assert pictures.draw(report, tmp_path) == 8 and (tmp_path / "confusion.png").is_file()


def test_pages_and_comparisons_show_the_classes():
    report, other = reported(method="m"), reported(VIDEOS, ("Normal", "Riot", "Fight"), method="o")
    tables = {table.title: table for table in report_pages.of_report(report).tables}
    aucs, found = tables["AUC of a class, by its probability"], tables["Temporal detection, mAP at IoU"]
    assert aucs.rows == [[name, f"{100 * of['auc']:.2f}"] for name, of in report.classes.items()]
    assert found.rows == [[iou, f"{100 * value:.2f}"] for iou, value in report.detection.items()]
    assert tables["Predicted classes"].rows[0][:3] == ["Normal", "1", "100"]
    plain = summarise([dataclasses.replace(v, class_probabilities=None) for v in VIDEOS], {}, 5)
    compared = comparison.compare([report, other, plain], ["a", "b", "c"], 5)
    row, = (line.split() for line in compared.table().splitlines() if line.startswith("Riot "))
    assert row == ["Riot", *(f"{100 * of.classes['Riot']['auc']:.2f}" for of in (report, other)), "-"]
    row, = (line.split() for line in compared.table().splitlines() if line.startswith("average  "))
    assert row == ["average", *(f"{100 * of.detection['average']:.2f}" for of in (report, other)), "-"]
    tables = {table.title: table for table in report_pages.of_comparison(compared).tables}
    assert tables["Temporal detection, mAP at IoU"].rows[-1] == row and "Predicted classes" not in tables


# With a method that classifies.


@pytest.fixture
def tagged(tagger_installed, tmp_path):
    """Its detector and a dataset."""
    return wv.create("tagger", seed=1), Dataset.open(own_table(tmp_path), tmp_path)


def test_evaluation_scores_and_classifies_each_video_once(tagged, monkeypatch):
    detector, dataset = tagged
    backend, calls = detector.backend, []
    for name in ("score", "classify", "score_and_classify"):
        function = getattr(backend, name)
        monkeypatch.setattr(backend, name, lambda *given, name=name, function=function: calls.append(name) or function(*given))
    report = wv.evaluate(detector, dataset, 5)
    assert calls == ["score_and_classify"] * 4
    assert report.about["classes"] == list(NAMES) and list(report.classes) == list(NAMES)
    for item, found in zip(dataset, report.videos):
        assert np.array_equal(found.class_probabilities, detector.classify(item.features.read()))
        assert np.array_equal(found.scores, detector.score(item.features.read()))
        assert found.class_segments == item.class_segments
    calls.clear()
    assert all(found.class_probabilities is None for found in scored(detector, dataset)) and calls == ["score"] * 4


def test_several_processes_share_the_class_probabilities_out(tagged):
    detector, dataset = tagged
    expected = scored(detector, dataset, classes=True)

    class Process:
        """A backend as one of two processes sees it: it gathers what the other has."""

        def __init__(self, rank):
            self.rank, self.sent = rank, []

        def __getattr__(self, name):
            return getattr(detector.backend, name)

        def processes(self):
            return self.rank, 2

        def gather(self, array):
            self.sent.append(array)
            return [array, others.pop(0)] if self.rank == 0 else [others.pop(0), array]

    other = Process(1)
    others = [np.zeros(count, np.float32) for count in (1, 6, 18)]  # no flaw; 6 snippets, of d and b, of 3 classes
    scored(dataclasses.replace(detector, backend=other), dataset, classes=True)
    assert [len(array) for array in other.sent] == [1, 5, 15]
    others = list(other.sent)
    found = scored(dataclasses.replace(detector, backend=Process(0)), dataset, classes=True)
    for one, same in zip(found, expected):
        assert np.array_equal(one.scores, same.scores) and np.array_equal(one.class_probabilities, same.class_probabilities)


def test_class_probabilities_that_are_not_finite_name_their_video(tagged):
    detector, dataset = tagged
    detector.network.weights["tags"] = detector.network.weights["tags"] * np.float32("nan")
    with pytest.raises(wv.InputError, match="^a: class probabilities that are not finite"):
        wv.evaluate(detector, dataset)


def test_the_command(tagger_installed, tmp_path, capsys):
    table = own_table(tmp_path)
    wv.create("tagger", seed=1).save(tmp_path / "w.safetensors")
    command.main(["test", "--backend", "numpy", "--dataset", str(table), "--features", str(tmp_path), "--checkpoint",
                  str(tmp_path / "w.safetensors"), "--output", str(tmp_path / "out")])
    out, report = capsys.readouterr().out, Report.load(tmp_path / "out")
    assert report.table() in out and "temporal detection, mAP at IoU" in out and "\nprotocol    uniform\n" in out
    assert (tmp_path / "out" / "confusion.png").is_file() and "Predicted classes" in (tmp_path / "out" / "report.html").read_text()
    saved = json.loads((tmp_path / "out" / "report.json").read_text())
    assert saved["detection"] == report.detection and saved["classes"] == report.classes
