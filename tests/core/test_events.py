"""Events of scores, computed by hand; the messages of a video that is seen snippet by snippet; false alarms an hour."""
import json

import numpy as np
import pytest

import wvad_core as wv
from wvad_core.checkpoints.threshold import Threshold, by_hand
from wvad_core.scoring.events import EventTracker, find_events, messages

SECONDS = np.arange(13.0)
SCORES = np.array([0.1, 0.5, 0.9, 0.6, 0.2, 0.55, 0.8, 0.1, 0.1, 0.6, 0.7, 0.2])
"""Runs at or above 0.5: snippets 1 to 3 (up to 0.9), 5 to 6 (0.8), 9 to 10 (0.7)."""


def spans(scores, times=SECONDS, **threshold):
    rule = {"high": 0.75, "low": 0.5, "minimum": 0.0, "gap": 0.0}
    return [(event.start, event.end) for event in find_events(np.asarray(scores), times, Threshold(**{**rule, **threshold}))]


@pytest.mark.parametrize("threshold, expected", [
    ({}, [(1, 4), (5, 7)]), ({"high": 0.7}, [(1, 4), (5, 7), (9, 11)]), ({"high": 0.9}, [(1, 4)]), ({"high": 0.91}, []),
    ({"low": 0.6}, [(2, 4), (6, 7)]), ({"low": 0.75}, [(2, 3), (6, 7)]), ({"low": 0.05}, [(0, 12)]),
    ({"gap": 0.9}, [(1, 4), (5, 7)]), ({"gap": 1.0}, [(1, 7)]), ({"gap": 5.0}, [(1, 7)]), ({"gap": 2.0, "high": 0.7}, [(1, 11)]),
    ({"minimum": 2.0}, [(1, 4), (5, 7)]), ({"minimum": 2.1}, [(1, 4)]), ({"minimum": 3.1}, []),
    ({"minimum": 6.0, "gap": 1.0}, [(1, 7)])])
def test_hysteresis_minimum_and_gap(threshold, expected):
    assert spans(SCORES, **threshold) == expected


def test_events_at_the_ends_and_of_all():
    assert spans([0.9, 0.1, 0.9], np.arange(4.0)) == [(0, 1), (2, 3)]
    assert spans([0.9], np.array([0.0, 0.5])) == [(0, 0.5)] and spans([0.1], np.arange(2.0)) == []
    assert spans([0.9, 0.9], np.array([0.0, 1.5, 4.0])) == [(0, 4)]


def test_an_event_has_its_peak_and_its_class():
    classes = {"Normal": np.full(12, 0.9), "Fight": np.linspace(0, 0.1, 12), "Riot": np.where(np.arange(12) == 2, 0.3, 0.0)}
    first, second = find_events(SCORES, SECONDS, Threshold(0.75, 0.5, 0, 0), classes)
    assert (first.first, first.last, first.peak_snippet, first.peak_time, first.peak) == (1, 4, 2, 2.5, 0.9)
    assert (first.class_name, second.class_name) == ("Riot", "Fight")  # means of snippets 1..3: 0.018 and 0.1
    assert first.probability == pytest.approx(0.1) and second.probability == pytest.approx((5 + 6) / 2 * 0.1 / 11)
    assert find_events(SCORES, SECONDS, Threshold(0.75, 0.5, 0, 0))[0].class_name is None


def test_the_messages_of_an_event_in_their_order():
    told = messages("gate", SCORES, SECONDS, Threshold(0.75, 0.5, 2.0, 1.0))
    seen = [(message.type, message.id, message.event.start, message.event.end, round(message.event.peak, 2)) for message in told]
    assert seen == [("new", "gate-000001", 1, 3, 0.9), ("end", "gate-000001", 1, 7, 0.9)]
    rising = messages("gate", np.array([0.8, 0.9, 0.1, 0.1]), np.arange(5.0), Threshold(0.75, 0.5, 0, 0))
    assert [(message.type, message.event.peak) for message in rising] == [("new", 0.8), ("update", 0.9), ("end", 0.9)]
    assert json.loads(json.dumps(rising[0].as_dict())) == {
        "type": "new", "id": "gate-000000", "video": "gate", "first": 0, "last": 1, "start": 0, "end": 1, "peak": 0.8,
        "peak_snippet": 0, "peak_time": 0.5, "class_name": None, "probability": None}


def test_an_event_is_told_when_it_is_long_enough_and_ended_when_the_gap_is_over():
    tracker, at = EventTracker("a", Threshold(0.75, 0.5, 2.0, 1.5)), {}
    for t, score in enumerate([0.9, 0.6, 0.1, 0.1, 0.6, 0.9]):
        at[t] = [message.type for message in tracker.push(score, t, t + 1)]
    assert at == {0: [], 1: ["new"], 2: [], 3: ["end"], 4: [], 5: ["new"]}
    assert [message.type for message in tracker.finish()] == ["end"]


def test_both_ways_find_the_same_events():
    rng = np.random.default_rng(0)
    for _ in range(400):
        count = rng.integers(1, 40)
        scores, times = rng.random(count).astype(np.float32).round(1), np.cumsum(rng.random(count + 1).round(2))
        high = rng.random()
        rule = Threshold(high, high * rng.random(), rng.choice([0, 0.7, 2.0]), rng.choice([0, 0.6, 1.5, 4.0]))
        classes = {name: rng.random(count) for name in ("Normal", "Fight", "Riot")}
        told, whole = messages("v", scores, times, rule, classes), find_events(scores, times, rule, classes)
        ends = [message.event for message in told if message.type == "end"]
        assert len(ends) == len(whole)
        for one, other in zip(ends, whole):
            assert one.probability == pytest.approx(other.probability) and one.class_name == other.class_name
            assert vars(one) | {"probability": 0} == vars(other) | {"probability": 0}
        for name in {message.id for message in told}:
            kinds = [message.type for message in told if message.id == name]
            assert kinds[0] == "new" and kinds[-1] == "end" and set(kinds[1:-1]) <= {"update"}


@pytest.mark.parametrize("fields, message", [
    ({"high": float("nan"), "low": 0}, "threshold: high is nan, expected a finite number"),
    ({"high": 0.5, "low": 0.6}, "threshold: low is 0.6, expected at most high, 0.5"),
    ({"high": 0.5, "low": 0.4, "gap": -1}, "threshold: gap is -1, expected 0 or more"),
    ({"high": 0.5, "low": 0.4, "videos": 1.5}, "threshold: videos is 1.5, expected a whole number"),
    ({"high": True, "low": 0.4}, "threshold: high is True, expected a finite number")])
def test_a_threshold_that_is_none(fields, message):
    with pytest.raises(wv.InputError, match=f"^{message}$"):
        Threshold(**fields)


def test_a_threshold_by_hand_has_its_hysteresis():
    assert by_hand(0.5).low == pytest.approx(0.4) and by_hand(-1.0).low == pytest.approx(-1.2)
    assert by_hand(0.5, 0.5, gap=3).gap == 3 and by_hand(0.5).rate is None
