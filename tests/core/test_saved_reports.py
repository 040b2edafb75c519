"""Reports that are saved and loaded again: the same in every number; what is no report, or a damaged one, in one line."""
import dataclasses
import hashlib
import json
import math
import os
import shutil

import numpy as np
import pytest

import wvad_core as wv
from wvad_core.errors import InputError
from wvad_core.reports.results import Report, summarise
from wvad_core.scoring.evaluation import VideoScores

NAMES = ("a", "Fights/01 night", "v=yZ2w__#00-03_label_B1-0-0", "视频 é", "x.npy", "scores", "a/scores", "/root", "file", "..")
ABOUT = {"method": "m", "config": {"sizes": (1, 2), "rate": 0.1}, "seconds": np.float64(1 / 3), "frames": np.int64(7),
         "nothing": None, "odd": float("nan"), "text": "ü\n"}


def videos(names=NAMES, dtype=np.float32, abnormal=lambda i: i % 2 == 1):
    rng = np.random.default_rng(0)
    made = []
    for i, name in enumerate(names):
        snippets = int(rng.integers(1, 30))
        fraction = rng.integers(0, 17, snippets) / 16 * abnormal(i)
        categories = ("Fight", "Stürze")[:1 + i % 2] if abnormal(i) else ("Normal",)
        made.append(VideoScores(name, categories, abnormal(i), rng.random(snippets).astype(dtype), fraction,
                                (None, 30.0, 29.97)[i % 3]))
    return tuple(made)


def same(first, second):
    """Whether two values are the same, types too; NaN is NaN."""
    if isinstance(first, dict):
        return type(second) is dict and list(first) == list(second) and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (tuple, list)):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, float) and math.isnan(first):
        return isinstance(second, float) and math.isnan(second)
    if dataclasses.is_dataclass(first):
        return type(first) is type(second) and all(same(getattr(first, f.name), getattr(second, f.name))
                                                   for f in dataclasses.fields(first))
    return type(first) is type(second) and first == second


REPORTS = {"all there is": (videos(), True), "no probabilities": (videos(), False),
           "double precision": (videos(dtype=np.float64), True),
           "normal videos only": (videos(abnormal=lambda i: False), True),
           "abnormal videos only": (videos(NAMES[:2], abnormal=lambda i: True), True)}


@pytest.mark.parametrize("scored, probabilities", REPORTS.values(), ids=REPORTS)
def test_a_report_is_loaded_as_it_was_saved(tmp_path, scored, probabilities):
    report = summarise(scored, ABOUT, 20, probabilities=probabilities)
    report.save(tmp_path / "run")
    loaded = wv.Report.load(str(tmp_path / "run"))
    assert same(report, loaded)
    assert report.table() == loaded.table()
    loaded.save(tmp_path / "again")
    for name in ("report.json", "scores.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@pytest.mark.parametrize("change", [
    {"metrics": {"auc": 0.5}}, {"intervals": {"auc": (0.0, 1.0)}}, {"categories": {}}, {"undefined": {"all videos": "x"}},
    {"about": {"method": "m"}}, {"videos": videos(NAMES[:3])}, {"videos": videos(dtype=np.float64)}])
def test_the_comparison_sees_what_differs(change):
    report = summarise(videos(), ABOUT, 5)
    assert same(report, dataclasses.replace(report))
    assert not same(report, dataclasses.replace(report, **change))


@pytest.fixture
def saved(tmp_path):
    summarise(videos(), ABOUT, 5).save(tmp_path / "run")
    return tmp_path / "run"


def refused(folder):
    with pytest.raises(InputError) as caught:
        Report.load(folder)
    message = str(caught.value)
    assert message.startswith(str(folder)) and "\n" not in message
    return message


def test_no_report(tmp_path, saved):
    assert "report.json: cannot be read (No such file or directory)" in refused(tmp_path / "none")
    (saved / "scores.npz").unlink()
    assert "scores.npz: cannot be read" in refused(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00", '{"best": {"metrics": {}}, "last": {}, "about": {}}', "[" * 99999])
def test_what_is_no_report(saved, text):
    (saved / "report.json").write_text(text)
    assert "report.json: " in refused(saved)


def test_a_later_format(saved):
    change(saved, lambda values: values.update(format=7))
    assert "report.json: format 7, expected 2" in refused(saved)


def test_every_changed_byte_of_the_scores_is_seen(saved):
    path = saved / "scores.npz"
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(len(whole), size=50):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
        assert "scores.npz: not the scores that report.json was written with" in refused(saved)
    path.write_bytes(whole[:-7])
    assert "scores.npz: not the scores" in refused(saved)


def test_the_files_of_two_reports(tmp_path, saved):
    summarise(videos(NAMES[:4]), ABOUT, 5).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "scores.npz", saved / "scores.npz")
    assert "scores.npz: not the scores that report.json was written with" in refused(saved)


def change(folder, edit, hashed=True):
    """Edit report.json, and give it its right hash, or leave the old one."""
    path = folder / "report.json"
    values = json.loads(path.read_text())
    edit(values)
    old = values.pop("sha256")
    new = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(values | {"sha256": new if hashed else old}))


def test_a_changed_value_is_seen(saved):
    def edit(values):
        values["metrics"]["auc"] = math.nextafter(values["metrics"]["auc"], 2)

    change(saved, edit, hashed=False)
    assert "report.json: does not have the hash that it was written with" in refused(saved)


def test_a_report_of_format_1(saved):
    """Which had no hash of its values."""
    loaded, path = Report.load(saved), saved / "report.json"
    values = json.loads(path.read_text()) | {"format": 1}
    path.write_text(json.dumps(values))
    assert "report.json: does not have the hash" in refused(saved)
    del values["sha256"]
    path.write_text(json.dumps(values))
    assert same(Report.load(saved), loaded)


@pytest.mark.parametrize("name", ["report.json", "scores.npz"])
def test_files_that_cannot_be_read(saved, name):
    whole = (saved / name).read_bytes()
    os.truncate(saved / name, 200 * 10**9)
    assert f"{name}: has 200000000000 bytes, expected at most 268435456" in refused(saved)
    (saved / name).unlink()
    os.mkfifo(saved / name)
    assert f"{name}: cannot be read (a pipe, expected a file)" in refused(saved)
    (saved / name).unlink()
    (saved / name).write_bytes(whole)
    Report.load(saved)


@pytest.mark.parametrize("edit", [
    lambda v: v.pop("videos"), lambda v: v.update(videos=[]), lambda v: v.update(videos={}), lambda v: v.pop("undefined"),
    lambda v: v["videos"].append(dict(v["videos"][0], name="other")), lambda v: v["videos"][0].pop("categories"),
    lambda v: v.update(metrics={"f1": 1}), lambda v: v["metrics"].update(auc="high"), lambda v: v.update(about=3),
    lambda v: v["intervals_95"].update(auc=[1]), lambda v: v["categories"].update(Fight=2)])
def test_a_report_that_was_altered(saved, edit):
    change(saved, edit)
    assert "report.json: damaged, not what Report.save writes" in refused(saved)


@pytest.mark.parametrize("scores", [np.ones((2, 2)), np.ones(0), np.array([1, 2]), np.array([np.nan])])
def test_arrays_that_are_no_scores(tmp_path, scores):
    good = videos(NAMES[:3])
    summarise(good, {}, 2).save(tmp_path)
    bad = (dataclasses.replace(good[0], scores=scores), *good[1:])
    dataclasses.replace(summarise(good, {}, 2), videos=bad).save(tmp_path)
    assert "report.json: damaged, not what Report.save writes (a: " in refused(tmp_path)


def as_0_1_0(folder, report):
    """The files as wvad 0.1.0 wrote them."""
    folder.mkdir()
    np.savez(folder / "scores.npz", **{f"{v.name}/{name}": values for v in report.videos
                                       for name, values in (("scores", v.scores), ("share", v.abnormal_fraction))})
    (folder / "report.json").write_text(json.dumps(report.as_dict()))


def test_a_report_of_0_1_0(tmp_path):
    report = summarise(videos(), ABOUT, 5)
    as_0_1_0(tmp_path / "old", report)
    loaded = Report.load(tmp_path / "old")
    for name in ("metrics", "intervals", "categories", "undefined", "about"):
        assert same(getattr(report, name), getattr(loaded, name))
    expected = [dataclasses.replace(v, categories=(), frame_rate=None, abnormal=bool(v.abnormal_fraction.any()))
                for v in report.videos]
    assert same(tuple(expected), loaded.videos)


def test_damaged_scores_of_0_1_0(tmp_path):
    as_0_1_0(tmp_path / "old", summarise(videos(), ABOUT, 5))
    whole = (tmp_path / "old" / "scores.npz").read_bytes()
    for damaged in (b"", whole[:len(whole) // 2], b"\x93NUMPY" + whole):
        (tmp_path / "old" / "scores.npz").write_bytes(damaged)
        assert "scores.npz: damaged, or no .npz file of arrays" in refused(tmp_path / "old")
