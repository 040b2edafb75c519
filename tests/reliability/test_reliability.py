"""Hostile inputs of every sort: the right answer or one line, and the suite that says so finds faults (planted.py)."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))

import harness  # noqa: E402
import suites  # noqa: E402
import trials  # noqa: E402



def test_planted_faults_are_found(tmp_path, monkeypatch):
    names = suites.kinds(("planted",))
    results = harness.run([(name, 0) for name in names], ["planted"], tmp_path, patience=15)
    assert [result.kind for result in results] == names
    for result in results:
        expected = {"right": "right", "refused": "refused", "failure": "refused"}.get(
            word := result.kind.split(", ")[1], word)
        assert result.outcome == expected, result
    monkeypatch.setattr(harness, "MOST", 300 << 20)  # a process that takes more is ended before it gives a result
    assert harness.run([("planted, hang", 0)], ["planted"], tmp_path)[0].outcome == "over 1 GB"


def test_hostile_inputs(tmp_path, request):
    count, seed = (10_000, 1) if request.config.getoption("--slow") else (1500, 0)
    results = suites.inputs(count, seed, tmp_path)
    faults = [str(result) for result in results if result.fault]
    assert not faults, "\n".join(faults[:20])
    assert abs(len(results) - count) < 0.1 * count
    assert {result.outcome for result in results} == set(trials.OUTCOMES)
