"""report.html as a file: what is in it, that nothing breaks out of its place, links, sizes. See also test_chromium.py."""
import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from wvad_core.errors import InputError
from wvad_core.reports import page, report_pages
from wvad_core.reports.comparison import compare
from wvad_core.reports.page import Page, PageEvent, PagePlot, PageTable, PageVideo
from wvad_core.reports.results import summarise
from wvad_core.scoring.evaluation import VideoScores

HOSTILE = ('</script><script>alert(1)</script>', '<!-- <script>', '"\'>&amp;<img src=x onerror=alert(1)>', "a\u2028b\u2029c",
           "видео 视频 🎥", "../../etc/passwd", "@@script@@ @@data@@", "half \udcff surrogate", "\\u003c/script\\u003e",
           "\x00\x07")


class Elements(HTMLParser):
    """What a parser of HTML makes of a page: its elements, and the text of each script, style and title."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        self.open = True

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        if self.open:
            self.texts[-1] += data

    def of(self, tag, **attributes):
        return [text for (name, found), text in zip(self.elements, self.texts)
                if name == tag and attributes.items() <= found.items()]


def written(folder, *videos, title="Scores", **more):
    """A page's parsed elements and its data."""
    page.write(folder / page.PAGE, Page(title, videos, **more))
    elements = Elements((folder / page.PAGE).read_text(encoding="utf-8"))
    data, = elements.of("script", type="application/json")
    return elements, json.loads(data)


def video(name="v", scores=(0.1, 0.9, 0.4), **more):
    return PageVideo(name, np.arange(len(scores)) * 0.5, np.array(scores), **more)


def test_one_file_that_asks_for_nothing(tmp_path):
    elements, _ = written(tmp_path, video())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert [tag for tag, found in elements.elements if found.keys() & {"src", "href", "srcset"}] == []
    script, = (text for text in elements.of("script") if text not in elements.of("script", type="application/json"))
    style, = elements.of("style")
    assert not re.search(r"@import|url\(|\bfetch\b|XMLHttp|innerHTML|outerHTML|insertAdjacent|\beval\b", script + style)
    policy, = (found["content"] for _, found in elements.elements if found.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for text, rule in ((script, "script-src"), (style, "style-src")):
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_texts_wherever_they_stand(tmp_path, name):
    plain, _ = written(tmp_path, video("v", media="v.mp4"), video("w"))
    elements, data = written(
        tmp_path, video(name, events=[PageEvent(0, 1, 0.5, 0.9, name)], category=name, classes={name: [0, 1, 0]},
                        others=[[0, 0, 1]], media=tmp_path / name.replace("\0", "_")), video("w"),
        title=name, note=name, runs=[name, "b"], tables=[PageTable(name, [name], [[name]], name)],
        plots=[PagePlot(name, name, name, [(name, [0, 1], [0, 1])], (name, [0, 1], [0, 1]), name)])
    assert [tag for tag, _ in elements.elements] == [tag for tag, _ in plain.elements]
    assert elements.of("script")[1] == plain.of("script")[1] and elements.of("title") == [
        "".join(c if c.isprintable() else "\ufffd" for c in name)]
    shown = data["videos"][0]
    assert {name} == {shown["name"], shown["category"], shown["events"][0][4], shown["classes"][0][0], data["title"],
                      data["note"], data["runs"][0], *data["tables"][0]["rows"][0], data["plots"][0]["lines"][0]["label"]}
    raw = re.search(r'id="data">(.*)</script>\n<script>', (tmp_path / page.PAGE).read_text(encoding="utf-8"))[1]
    assert raw.isascii() and raw.isprintable() and not re.search("[<>&]", raw)


@pytest.mark.parametrize("media, link", [
    ("videos/a.mp4", "videos/a.mp4"), ("../other/a b#1?.mp4", "../other/a%20b%231%3F.mp4"), ("100%.mp4", "100%25.mp4"),
    ("http:/x/a.mp4", "http%3A/x/a.mp4"), ("javascript:alert(1)", "javascript%3Aalert%281%29"),
    ("é\udcff.mp4", "%C3%A9%FF.mp4")])
def test_links_to_videos_are_relative_and_encoded(tmp_path, media, link, monkeypatch):
    folder = tmp_path / "results"
    _, data = written(folder, video(media=folder / media))
    assert data["videos"][0]["media"] == link
    monkeypatch.chdir(folder)
    page.write(page.PAGE, Page("t", [video(media=media)]))
    data, = Elements(Path(page.PAGE).read_text()).of("script", type="application/json")
    assert json.loads(data)["videos"][0]["media"] == link


def test_links_lead_to_the_file_from_wherever_the_page_is(tmp_path):
    file = tmp_path / "in put" / "a.mp4"
    _, data = written(tmp_path / "x" / "y", video(media=file))
    assert (tmp_path / "x" / "y" / unquote(data["videos"][0]["media"])).resolve() == file


@pytest.mark.parametrize("scale, offset", [(1, 0), (1e-5, 0.3), (400, -100), (1e-5, 1e-3)])
def test_scores_keep_a_few_digits_of_their_range(tmp_path, scale, offset):
    scores = offset + scale * np.random.default_rng(0).random(1000)
    _, data = written(tmp_path, video(scores=scores))
    assert np.abs(np.array(data["videos"][0]["scores"]) - scores).max() <= 1.01e-3 * scale
    assert max(len(str(score)) for score in data["videos"][0]["scores"]) <= 11


def test_a_large_set_is_a_small_file(tmp_path):
    """Less than 8 bytes a score, times included."""
    rng = np.random.default_rng(0)
    videos = [PageVideo(f"v{i}", np.arange(400) * 16 / 29.97, rng.random(400, np.float32)) for i in range(50)]
    page.write(tmp_path / page.PAGE, Page("t", videos))
    assert (tmp_path / page.PAGE).stat().st_size < 60_000 + 8 * 400 * 50


def test_times(tmp_path):
    even = PageVideo("even", np.arange(5) * 16 / 29.97, np.zeros(5))
    uneven = PageVideo("uneven", [0, 0.5, 2.0004], [0, 1, 2], duration=2.5)
    one = PageVideo("one", [3.0], [1])
    _, data = written(tmp_path, even, uneven, one)
    first, second, third = data["videos"]
    assert first["seconds"] == {"first": 0, "step": pytest.approx(16 / 29.97)}
    assert first["duration"] == pytest.approx(80 / 29.97, abs=1e-3)
    assert second["seconds"] == [0, 0.5, 2.0] and second["duration"] == 2.5
    assert third["duration"] == 4


@pytest.mark.parametrize("threshold, limits, scores, expected", [
    (None, None, [0.1, 0.9], None), (None, (0, 2), [0.1, 0.9], [0, 2]), (0.5, None, [0.1, 0.9], [0, 1]),
    (5, None, [-1, 3], [-1, 5]), (0.5, None, [0.1, 7], [0, 7])])
def test_the_scale_of_scores(tmp_path, threshold, limits, scores, expected):
    assert written(tmp_path, video(scores=scores), threshold=threshold, limits=limits)[1]["limits"] == expected


def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path):
    classes = PageVideo("v", [0], [0], classes={"a": [0, 1]})
    for wrong in (PageVideo("v", [0, 1], [0.5]), PageVideo("v", [], []), classes):
        with pytest.raises(ValueError, match="v: times and scores of shapes"):
            page.write(tmp_path / page.PAGE, Page("t", [wrong]))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        page.write(tmp_path / "file" / page.PAGE, Page("t", [video()]))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Pages of reports.


def reported(seed=0, rate=25.0, count=8, snippets=200):
    """A report of random videos, every other one abnormal."""
    rng = np.random.default_rng(seed)
    truth = [np.random.default_rng(i).integers(0, 17, snippets) / 16 * (i % 2) for i in range(count)]
    videos = tuple(VideoScores(f"v{i}", ("Fight",) if i % 2 else ("Normal",), bool(i % 2),
                               (0.6 * rng.random(snippets) + 0.4 * of).astype(np.float32), of, rate)
                   for i, of in enumerate(truth))
    return summarise(videos, {"method": "m", "dataset": "d", "checkpoint": "a/b.pt"}, replicates=20)


def test_the_page_of_a_report_has_its_numbers():
    report = reported()
    shown = report_pages.of_report(report)
    assert shown.title == "Evaluation of m on d" and shown.note == "m, b.pt, d"
    assert shown.limits == (0, 1) and shown.threshold is None
    metrics, categories = shown.tables
    low, high = report.intervals["auc"]
    assert list(metrics.rows[0]) == ["AUC", f"{100 * report.metrics['auc']:.2f} ({100 * low:.2f} to {100 * high:.2f})"]
    assert len(metrics.rows) == len(report.metrics)
    fight = report.categories["Fight"]
    assert list(categories.rows[0]) == ["Fight", "4", *(f"{100 * fight[key]:.2f}" for key in ("auc", "ap"))]
    for found, video in zip(shown.videos, report.videos):
        assert np.array_equal(found.scores, video.scores)
        assert found.seconds[1] == 16 / 25 and found.duration == 200 * 16 / 25
        covered = sum(end - start for start, end in found.truth) * 25
        assert covered == pytest.approx(16 * video.abnormal_fraction.sum(), abs=16 * len(found.truth) * 16)
        assert found.category == video.categories[0] and not found.in_frames


def test_curves_are_thinned_and_keep_their_areas(tmp_path):
    report = reported()
    page.write(tmp_path / page.PAGE, report_pages.of_report(report))
    data = json.loads(Elements((tmp_path / page.PAGE).read_text()).of("script", type="application/json")[0])
    for plot, keys in zip(data["plots"], (("auc", "auc_sub"), ("ap", "ap_sub"))):
        for line, key in zip(plot["lines"], keys):
            x, y = np.array(line["x"]), np.array(line["y"])
            area = abs(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
            assert area == pytest.approx(report.metrics[key], abs=2e-3) and len(x) <= 502
            assert f"{100 * report.metrics[key]:.2f} %" in line["label"]


def test_a_report_of_one_class_says_what_is_undefined():
    report = summarise((VideoScores("n", (), False, np.float32([0.1, 0.2]), np.zeros(2)),), {}, replicates=5)
    shown = report_pages.of_report(report)
    assert shown.title == "Evaluation" and [len(plot.lines) for plot in shown.plots] == [0, 0]
    assert all("no abnormal frame" in plot.note for plot in shown.plots)
    assert "nan for all videos" in shown.tables[0].note
    only, = shown.videos
    assert only.in_frames and only.duration == 32 and only.misranked is None and only.category == "normal"


def test_the_page_of_a_comparison_has_the_curves_of_all_runs_by_name():
    first, second = reported(), reported(seed=1)
    second = summarise(second.videos[::-1], second.about, replicates=20)  # in another order
    compared = compare([first, second], ["runs/a", "runs/b"], replicates=40)
    shown = report_pages.of_comparison(compared)
    by_name = {video.name: video.scores for video in second.videos}
    for video in shown.videos:
        assert np.array_equal(video.others[0], by_name[video.name])
    assert shown.runs == ["[1] runs/a", "[2] runs/b"]
    difference = compared.differences[0]["auc"]
    low, high = difference.interval
    assert list(shown.tables[1].rows[0]) == ["AUC of [2]", f"{100 * difference.value:+.2f}",
                                             f"{100 * low:+.2f} to {100 * high:+.2f}", f"{100 * difference.wins:.1f} %"]
    assert [line[0] for line in shown.plots[0].lines] == [
        f"{name}, AUC {100 * report.metrics['auc']:.2f} %" for name, report in zip(shown.runs, (first, second))]
