"""Hostile inputs of every sort: the right answer or one line, and the suite that says so finds faults (planted.py)."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))

import kills  # noqa: E402

import harness  # noqa: E402
import suites  # noqa: E402
import trials  # noqa: E402



@pytest.fixture
def nightly(request) -> bool:
    """Whether all of it is wanted: pytest --slow tests/reliability."""
    return request.config.getoption("--slow")


@pytest.mark.slow  # of the harness alone
def test_planted_faults_are_found(tmp_path, monkeypatch):
    names = suites.kinds(("planted",))
    results = harness.run([(name, 0) for name in names], ["planted"], tmp_path, patience=8)
    assert [result.kind for result in results] == names
    for result in results:
        expected = {"right": "right", "refused": "refused", "failure": "refused"}.get(
            word := result.kind.split(", ")[1], word)
        assert result.outcome == expected, result
    monkeypatch.setattr(harness, "MOST", 300 << 20)  # a process that takes more is ended before it gives a result
    assert harness.run([("planted, hang", 0)], ["planted"], tmp_path)[0].outcome == "over 1 GB"


def check(results, count):
    faults = [str(result) for result in results if result.fault]
    assert not faults, "\n".join(faults[:20])
    assert abs(len(results) - count) <= 0.1 * count
    assert {result.outcome for result in results} == set(trials.OUTCOMES)


def test_hostile_inputs(tmp_path, nightly):
    count, seed = (10_000, 1) if nightly else (1000, 0)
    check(suites.inputs(count, seed, tmp_path), count)


@pytest.mark.needs("torch")
def test_damaged_run_folders(tmp_path, nightly):
    count, seed = (100, 1) if nightly else (20, 0)
    check(suites.run_folders(count, seed, tmp_path), count)


@pytest.mark.needs("torch", "mindspore")
def test_kills(tmp_path, nightly):
    """More methods than tests/parity/test_kills.py kills runs of."""
    faults = [row for row in kills.run(kills.ALL if nightly else kills.FEW, tmp_path) if row[-1]]
    assert not faults
