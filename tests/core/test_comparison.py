"""Reports compared: the paired bootstrap against a naive loop, cases by hand, and what cannot be compared."""
import dataclasses

import numpy as np
import pytest
import sklearn.metrics

from wvad_core.errors import InputError
from wvad_core.reports.comparison import BEST, Difference, compare, load_run
from wvad_core.reports.results import summarise
from wvad_core.scoring.evaluation import VideoScores


def dataset(count=10, seed=0):
    """{name: abnormal frames of each snippet, 0 to 16}, every other video abnormal."""
    rng = np.random.default_rng(seed)
    return {f"v{i}": rng.integers(0, 17, rng.integers(2, 12)) * (i % 2) for i in range(count)}


def report(frames, seed, skill=1.0, about=None):
    """Random scores of a detector of some skill, with ties."""
    rng = np.random.default_rng(seed)
    return summarise(tuple(
        VideoScores(name, ("Fight",) if abnormal.any() else ("Normal",), bool(abnormal.any()),
                    np.round(rng.random(len(abnormal)) + skill * abnormal / 16, 1).astype(np.float32), abnormal / 16)
        for name, abnormal in frames.items()), about or {}, replicates=5)


def naive(first, other, replicates, seed):
    """{metric: (difference, low, high, wins)}: frames repeated, resamples laid end to end, metrics by scikit-learn."""
    truth = {v.name: np.concatenate([np.arange(16) < 16 * f for f in v.abnormal_fraction]) for v in first.videos}
    scores = [{v.name: np.repeat(v.scores, 16) for v in one.videos} for one in (first, other)]

    def areas(names):
        labels = np.concatenate([truth[name] for name in names])
        if labels.all() or not labels.any():
            return None
        found = []
        for of in scores:
            values = np.concatenate([of[name] for name in names])
            precision, recall, _ = sklearn.metrics.precision_recall_curve(labels, values)
            found.append((sklearn.metrics.roc_auc_score(labels, values), sklearn.metrics.auc(recall, precision)))
        return np.array(found[1]) - found[0]

    names, random = sorted(truth), np.random.default_rng(seed)
    draws = [areas([names[i] for i in random.integers(len(names), size=len(names))]) for _ in range(replicates)]
    draws = np.array([draw for draw in draws if draw is not None])
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    near = np.where(np.abs(draws) < 1e-12, 0, draws)
    wins = ((near > 0) + 0.5 * (near == 0)).mean(0)
    return {key: (areas(names)[i], low[i], high[i], wins[i]) for i, key in enumerate(("auc", "ap"))}


@pytest.mark.parametrize("count, skill", [(10, 1.0), (10, 0.3), (3, 1.0)])
def test_differences_are_those_of_a_naive_loop(count, skill):
    frames = dataset(count)
    first, other = report(frames, 1), report(frames, 2, skill)
    differences, = compare([first, other], ["a", "b"], replicates=60, seed=4).differences
    for key, expected in naive(first, other, 60, 4).items():
        found = differences[key]
        assert (found.value, *found.interval, found.wins) == pytest.approx(expected, abs=1e-12), key


def test_difference_by_hand():
    """Two videos. [1] ranks all frames right, [2] all wrong: of the resamples with both classes each differs by -1."""
    truth = {"n": np.array([0]), "a": np.array([16])}

    def scored(normal, abnormal):
        return summarise(tuple(VideoScores(name, (), name == "a", np.float32([score]), truth[name] / 16)
                               for name, score in (("n", normal), ("a", abnormal))), {}, replicates=2)

    found = compare([scored(0.1, 0.9), scored(0.9, 0.1)], ["a", "b"], replicates=40).differences[0]
    assert found["auc"] == Difference(-1.0, (-1.0, -1.0), 0.0)
    # AP: precision is 1, 0, 1/2 at recall 0, 0, 1: the area up to recall 1 is (0 + 1/2) / 2, as against 1.
    assert found["ap"] == Difference(-0.75, (-0.75, -0.75), 0.0)


def test_a_report_compared_with_itself():
    one = report(dataset(), 1)
    for differences in compare([one, one, one], ["a", "b", "c"], replicates=30).differences:
        assert differences == {key: Difference(0.0, (0.0, 0.0), 0.5) for key in ("auc", "ap")}


def test_the_other_way_round_differences_have_the_other_sign():
    frames = dataset()
    reports = report(frames, 1), report(frames, 2, 0.8)
    there, = compare(reports, ["a", "b"], replicates=50).differences
    back, = compare(reports[::-1], ["b", "a"], replicates=50).differences
    for key in there:
        low, high = back[key].interval
        assert there[key].value == -back[key].value != 0
        assert there[key].interval == pytest.approx((-high, -low), abs=1e-15)
        assert there[key].wins + back[key].wins == pytest.approx(1)


def test_order_of_videos_does_not_matter():
    frames = dataset()
    first, other = report(frames, 1), report(frames, 2)
    turned = dataclasses.replace(other, videos=other.videos[::-1])
    assert compare([first, other], "ab", 20).differences == compare([first, turned], "ab", 20).differences


def test_several_reports_are_all_compared_with_the_first():
    frames = dataset()
    a, b, c = (report(frames, seed) for seed in (1, 2, 3))
    found = compare([a, b, c], "abc", 20)
    assert found.differences == compare([a, b], "ab", 20).differences + compare([a, c], "ac", 20).differences
    assert (found.names, found.reports, found.replicates) == (("a", "b", "c"), (a, b, c), 20)


def test_undefined_metrics_have_no_difference():
    normal = {name: 0 * frames for name, frames in dataset().items()}
    for difference in compare([report(normal, 1), report(normal, 2)], "ab", 5).differences[0].values():
        assert np.isnan([difference.value, *difference.interval, difference.wins]).all()


def test_table():
    frames = dataset()
    compared = compare([report(frames, 1, about={"method": "m", "checkpoint": "x.pt"}), report(frames, 2, 0.5)],
                       ["runs/a", "runs/b"], 50)
    lines = compared.table().splitlines()
    assert lines[:2] == ["[1]  runs/a: m, x.pt", "[2]  runs/b"]
    auc = [line for line in lines if line.startswith("AUC  ")]
    first, other = (one.metrics["auc"] for one in compared.reports)
    assert f"{100 * first:.2f} (" in auc[0] and f"{100 * other:.2f} (" in auc[0]
    difference = compared.differences[0]["auc"]
    assert auc[1].split()[:3] == ["AUC", "[2]", f"{100 * difference.value:+.2f}"]
    assert f"{100 * difference.interval[0]:+.2f} to {100 * difference.interval[1]:+.2f}" in auc[1]
    assert auc[1].endswith(f"{100 * difference.wins:.1f} %")
    assert "the 10 videos; 50 resamples" in lines[-1]


def test_a_metric_that_one_report_lacks():
    frames = dataset()
    first = report(frames, 1)
    without = summarise(report(frames, 2).videos, {}, 5, probabilities=False)
    line = next(line for line in compare([first, without], "ab", 5).table().splitlines() if line.startswith("video acc"))
    assert line.split()[-1] == "-"


def test_one_report():
    with pytest.raises(InputError, match="^found 1 to compare, expected two reports or more$"):
        compare([report(dataset(), 1)], ["a"])


def changed(frames, name, values):
    return {**frames, name: values}


FRAMES = dataset()
DIFFERENT = {
    "fewer videos": (dict(list(FRAMES.items())[:9]), "b: not of the same videos as a; not in b: v9"),
    "more videos": (FRAMES | {"x": np.array([0]), "y": np.array([0])},
                    "b: not of the same videos as a; not in a: x, y"),
    "other videos": ({"new" if name == "v3" else name: value for name, value in FRAMES.items()},
                     "b: not of the same videos as a; not in a: new; not in b: v3"),
    "longer": (changed(FRAMES, "v2", np.append(FRAMES["v2"], 0)),
               f"b: video v2 has {len(FRAMES['v2']) + 1} snippets, {len(FRAMES['v2'])} in a"),
    "truth": (changed(FRAMES, "v1", np.where(np.arange(len(FRAMES["v1"])) == 1, 17 - FRAMES["v1"], FRAMES["v1"])),
              "b: video v1 has other abnormal frames than in a, from snippet 1 on")}


@pytest.mark.parametrize("frames, message", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_is_named(frames, message):
    with pytest.raises(InputError) as caught:
        compare([report(FRAMES, 1), report(frames, 2)], "ab")
    assert str(caught.value) == message


def test_many_different_videos_are_one_line():
    with pytest.raises(InputError) as caught:
        compare([report(FRAMES, 1), report({f"other {name}": value for name, value in FRAMES.items()}, 2)], "ab")
    assert "\n" not in str(caught.value) and "not in a: other v0, other v1, other v2, ... and 7 more; not in b: v0" in str(caught.value)


def test_a_run_is_a_saved_report_or_a_training_run(tmp_path):
    one, best = report(FRAMES, 1), report(FRAMES, 2)
    one.save(tmp_path / "saved")
    best.save(tmp_path / "trained" / BEST)
    (tmp_path / "trained" / "report.json").write_text('{"best": {}, "last": {}, "about": {}}')
    assert load_run(tmp_path / "saved").metrics == one.metrics
    assert load_run(str(tmp_path / "trained")).metrics == best.metrics != one.metrics
    (tmp_path / "trained" / BEST / "report.json").unlink()
    with pytest.raises(InputError, match="trained/report.json: the summary of a training run, expected .* in .*trained/best$"):
        load_run(tmp_path / "trained")


def test_a_folder_of_several_training_runs(tmp_path):
    for seed in (0, 1):
        report(FRAMES, seed).save(tmp_path / f"seed-{seed}" / BEST)
    (tmp_path / "report.json").write_text('{"seeds": [0, 1]}')
    with pytest.raises(InputError) as caught:
        load_run(tmp_path)
    assert str(caught.value) == f"{tmp_path}: holds 2 training runs, expected one of them, such as {tmp_path}/seed-0"
    assert load_run(tmp_path / "seed-1").metrics == report(FRAMES, 1).metrics
