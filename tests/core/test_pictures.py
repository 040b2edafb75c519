"""Pictures of a report. What they look like is for people; here: which there are, and what the drawn parts say."""
import os
import sys

import numpy as np
import pytest

from wvad_core.reports import figures
from wvad_core.reports.results import summarise
from wvad_core.scoring.evaluation import VideoScores

PNG = b"\x89PNG\r\n\x1a\n"


def scored(name, scores, fraction, category="Fight"):
    return VideoScores(name, (category,), category != "Normal", np.float32(scores), np.array(fraction, float))


def report(*videos):
    return summarise(videos, {"method": "m", "dataset": "d"}, replicates=10)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_pictures_are_png_files(tmp_path):
    drawn = report(scored("v=a__#00-03_label_B1-0-0", [0.1, 0.9, 0.4], [0, 0.5, 1]),
                   scored("cost $x^2$ and $", [0.1, 7, 0.4], [0, 0.5, 1]), scored("n", [0.3], [0], "Normal"))
    assert figures.draw(drawn, tmp_path) == 5
    assert files(tmp_path) == ["precision_recall.png", "roc.png", "scores/cost _x_2_ and _.png".replace(" ", "_"),
                               "scores/n.png", "scores/v=a___00-03_label_B1-0-0.png"]
    assert all((tmp_path / name).read_bytes().startswith(PNG) for name in files(tmp_path))


@pytest.mark.parametrize("fraction", [[0, 0], [1, 1]])
def test_one_class_only(tmp_path, fraction):
    """Curves that are not defined make pictures that say so."""
    assert figures.draw(report(scored("a", [0.2, 0.4], fraction)), tmp_path) == 3
    assert len(files(tmp_path)) == 3


def test_no_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    figures.draw(report(scored("a", [0.2, 0.4], [0, 1])), tmp_path)


def test_without_matplotlib_nothing_is_written(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="^matplotlib is not installed: pip install matplotlib$"):
        figures.draw(report(scored("a", [0.2, 0.4], [0, 1])), tmp_path / "out")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("videos, names", [
    (["Arson011_x264", "v=yZ2w__#00-03-26"], ["Arson011_x264", "v=yZ2w___00-03-26"]),
    (["../../etc/passwd", ".hidden", "..", "a/b\\c:d*e"], ["_._.._etc_passwd", "_hidden", "_.", "a_b_c_d_e"]),
    (["café 1", "视频"], ["café_1", "视频"])])
def test_file_names(videos, names):
    assert figures.file_names(videos) == names


def test_file_names_are_unique():
    videos = ["a#b", "a b", "A_B", "c", "视" * 300, "视" * 301]
    names = figures.file_names(videos)
    assert len({name.lower() for name in names}) == len(videos)
    assert max(len(f".{name}-12345678.png".encode()) for name in names) < 256
    assert names[3] == "c"
    assert figures.file_names(videos) == names


@pytest.mark.parametrize("fraction, intervals", [
    ([0, 0], []), ([1, 1], [(0, 32)]), ([0, 0.25, 1, 0.5, 0], [(28, 56)]), ([0.25], [(0, 4)]),
    ([0.5, 0, 0, 1], [(0, 8), (48, 64)]), ([0, 1 / 16, 1 / 16, 0], [(31, 33)])])
def test_anomalies(fraction, intervals):
    assert figures.anomalies(np.array(fraction)) == intervals


def timeline(*videos):
    figure = figures._figure(9, 3)
    return figures._Timeline(figure, videos), figure.axes[0]


def test_one_figure_shows_one_video_after_another():
    first, second = scored("a", [0.1, 0.9, 0.4], [0, 0.5, 1]), scored("b", [0.3, 0.2], [0, 0], "Normal")
    drawing, axes = timeline(first, second)
    for video, shades in ((first, 1), (second, 0), (first, 1)):
        drawing.show(video)
        assert len(drawing.shades) == shades
        assert [title.get_text() for title in drawing.titles] == [video.name, video.categories[0]]
        assert np.array_equal(drawing.curve.get_data().values, video.scores)
        assert axes.get_xlim() == (0, 16 * len(video.scores))
        assert axes.get_ylim() == (0, 1.03)
    assert len(axes.patches) == 3


def test_scores_that_are_no_probabilities():
    """All videos have one scale; one video with far higher scores does not flatten the others."""
    low, high = scored("a", np.linspace(0, 5, 1000), [0] * 1000), scored("b", [900, 1], [1, 0])
    drawing, axes = timeline(low, high)
    drawing.show(low)
    assert 5 < axes.get_ylim()[1] < 6
    drawing.show(high)
    assert axes.get_ylim()[1] > 900


def test_a_long_name_leaves_room_for_the_category():
    assert figures._shortened("x" * 90) == "x" * 90
    assert len(figures._shortened("x" * 500)) < 100
