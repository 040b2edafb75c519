"""`wvad calibrate`: the threshold that a rate of false alarms allows, counted by hand, and kept in the checkpoint."""
import csv

import numpy as np
import pytest
from worlds import World

import wvad_core as wv
from wvad_core.checkpoints.threshold import by_hand
from wvad_core.cli import calibrate, score
from wvad_core.errors import Failure
from wvad_core.scoring.calibration import choose
from wvad_core.scoring.events import find_events
from wvad_core.scoring.videos import ScoredVideo


def scored(scores, seconds=1.0, name="a", frame_rate=16.0):
    values = np.asarray(scores, np.float32)
    return ScoredVideo(name, name, False, values, np.arange(len(values) + 1) * seconds, frame_rate, {})


HOUR = [0.0] * 3600
"""Snippets of a second each."""


def hour(**peaks):
    values = list(HOUR)
    for place, score_ in peaks.items():
        values[int(place[1:])] = score_
    return scored(values)


@pytest.mark.parametrize("rate, high, false_alarms", [
    (0, np.nextafter(np.float64(np.float32(0.9)), 1), 0), (0.9, np.nextafter(np.float64(np.float32(0.9)), 1), 0), (1, 0.9, 1),
    (2, 0.7, 2), (3, 0.5, 3), (3.9, 0.5, 3)])
def test_the_lowest_threshold_that_the_rate_allows(rate, high, false_alarms):
    """An hour with peaks of 0.9, 0.7, 0.5 and 0.3, far from one another."""
    found = choose([hour(s10=0.9, s1000=0.7, s2000=0.5, s3000=0.3)], rate, minimum=0, gap=0)
    assert found.high == pytest.approx(high, abs=1e-7) and found.low == pytest.approx(0.8 * found.high)
    assert (found.false_alarms, found.videos, found.hours, found.wanted_rate) == (false_alarms, 1, 1.0, rate)


def test_peaks_that_a_gap_joins_are_one_alarm_and_short_ones_none():
    video = hour(s10=0.9, s12=0.8, s500=0.7, s501=0.7)
    assert choose([video], 1, minimum=0, gap=0).high == pytest.approx(0.9)
    assert choose([video], 1, minimum=0, gap=1).high == pytest.approx(0.8)
    assert choose([video], 1, minimum=2, gap=0).high == pytest.approx(0.7)


def test_what_never_ends_is_not_taken_for_one_alarm():
    found = choose([scored(np.linspace(0.5, 0.6, 3600))], 1, minimum=0, gap=0)
    assert found.high == pytest.approx(0.55, abs=1e-3) and found.false_alarms == 1


def test_videos_do_not_run_into_one_another_and_their_hours_add_up():
    ends, begins = scored([0.0] * 1799 + [0.9]), scored([0.9] + [0.0] * 1799)
    found = choose([ends, begins], 1, minimum=0, gap=10)
    assert found.false_alarms == 0 and found.hours == 1.0 and found.videos == 2
    assert choose([ends, begins], 2, minimum=0, gap=10).false_alarms == 2


def test_the_rate_holds_at_all_higher_thresholds():
    """Lower ones may have fewer, as events join; nobody is to rely on that."""
    values = np.clip(np.random.default_rng(0).normal(0.4, 0.2, 3600), 0, 1).round(2)
    found = choose([scored(values)], 20, minimum=1, gap=2)
    counts = {high: len(find_events(values.astype(np.float32), np.arange(3601.0), by_hand(float(np.float32(high)))))
              for high in np.unique(values)}
    counts = {high: count for high, count in counts.items() if high > np.median(values)}
    allowed = [high for high in counts if all(count <= 20 for other, count in counts.items() if other >= high)]
    assert found.high == pytest.approx(min(allowed)) and found.false_alarms == counts[min(allowed)] <= 20


def test_many_scores_are_tried_at_some(monkeypatch):
    values = np.random.default_rng(1).random(20000).astype(np.float32)
    found = choose([scored(values)], 4, minimum=0, gap=0)
    assert found.false_alarms / found.hours <= 4 and found.false_alarms >= 0.8 * 4 * found.hours


def test_a_length_that_is_not_known_is_refused():
    with pytest.raises(wv.InputError, match="^1 of 2 videos have no known frame rate, .*; --fps gives it\n  b$"):
        choose([scored([0.1]), scored([0.1], name="b", frame_rate=None)], 1)


def run(world: World, *argv, output="calibrated.safetensors"):
    calibrate.main(["--backend", "numpy", "--checkpoint", str(world.options["checkpoint"]), "--output",
                    str(world.root / output), "--false-alarms-per-hour", "1", *argv])
    return wv.load(world.root / output)


def table(world: World) -> list[str]:
    return ["--dataset", str(world.options["dataset"]), "--features", str(world.options["features"])]


def test_normal_videos_of_a_table(world, capsys):
    made = run(world, *table(world), "--fps", "25")
    rows = list(csv.DictReader(world.options["dataset"].open()))
    normal = [row["video"] for row in rows if row["category"] == "Normal" and row["split"] == "test"]
    detector = wv.load(world.options["checkpoint"])
    snippets = [len(detector.score(wv.data.read_features(world.root / "features" / name))) for name in normal]
    assert made.threshold.videos == len(normal) == 2 and made.threshold.hours == pytest.approx(sum(snippets) * 16 / 25 / 3600)
    assert (made.threshold.wanted_rate, made.threshold.minimum, made.threshold.gap) == (1.0, 1.0, 2.0)
    out = capsys.readouterr().out
    assert f"threshold {made.threshold.text()}\nwritten " in out and "2 normal videos" in out
    assert all(np.array_equal(value, detector.weights()[name]) for name, value in made.weights().items())


def test_it_is_kept_where_it_was_and_then_used(world):
    before = world.options["checkpoint"].read_bytes()
    run(world, *table(world), "--fps", "25")
    assert world.options["checkpoint"].read_bytes() == before
    features = str(world.root / "features" / "Normal03")
    made = run(world, "--normal", features, "--fps", "25", "--minimum", "0", "--gap", "5", output="weights.safetensors")
    assert made.threshold.videos == 1 and (made.threshold.minimum, made.threshold.gap) == (0, 5)
    score.main([features, "--backend", "numpy", "--checkpoint", str(world.options["checkpoint"]), "--fps", "25", "--output",
                str(world.root / "scores")])
    assert (world.root / "scores" / "events.jsonl").read_text() == "", "no false alarm in 13 s, of which one an hour is allowed"


@pytest.mark.parametrize("argv, message", [
    ([], "^expected either --normal, or --dataset and --features$"), (["--dataset", "own.csv"], "^expected either"),
    (["--normal", "x", "--dataset", "own.csv", "--features", "f"], "^expected either"),
    (["--normal", "gone"], "^gone: no such file"), (["--split", "train"], "no normal train videos among its 6"),
    (["--fps", "0"], None), (["--minimum", "-1"], None), (["--false-alarms-per-hour", "nan"], None)])
def test_bad_input(argv, message, world, capsys):
    given = table(world) if message is None or "train" in message else []
    with pytest.raises(wv.InputError if message else SystemExit, match=message):
        run(world, *given, *argv)
    assert message or "expected" in capsys.readouterr().err
    assert not (world.root / "calibrated.safetensors").exists()


def test_nothing_is_written_where_a_video_is_bad(world):
    world.change("Normal04", 1, lambda values: np.full_like(values, np.nan))
    with pytest.raises(Failure, match="^1 of 2 videos could not be scored, nothing is written\n  Normal04: .* has nan in snippet 0"):
        run(world, *table(world), "--fps", "25")
    with pytest.raises(wv.InputError, match="no format has the suffix '.x'"):
        run(world, *table(world), output="a.x")
    assert not (world.root / "calibrated.safetensors").exists()
