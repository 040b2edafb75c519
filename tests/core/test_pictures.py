"""Pictures of a report. What they look like is for people; here: which there are, and what the drawn parts say."""
import os
import sys

import numpy as np
import pytest

from wvad_core.reports import figures, pictures
from wvad_core.reports.contact_sheet import contact_sheet
from wvad_core.reports.results import summarise
from wvad_core.reports.training_curves import training_curves
from wvad_core.scoring import metrics
from wvad_core.scoring.evaluation import Frames, VideoScores, misranked_by_video

PNG = b"\x89PNG\r\n\x1a\n"


def scored(name, scores, fraction, category="Fight", frame_rate=None):
    return VideoScores(name, (category,), category != "Normal", np.float32(scores), np.array(fraction, float), frame_rate)


def report(*videos, about=None):
    return summarise(videos, about or {"method": "m", "dataset": "d"}, replicates=10)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def texts(figure):
    """All that is written in a figure and can be seen."""
    from matplotlib.text import Text

    figure.draw_without_rendering()  # which writes the labels of axes
    return [text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


TWO = (scored("a", [0.1, 0.9, 0.4], [0, 0.5, 1]), scored("n", [0.3, 0.2], [0, 0], "Normal"))


# Files.


def test_all_pictures_are_png_files(tmp_path):
    drawn = report(scored("v=a__#00-03_label_B1-0-0", [0.1, 0.9, 0.4], [0, 0.5, 1]),
                   scored("cost $x^2$ and $", [0.1, 7, 0.4], [0, 0.5, 1]), scored("n", [0.3], [0], "Normal"))
    assert pictures.draw(drawn, tmp_path) == 6
    assert files(tmp_path) == ["precision_recall.png", "roc.png", "scores/cost _x_2_ and _.png".replace(" ", "_"),
                               "scores/n.png", "scores/v=a___00-03_label_B1-0-0.png", "videos.png"]
    assert all((tmp_path / name).read_bytes().startswith(PNG) for name in files(tmp_path))


@pytest.mark.parametrize("fraction", [[0, 0], [1, 1]])
def test_one_class_only(tmp_path, fraction):
    """Curves that are not defined make pictures that say so."""
    one = report(scored("a", [0.2, 0.4], fraction))
    assert pictures.draw(one, tmp_path) == 4
    assert len(files(tmp_path)) == 4
    assert any("undefined" in text for text in texts(figures.roc(one)))


def test_no_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    pictures.draw(report(scored("a", [0.2, 0.4], [0, 1])), tmp_path)


def test_settings_of_the_caller_stay(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    pictures.draw(report(*TWO), tmp_path)
    pictures.write(training_curves(HISTORY), tmp_path / "curves.png")
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_nothing_is_written(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="^matplotlib is not installed: pip install matplotlib$"):
        pictures.draw(report(scored("a", [0.2, 0.4], [0, 1])), tmp_path / "out")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("videos, names", [
    (["Arson011_x264", "v=yZ2w__#00-03-26"], ["Arson011_x264", "v=yZ2w___00-03-26"]),
    (["../../etc/passwd", ".hidden", "..", "a/b\\c:d*e"], ["_._.._etc_passwd", "_hidden", "_.", "a_b_c_d_e"]),
    (["café 1", "视频"], ["café_1", "视频"])])
def test_file_names(videos, names):
    assert pictures.file_names(videos) == names


def test_file_names_are_unique():
    videos = ["a#b", "a b", "A_B", "c", "视" * 300, "视" * 301]
    names = pictures.file_names(videos)
    assert len({name.lower() for name in names}) == len(videos)
    assert max(len(f".{name}-12345678.png".encode()) for name in names) < 256
    assert names[3] == "c"
    assert pictures.file_names(videos) == names


# The two curves.


@pytest.mark.parametrize("draw, key", [(figures.roc, "auc"), (figures.precision_recall, "ap")])
def test_curves(draw, key):
    """The area under what is drawn is the metric; the whole curve lies within the axes."""
    rng = np.random.default_rng(0)
    drawn = report(*(scored(str(i), rng.random(9), rng.integers(0, 17, 9) / 16 * (i % 2), "Fight" if i % 2 else "Normal")
                     for i in range(6)), about={"method": "m", "checkpoint": "runs/best.pt", "dataset": "d"})
    figure = draw(drawn)
    axes, = figure.axes
    for line, metric in zip(axes.lines, (key, f"{key}_sub")):
        x, y = line.get_data()
        assert abs(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)) == pytest.approx(drawn.metrics[metric])
        assert f"{100 * drawn.metrics[metric]:.2f} %" in line.get_label()
    for low, high in (axes.get_xlim(), axes.get_ylim()):
        assert low < 0 and high > 1
    assert "m, best.pt, d" in texts(figure)


def test_subject():
    made = {"method": "m", "weights_sha256": "0123456789abcdef", "dataset": "own/table.csv"}
    assert figures.subject(report(*TWO, about=made)) == "m, weights 0123456789ab, own/table.csv"
    assert figures.subject(report(*TWO, about=made | {"checkpoint": "a/b.pt"})) == "m, b.pt, own/table.csv"
    assert figures.subject(report(*TWO, about={"seconds": 1})) == ""


# One video.


@pytest.mark.parametrize("fraction, intervals", [
    ([0, 0], []), ([1, 1], [(0, 32)]), ([0, 0.25, 1, 0.5, 0], [(28, 56)]), ([0.25], [(0, 4)]),
    ([0.5, 0, 0, 1], [(0, 8), (48, 64)]), ([0, 1 / 16, 1 / 16, 0], [(31, 33)])])
def test_anomalies(fraction, intervals):
    assert figures.anomalies(np.array(fraction)) == intervals


def shades(figure):
    """[start, end) of what is shaded, in snippets."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)
             and to_rgb(patch.get_facecolor()) == to_rgb(figures.VERMILION)]
    return [(box.get_x(), box.get_x() + box.get_width()) for box in boxes]


def test_timeline_of_an_abnormal_video():
    video = scored("a", [0.1, 0.9, 0.4, 0], [0, 0.5, 1, 0])
    figure = figures.timeline(video, "m, best.pt", (0, 1))
    axes = figure.axes[0]
    area, curve = (patch for patch in axes.patches if hasattr(patch, "get_data"))
    for drawn in (area, curve):
        assert np.array_equal(drawn.get_data().values, video.scores)
        assert np.array_equal(drawn.get_data().edges, np.arange(5))
    assert shades(figure) == [(1.5, 3)]
    assert axes.get_xlim() == (0, 4) and axes.get_ylim() == (0, 1.04)
    assert {"a", "m, best.pt", "Fight", "anomalous by annotation", "anomaly score"} <= set(texts(figure))


def test_a_normal_video_has_no_legend():
    figure = figures.timeline(TWO[1])
    assert not figure.legends and not shades(figure)
    assert "Normal" in texts(figure) and "anomalous by annotation" not in texts(figure)


@pytest.mark.parametrize("snippets, rate, name, marks", [
    (5, None, "frame", ["0", "10", "20", "30", "40", "50", "60", "70", "80"]),
    (30, 30, "time", ["0:00", "0:02", "0:04", "0:06", "0:08", "0:10", "0:12", "0:14"]),  # 16 seconds
    (6000, 24, "time", ["0:00", "10:00", "20:00", "30:00", "40:00", "50:00", "1:00:00"]),  # 4000 seconds
    (1, 32, "time", ["0:00.0", "0:00.1", "0:00.2", "0:00.3", "0:00.4"])])
def test_time_above_the_curve(snippets, rate, name, marks):
    """Each mark where its time is; frames where no frame rate is known."""
    figure = figures.timeline(scored("a", np.linspace(0, 1, snippets), np.zeros(snippets), frame_rate=rate))
    assert name in texts(figure) and ("time" if name == "frame" else "frame") not in texts(figure)
    above, = figure.axes[0].child_axes
    assert [label.get_text() for label in above.get_xticklabels()] == marks
    for mark, place in zip(marks, above.get_xticks()):
        seconds = sum(60 ** i * float(number) for i, number in enumerate(reversed(mark.split(":"))))
        assert place * 16 / (rate or 1) == pytest.approx(seconds)


def test_scores_that_are_no_probabilities():
    """All videos have one scale; one video with far higher scores does not flatten the others."""
    low, high = scored("a", np.linspace(0, 5, 1000), [0] * 1000), scored("b", [900, 1], [1, 0])
    limits = figures.score_limits([low, high])
    assert limits[0] == 0 and 4.9 < limits[1] < 6
    assert 5 < figures.timeline(low, limits=limits).axes[0].get_ylim()[1] < 6
    assert figures.timeline(high, limits=limits).axes[0].get_ylim()[1] > 900
    assert figures.score_limits(TWO) == (0, 1)
    assert figures.score_limits([scored("a", [-3, 0.5], [0, 1])])[0] == -3


def test_a_long_name_leaves_room_for_the_category():
    from wvad_core.reports.drawing import shortened

    assert shortened("x" * 90, 90) == "x" * 90
    assert shortened("abcdefghijkl", 9) == "abc...jkl" and shortened("abcdefghijkl", 8) == "abc...kl"
    figure = figures.timeline(scored("x" * 500, [0.5], [1]))
    assert max(map(len, texts(figure))) <= figures.LONGEST_NAME


# The sheet.


def test_order_of_videos_on_the_sheet_is_by_the_pairs_that_they_lose():
    """Counted frame by frame over all other frames."""
    rng = np.random.default_rng(1)
    videos = [scored(f"v{i}", np.round(rng.random(i + 1), 1), rng.integers(0, 17, i + 1) / 16 * (i % 2),
                     "Fight" if i % 2 else "Normal") for i in range(6)]
    truth = [np.concatenate([np.arange(16) < 16 * f for f in v.abnormal_fraction]) for v in videos]
    frames = [np.repeat(v.scores, 16) for v in videos]
    every_truth, every_score = np.concatenate(truth), np.concatenate(frames)
    expected = []
    for labels, scores in zip(truth, frames):
        wrong = []
        for label, score in zip(labels, scores):
            others = every_score[every_truth != label]
            wrong.append(np.mean((others > score if label else others < score) + 0.5 * (others == score)))
        expected.append(np.mean(wrong))
    found = misranked_by_video(videos)
    assert found == pytest.approx(expected, rel=1e-12)
    names = [text for text in texts(contact_sheet(report(*videos))) if text.startswith("v")]
    order = sorted(range(6), key=lambda i: (not videos[i].abnormal, -expected[i]))
    assert names == [f"v{i}" for i in order]


def test_misranked_videos_have_the_mean_of_the_lost_area():
    frames = Frames(TWO)
    assert np.isnan(misranked_by_video(TWO[1:])).all()
    wrong = metrics.misranked_fraction(frames.abnormal_fraction, frames.scores)
    assert misranked_by_video(TWO) == pytest.approx([wrong[:3].mean(), wrong[3:].mean()])


@pytest.mark.parametrize("abnormal, normal, most, titles", [
    (3, 2, 240, ["abnormal videos (3)", "normal videos (2)"]),
    (7, 5, 6, ["abnormal videos (the worst 3 of 7)", "normal videos (the worst 3 of 5)"]),
    (7, 1, 6, ["abnormal videos (the worst 5 of 7)", "normal videos (1)"]),
    (2, 9, 6, ["abnormal videos (2)", "normal videos (the worst 4 of 9)"]),
    (0, 4, 3, ["normal videos (the worst 3 of 4)"])])
def test_a_sheet_of_many_videos_has_the_worst_of_both_classes(abnormal, normal, most, titles):
    videos = [scored(f"v{i}", [0.1 * i / (abnormal + normal), 0.5], [0, i < abnormal], "Fight" if i < abnormal else "Normal")
              for i in range(abnormal + normal)]
    written = texts(contact_sheet(report(*videos), most))
    assert [text for text in written if "videos (" in text] == titles
    assert sum(text.startswith("v") for text in written) == min(most, abnormal + normal)


def test_the_sheet_draws_every_video_once_within_its_place():
    from matplotlib.collections import LineCollection, PolyCollection

    figure = contact_sheet(report(*TWO, scored("b", [50, 2], [1, 0])))
    axes, = figure.axes
    (curves, bases), (frames, shaded, areas) = ([c for c in axes.collections if isinstance(c, kind)]
                                                for kind in (LineCollection, PolyCollection))
    boxes = [path.vertices[:4] for path in frames.get_paths()]
    assert len(boxes) == len(curves.get_segments()) == len(areas.get_paths()) == len(bases.get_segments()) == 3
    assert len(shaded.get_paths()) == 2
    for box, curve in zip(boxes, curves.get_segments()):
        assert (curve.min(0) >= box.min(0) - 1e-9).all() and (curve.max(0) <= box.max(0) + 1e-9).all()
        assert np.ptp(curve[:, 0]) == pytest.approx(np.ptp(box[:, 0]))


# A training run.


HISTORY = [{"stage": 1, "step": 1, "total": 3.0, "a": 2.0, "b": 10.0}, {"stage": 1, "step": 2, "total": 2.0, "a": 1.0, "b": 10.0},
           {"stage": 1, "step": 2, "validation": 0.5}, {"stage": 2, "step": 1, "total": 1.0, "a": 0.5, "b": 5.0},
           {"stage": 2, "step": 1, "validation": 0.25}, {"stage": 2, "step": 2, "total": 0.5, "a": 0.4, "b": 1.0},
           {"stage": 2, "step": 2, "validation": 0.75}, {"stage": 2, "step": 3, "total": 0.5, "a": 0.4, "b": 1.0},
           {"stage": 2, "step": 3, "validation": 0.75}]


def test_training_curves():
    figure = training_curves(HISTORY, "Training of m", "torch, seed 0", "AUC on the test set", {"b": 0.1})
    losses, chosen = figure.axes
    drawn = {}
    for line in losses.lines:
        drawn.setdefault(line.get_color(), []).append([np.asarray(x).tolist() for x in line.get_data()])
    total, a, b = list(drawn.values())[:3]
    assert total == [[[1, 2], [3, 2]], [[3, 4, 5], [1, 0.5, 0.5]]]
    assert a == [[[1, 2], [2, 1]], [[3, 4, 5], [0.5, 0.4, 0.4]]]
    assert np.concatenate([values for _, values in b]) == pytest.approx([1, 1, 0.5, 0.1, 0.1])
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["total", "a", "b × 0.1"]
    marked = [[np.asarray(x).tolist() for x in line.get_data()] for line in chosen.lines if line.get_color() == figures.VERMILION]
    assert marked == [[[2], [50]], [[4], [75]]]  # the best of each stage, the first of equal ones
    assert {"Training of m", "torch, seed 0", "AUC on the test set, in percent", "stage 2", "50.00", "75.00, the best"} <= set(
        texts(figure))


def test_a_long_run_is_smoothed():
    history = [{"stage": 1, "step": step, "total": 1.0 + step % 2} for step in range(1, 1001)]
    raw, mean = training_curves(history).axes[0].lines
    assert np.array_equal(raw.get_ydata(), [line["total"] for line in history])
    assert mean.get_ydata() == pytest.approx(1.5) and len(mean.get_ydata()) == 981
    assert mean.get_xdata()[[0, -1]] == pytest.approx([10.5, 990.5])
